"""Many builders, one cache: nobody's records are lost, whatever the store can promise."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from argosy.build.remote_cache.format import Bounds, CacheRecord, CacheWriter
from argosy.build.remote_cache.publishing import Place, publish
from argosy.build.remote_cache.shelf import Part, read_shelf
from argosy.content.memory import MemoryStore
from argosy.content.store import put_bytes
from argosy.errors import BuildError
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.reference import Reference
from argosy.settings import Settings
from argosy.stores.layout import OCILayout
from argosy.stores.remote.client import Client
from tests.peers import argosy_registry, docker_registry

pytestmark = pytest.mark.slow

__all__ = ["argosy_registry", "docker_registry"]  # fixtures

BUILDERS = 6


async def part(source, name, used=1000):
    """A cache of one step with one layer, whose blob is in `source`."""
    body = f"layer of {name}".encode()
    blob = await put_bytes(source, Descriptor.of(media.OCI_LAYER, body), body)
    writer = CacheWriter()
    key = Digest.of(name.encode())
    record = CacheRecord(keys=(key,), top=None, step=name, created=1, used=used)
    writer.add(record, [(Digest.of(b"diff" + body), blob.digest)])
    return Part(config=writer.config(), blobs={blob.digest: blob})


async def found(store, tag="cache"):
    """The steps by scope that the cache under a tag holds; every blob must be there."""
    shelf = await read_shelf(store, await store.resolve(tag))
    assert not shelf.damage
    for one in shelf.parts.values():
        for blob in one.config.blobs:
            assert await store.exists(one.blobs[blob])
    return {s: {r.step for r in p.config.records} for s, p in shelf.parts.items()}


async def race(stores, scopes, **more):
    """Every builder exports at the same moment, each through a store of its own."""

    async def one(number, store):
        source = MemoryStore()
        mine = {scopes[number]: await part(source, f"step {number}")}
        await publish(mine, source, Place(store=store, tag="cache", name="the cache", **more))

    async with asyncio.TaskGroup() as group:
        for number, store in enumerate(stores):
            group.create_task(one(number, store))


def expected(scopes):
    steps = {}
    for number, scope in enumerate(scopes):
        steps.setdefault(scope, set()).add(f"step {number}")
    return steps


SCOPES = {
    "platforms of their own": [f"linux/arch{n}" for n in range(BUILDERS)],
    "one platform": ["linux/amd64"] * BUILDERS,
    "both": [f"linux/arch{n % 2}" for n in range(BUILDERS)],
}


class Slow:
    """A view of a store without `swap`, where every word takes a moment."""

    def __init__(self, inner):
        self.inner = inner

    async def resolve(self, ref):
        await asyncio.sleep(0.001)
        found = await self.inner.resolve(ref)
        await asyncio.sleep(0.001)
        return found

    async def exists(self, desc):
        return await self.inner.exists(desc)

    @asynccontextmanager
    async def open(self, desc, *, start=0):
        async with self.inner.open(desc, start=start) as body:
            yield body

    async def put(self, desc, body):
        await self.inner.put(desc, body)

    async def tag(self, desc, ref):
        await asyncio.sleep(0.002)
        await self.inner.tag(desc, ref)


@pytest.mark.parametrize("scopes", SCOPES.values(), ids=SCOPES)
async def test_nobody_is_lost_in_a_store_that_swaps(scopes):
    store = MemoryStore()
    await race([store] * BUILDERS, scopes)
    assert await found(store) == expected(scopes)


@pytest.mark.parametrize("scopes", SCOPES.values(), ids=SCOPES)
async def test_nobody_is_lost_in_a_store_that_promises_nothing(scopes):
    store = MemoryStore()
    await race([Slow(store) for _ in range(BUILDERS)], scopes, settle=0.2)
    assert await found(store) == expected(scopes)


@pytest.mark.parametrize("scopes", SCOPES.values(), ids=SCOPES)
async def test_nobody_is_lost_in_a_directory(scopes, tmp_path):
    await race([OCILayout(str(tmp_path)) for _ in range(BUILDERS)], scopes)
    assert await found(OCILayout(str(tmp_path))) == expected(scopes)
    listed = json.loads((tmp_path / "index.json").read_bytes())["manifests"]
    assert len(listed) == 1  # what lost the race is not listed


async def test_collecting_leaves_what_the_cache_needs_and_nothing_else(tmp_path):
    store, source = OCILayout(str(tmp_path)), MemoryStore()
    place = Place(store=store, tag="cache", name="c", bounds=Bounds(builds=1))
    await publish({"a": await part(source, "old", used=1)}, source, place)
    await publish({"a": await part(source, "new", used=9)}, source, place)
    (tmp_path / "blobs/sha256/.unfinished").write_text("of another process")
    assert await store.collect() == 4  # the old layer, config, manifest and index
    assert await found(store) == {"a": {"new"}}
    assert await store.collect() == 0
    assert (tmp_path / "blobs/sha256/.unfinished").exists()


@asynccontextmanager
async def clients(host, repository, count):
    """Several clients of one registry, as of several machines."""
    settings = Settings(retry_wait=0.05)
    opened = [Client(settings) for _ in range(count)]
    try:
        yield [c.repository(Reference.parse(f"{host}/{repository}")) for c in opened]
    finally:
        for client in opened:
            await client.__aexit__(None, None, None)


@pytest.mark.parametrize("scopes", SCOPES.values(), ids=SCOPES)
async def test_nobody_is_lost_in_our_own_registry(scopes, argosy_registry, request):
    name = f"race/{abs(hash(request.node.name))}"
    async with clients(argosy_registry.host, name, BUILDERS) as stores:
        await race(stores, scopes)
        assert await found(stores[0]) == expected(scopes)


@pytest.mark.peer
@pytest.mark.parametrize("scopes", [SCOPES["both"]], ids=["both"])
async def test_nobody_is_lost_in_dockers_registry(scopes, docker_registry, request):
    name = f"race/{abs(hash(request.node.name))}"
    async with clients(docker_registry.host, name, BUILDERS) as stores:
        await race(stores, scopes)
        assert await found(stores[0]) == expected(scopes)


@pytest.mark.peer
async def test_dockers_registry_takes_dockers_media_types(docker_registry):
    async with clients(docker_registry.host, "old/types", 1) as (store,):
        source = MemoryStore()
        mine = {"linux/amd64": await part(source, "step")}
        place = Place(store=store, tag="cache", name="c", oci=False, settle=0.01)
        made = await publish(mine, source, place)
        assert made.media_type == media.DOCKER_LIST
        assert await found(store) == {"linux/amd64": {"step"}}


async def test_records_of_blobs_that_a_registry_collected_are_dropped():
    store, source = MemoryStore(), MemoryStore()
    place = Place(store=store, tag="cache", name="the cache")
    old = await part(source, "old")
    await publish({"a": old}, source, place)
    for blob in old.blobs:
        del store._blobs[blob]
    events = []
    fresh = MemoryStore()
    await publish({"a": await part(fresh, "new")}, fresh, place, events.append)
    assert await found(store) == {"a": {"new"}}
    assert any("are dropped" in e.text for e in events)


async def test_one_who_is_always_overtaken_says_so(monkeypatch):
    store, source = MemoryStore(), MemoryStore()

    async def never(*_args):
        return "changed"

    store.swap = never
    monkeypatch.setattr("argosy.build.remote_cache.publishing._PAUSE", 0.0)
    with pytest.raises(BuildError, match="could not be written") as e:
        await publish({"a": await part(source, "x")}, source, Place(store=store, tag="t", name="c"))
    assert "somebody else" in e.value.why


async def test_an_answer_that_was_lost_is_not_taken_for_a_rival():
    store, source = MemoryStore(), MemoryStore()
    swap, asked = store.swap, []

    async def lost(desc, ref, expected):
        asked.append(ref)
        await swap(desc, ref, expected)
        return "changed"

    store.swap = lost
    await publish({"a": await part(source, "x")}, source, Place(store=store, tag="t", name="c"))
    assert len(asked) == 1


async def test_a_younger_export_of_the_same_is_written_only_after_a_while():
    store, source = MemoryStore(), MemoryStore()
    place = Place(store=store, tag="cache", name="c")
    first = await publish({"a": await part(source, "x", used=1000)}, source, place)
    assert await publish({"a": await part(source, "x", used=1100)}, source, place) == first
    assert await publish({"a": await part(source, "x", used=99_000)}, source, place) != first
