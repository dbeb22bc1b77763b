"""Meters: exact under threads, and never more series than they may have."""

import sys
import threading
from collections.abc import Iterator

import pytest

from argosy.meters import declared
from argosy.meters.kinds import MOST_SERIES, Counter, Gauge, Histogram


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_that_count_at_once_lose_nothing(hasty_threads: None) -> None:
    counter, spread = Counter("c_total", "", "kind"), Histogram("h", "", bounds=(1.0,))

    def count() -> None:
        for n in range(20_000):
            counter.add("ab"[n % 2])
            spread.observe(0.5)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.read() == {("a",): [80_000], ("b",): [80_000]}
    assert spread.read() == {(): [80_000.0, 160_000, 0]}


def test_label_sets_are_bounded_whatever_is_counted() -> None:
    counter = Counter("c_total", "", "kind")
    for n in range(MOST_SERIES + 500):
        counter.add(f"k{n}")
    assert len(counter.read()) == MOST_SERIES + 1
    assert counter.read()["other",] == [500]


def test_labels_that_were_not_declared_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="has labels"):
        Counter("c_total", "", "kind").add("a", "b")


def test_a_gauge_goes_up_and_down() -> None:
    gauge = Gauge("g", "")
    gauge.set(5)
    gauge.add(by=-2)
    assert gauge.read() == {(): [3]}


def test_a_value_on_a_bound_belongs_below_it_and_the_block_is_timed_when_it_raises() -> None:
    spread = Histogram("h", "", bounds=(1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        spread.observe(value)
    assert spread.read() == {(): [7.5, 2, 2, 1]}
    timing = Histogram("t", "")
    with pytest.raises(KeyError), timing.timed():
        raise KeyError
    assert sum(timing.read()[()][1:]) == 1


def test_every_metric_is_declared_once_and_named_as_prometheus_asks() -> None:
    names = [metric.name for metric in declared.ALL]
    assert len(names) == len(set(names))
    for metric in declared.ALL:
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric
        assert metric.name.startswith(("argosy_", "process_")), metric
        assert metric.help
        assert not metric.help.endswith(".")
