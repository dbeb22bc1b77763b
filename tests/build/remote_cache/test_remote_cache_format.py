"""The format of a remote cache: pinned, round-tripping, bounded, and unbreakable from outside."""

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.build.remote_cache.format import (
    Bounds,
    CacheConfig,
    CacheRecord,
    CacheWriter,
    merged,
    says_more,
)
from argosy.errors import ContentError
from argosy.model.digest import Digest

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parents[1] / "golden" / "remote_cache.json"

digests = st.integers(0, 30).map(lambda n: Digest.of(str(n).encode()))
chains = st.lists(st.tuples(digests, st.none() | digests), max_size=6)
records = st.builds(
    CacheRecord,
    keys=st.lists(digests, min_size=1, max_size=3, unique=True).map(tuple),
    top=st.none(),
    step=st.text(max_size=20),
    created=st.integers(0, 2**40),
    used=st.integers(0, 2**40),
)
moments = st.integers(0, 9).map(lambda n: f"202{n}-01-02T03:04:05.678Z")


@st.composite
def configs(draw):
    writer = CacheWriter()
    for record, chain in draw(st.lists(st.tuples(records, chains), max_size=8)):
        writer.add(record, chain)
    writer.born(draw(st.dictionaries(digests, moments, max_size=3)))
    return writer.config()


def meaning(config):
    """What a cache says: the layers of every key."""
    return {
        key: [(layer.diff_id, layer.blob) for layer in config.chain(record.top)]
        for record in config.records
        for key in record.keys
    }


def record(*names, used=1000):
    keys = tuple(Digest.of(n.encode()) for n in names)
    return CacheRecord(keys=keys, top=None, step=names[0], created=900, used=used)


def config(*pairs, used=1000):
    """A cache of steps, each with the names of its layers."""
    writer = CacheWriter()
    for name, layers in pairs:
        chain = [(Digest.of(b"diff" + n.encode()), Digest.of(n.encode())) for n in layers]
        writer.add(record(name, used=used), chain)
    return writer.config()


def test_the_format_is_that_of_the_golden_file():
    """On a change that is meant: raise VERSION, then set ARGOSY_GOLDEN=1 once."""
    writer = CacheWriter()
    base, own = (Digest.of(b"base"), None), (Digest.of(b"diff"), Digest.of(b"blob"))
    writer.add(record("RUN make", "settled"), [base, own])
    writer.add(record("COPY a b"), [base, own, (Digest.of(b"diff 2"), Digest.of(b"blob 2"))])
    writer.add(record("FROM scratch"), [])
    writer.born({Digest.of(b"image"): "2026-01-02T03:04:05.678901Z"})
    found = json.loads(writer.config().encode())
    if os.environ.get("ARGOSY_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=2) + "\n")
    assert found == json.loads(GOLDEN.read_text())
    assert CacheConfig.decode(GOLDEN.read_bytes()) == writer.config()


@given(configs())
def test_what_is_written_reads_the_same(value):
    assert CacheConfig.decode(value.encode()) == value


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused_in_one_way(body):
    with suppress(ContentError):
        assert CacheConfig.decode(body).layers is not None


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | digests
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(configs(), st.data())
def test_one_wrong_value_anywhere_breaks_nothing_else(value, data):
    body = json.loads(value.encode())
    spot, name = body, data.draw(st.sampled_from(sorted(body)))
    while isinstance(spot[name], list | dict) and spot[name] and data.draw(st.booleans()):
        spot = spot[name]
        keys = range(len(spot)) if isinstance(spot, list) else sorted(spot)
        name = data.draw(st.sampled_from(list(keys)))
    spot[name] = data.draw(values)
    try:
        found = CacheConfig.decode(json.dumps(body).encode())
    except ContentError:
        return
    for one in found.records:
        assert len(found.chain(one.top)) <= len(found.layers)


@given(configs(), configs())
def test_merging_keeps_all_that_is_new_and_loses_nothing_young(new, old):
    everything = Bounds(builds=1000, seconds=2**50, records=1000, births=1000)
    both = meaning(merged(new, old, everything))
    assert both == {**meaning(old), **meaning(new)}
    assert not says_more(new, merged(new, old, everything))


@given(st.lists(configs(), max_size=6), st.integers(1, 4))
def test_a_cache_never_grows_beyond_its_bounds(exports, builds):
    bounds = Bounds(builds=builds, seconds=1000, records=12, births=4)
    standing = CacheConfig()
    for number, value in enumerate(exports):
        writer = CacheWriter()
        for one in value.records:
            writer.add(
                CacheRecord(keys=one.keys, top=None, step="", created=0, used=number * 300),
                [(layer.diff_id, layer.blob) for layer in value.chain(one.top)],
            )
        writer.born(value.births)
        new = writer.config()
        standing = merged(new, standing, bounds)
        assert len(standing.records) <= max(12, len(new.records))
        assert len(standing.births) <= max(4, len(new.births))
        assert len({r.used for r in standing.records}) <= builds


def test_old_builds_and_their_layers_are_dropped():
    standing = CacheConfig()
    for number in range(30):
        new = config((f"step {number}", ["base", f"layer {number}"]), used=1000 * number)
        standing = merged(new, standing, Bounds(builds=3))
    assert [r.step for r in standing.records] == ["step 29", "step 28", "step 27"]
    assert len(standing.layers) == 4
    late = merged(config(("late", ["x"]), used=10**9), standing)
    assert [r.step for r in late.records] == ["late"]


def test_a_chain_of_thousands_is_written_and_read_without_enumerating_paths():
    """Diamonds upon diamonds: each layer is listed once however many ways lead to it."""
    writer = CacheWriter()
    layers = []
    for number in range(120):
        layers.append((Digest.of(b"%d" % number), Digest.of(b"b%d" % number)))
        for way in range(20):
            writer.add(record(f"{number}/{way}"), list(layers))
    value = writer.config()
    assert len(value.layers) == 120
    assert len(value.records) == 2400
    assert len(value.encode()) < 500_000


def test_a_longer_chain_than_any_machine_can_mount_is_refused():
    layers = [{"diffId": Digest.of(b"x")}]
    layers += [{"diffId": Digest.of(b"x"), "below": n} for n in range(600)]
    with pytest.raises(ContentError) as e:
        CacheConfig.decode(json.dumps({"version": 1, "layers": layers, "records": []}).encode())
    assert "layers on top of one another" in e.value.why
