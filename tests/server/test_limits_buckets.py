"""Token buckets and taps: never more than the rate and the burst, and those who wait in order."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.server.limits.bucket import Bucket, Rate
from argosy.server.limits.pacing import TapPace
from argosy.server.limits.tap import Alone, Asked, Grant, Tap


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@given(
    st.floats(0.5, 1000),
    st.floats(1, 500),
    st.lists(st.tuples(st.floats(0, 2), st.integers(1, 20)), max_size=80),
)
def test_no_more_is_taken_than_flowed_in(
    rate: float, burst: float, tries: list[tuple[float, int]]
) -> None:
    bucket, now, taken = Bucket(Rate(rate, burst), 0.0), 0.0, 0
    for pause, count in tries:
        now += pause
        taken += count if bucket.take(count, now) else 0
        assert taken <= burst + rate * now + 1e-6


@given(st.floats(1, 1000), st.lists(st.tuples(st.floats(0, 1), st.integers(1, 50)), max_size=50))
def test_who_reserves_waits_until_it_has_flowed_in(
    rate: float, asked: list[tuple[float, int]]
) -> None:
    bucket, now, total, last = Bucket(Rate(rate, 10), 0.0), 0.0, 0, 0.0
    for pause, count in asked:
        now += pause
        due = now + bucket.reserve(count, now)
        total += count
        assert total <= 10 + rate * due + 1e-3
        assert due >= last - 1e-6  # in the order of asking
        last = due


def test_what_was_given_back_can_be_taken_again() -> None:
    bucket = Bucket(Rate(1, 10), 0.0)
    assert bucket.take(10, 0.0)
    assert not bucket.take(1, 0.5)
    bucket.give_back(3)
    assert bucket.take(3, 0.5)
    assert bucket.wait(1, 0.5) == pytest.approx(0.5)
    bucket.give_back(100)
    assert bucket.remaining(0.5) == 10


async def test_a_tap_of_one_node_gives_burst_then_rate() -> None:
    clock = Clock()
    tap = Tap("x", Rate(10, 5), Alone(), clock)
    assert [tap.at_once() for _ in range(7)] == [True] * 5 + [False] * 2
    assert tap.delay() == pytest.approx(0.1)
    clock.now += 0.2
    assert [tap.at_once() for _ in range(3)] == [True, True, False]


async def test_nodes_that_cannot_ask_each_other_take_their_part() -> None:
    tap = Tap("x", Rate(10, 6), Alone(3), Clock())
    assert [tap.at_once() for _ in range(3)] == [True, True, False]


class Store:
    """A shared bucket that is here, and counts how often it is asked."""

    def __init__(self, *grants: float) -> None:
        self.nodes = 2
        self.away = False
        self.grants = list(grants)
        self.asked: list[Asked] = []

    async def lease(self, key: str, rate: Rate, asked: Asked) -> Grant | None:
        self.asked.append(asked)
        if self.away or not self.grants:
            return None if self.away else Grant(0, 0.5)
        return Grant(self.grants.pop(0), 0.0)


async def test_a_grant_serves_many_requests_before_it_is_asked_for_again() -> None:
    store = Store(100)
    tap = Tap("x", Rate(1000, 2000), store, Clock())
    assert tap.at_once() is None  # nothing is here: the shared bucket has to be asked
    assert await tap.one()
    assert all(tap.at_once() for _ in range(99))
    assert store.asked == [Asked(1, 100)]


async def test_a_refusal_is_remembered_so_that_a_flood_does_not_reach_the_shared_bucket() -> None:
    clock, store = Clock(), Store()
    tap = Tap("x", Rate(10, 10), store, clock)
    assert not await tap.one()
    assert [tap.at_once() for _ in range(50)] == [False] * 50
    assert len(store.asked) == 1
    assert tap.delay() == pytest.approx(0.5)
    clock.now += 0.6
    assert tap.at_once() is None


async def test_many_who_ask_at_once_ask_the_shared_bucket_once() -> None:
    store = Store(100)
    tap = Tap("x", Rate(1000, 2000), store, Clock())
    assert all(await asyncio.gather(*(tap.one() for _ in range(64))))
    assert len(store.asked) == 1


async def test_what_was_granted_and_not_used_goes_stale() -> None:
    clock, store = Clock(), Store(100, 100)
    tap = Tap("x", Rate(1000, 2000), store, clock)
    assert await tap.one()
    clock.now += 5
    assert tap.at_once() is None


async def test_when_the_shared_bucket_goes_away_the_node_goes_on_with_its_part() -> None:
    store = Store(1)
    tap = Tap("x", Rate(10, 10), store, Clock())
    assert await tap.one()
    store.away = True
    assert [await tap.one() for _ in range(6)] == [True] * 5 + [False]


async def test_a_body_waits_for_all_its_taps_and_gets_less_at_once_where_many_wait() -> None:
    clock, alone = Clock(), Alone()
    fast = Tap("fast", Rate(1e9, 1 << 20), alone, clock)
    slow = Tap("slow", Rate(2e6, 1 << 20), alone, clock)
    pace = TapPace([fast, slow])
    assert pace.most() == 100_000
    slow.waiting = 9
    assert pace.most() == 10_000
    slow.waiting = 0
    await asyncio.wait_for(pace.wait(1 << 20), 5)
    assert slow.delay() > 0
    assert slow.busy
    pace.give_back(1 << 20)
    assert slow.delay() == 0
    assert not slow.busy
