"""Sources made of sources, and bytes being checked while they flow."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from argosy.content import pack
from argosy.content.copy import copy
from argosy.content.memory import MemoryStore
from argosy.content.store import BytesBody, put_bytes
from argosy.content.verify import MAX_READ, missing, read, verified
from argosy.content.wrappers import Cached, Fallback, Limited
from argosy.errors import (
    DigestMismatch,
    ManifestInvalid,
    NetworkError,
    NotFound,
    RegistryUnavailable,
    SizeMismatch,
)
from argosy.model.descriptor import Descriptor


async def blob(store: MemoryStore, body: bytes) -> Descriptor:
    return await put_bytes(store, Descriptor.of("x/y", body), body)


class Breaking(MemoryStore):
    """Breaks off after some bytes; counts what is asked."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after
        self.opened = 0

    @asynccontextmanager
    async def open(
        self, desc: Descriptor, *, start: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        self.opened += 1
        async with super().open(desc, start=start) as body:
            whole = b"".join([p async for p in body])

        async def pieces() -> AsyncIterator[bytes]:
            yield whole[: self.after]
            raise NetworkError("the line broke")

        yield pieces()


async def test_a_fallback_goes_on_where_the_first_broke_off() -> None:
    first, second = Breaking(after=4), MemoryStore()
    for store in (first, second):
        desc = await blob(store, b"0123456789")
    second._blobs[desc.digest] = b"????456789"  # only what comes after is asked of it
    assert await read(Fallback(first, second), desc) == b"0123456789"


async def test_a_fallback_asks_the_next_for_what_the_first_lacks() -> None:
    first, second = MemoryStore(), MemoryStore()
    desc = await pack.artifact(second, "x/y", [])
    await second.tag(desc, "v1")
    both = Fallback(first, second)
    assert await both.resolve("v1") == desc
    assert await both.exists(desc)
    assert await copy(both, "v1", MemoryStore()) == desc
    absent = Descriptor.of("x/y", b"absent")
    assert not await both.exists(absent)
    with pytest.raises(NotFound):
        await read(both, absent)
    with pytest.raises(NotFound):
        await both.resolve("v2")


async def test_a_fallback_tells_what_failed_before_what_is_absent() -> None:
    class Down(MemoryStore):
        async def resolve(self, ref: str) -> Descriptor:
            raise RegistryUnavailable("down", status=503)

    for both in (Fallback(Down(), MemoryStore()), Fallback(MemoryStore(), Down())):
        with pytest.raises(RegistryUnavailable):
            await both.resolve("v1")


async def test_an_empty_blob_passes_through_a_fallback() -> None:
    store = MemoryStore()
    desc = await blob(store, b"")
    assert await read(Fallback(MemoryStore(), store), desc) == b""


async def test_a_limit_holds_while_bodies_are_read() -> None:
    class Counting(MemoryStore):
        now = most = 0

        @asynccontextmanager
        async def open(
            self, desc: Descriptor, *, start: int = 0
        ) -> AsyncIterator[AsyncIterator[bytes]]:
            Counting.now += 1
            Counting.most = max(Counting.most, Counting.now)
            await asyncio.sleep(0)
            async with super().open(desc, start=start) as body:
                yield body
            Counting.now -= 1

    store = Counting()
    descs = [await blob(store, bytes([n])) for n in range(20)]
    limited = Limited(store, 3)
    async with asyncio.TaskGroup() as group:
        for desc in descs:
            group.create_task(read(limited, desc))
    assert Counting.most == 3
    assert await limited.exists(descs[0])


async def test_a_cache_reads_each_digest_once_however_many_want_it() -> None:
    class Counting(MemoryStore):
        opened = 0

        @asynccontextmanager
        async def open(
            self, desc: Descriptor, *, start: int = 0
        ) -> AsyncIterator[AsyncIterator[bytes]]:
            self.opened += 1
            await asyncio.sleep(0)
            async with super().open(desc, start=start) as body:
                yield body

    far, near = Counting(), MemoryStore()
    desc = await blob(far, b"x" * 1000)
    cached = Cached(near, far)
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(read(cached, desc))
    assert far.opened == 1
    assert await near.exists(desc)
    async with cached.open(desc, start=990) as body:
        assert b"".join([p async for p in body]) == b"x" * 10


async def test_a_cache_answers_when_its_origin_cannot_be_reached() -> None:
    class Flaky(MemoryStore):
        down = False

        async def resolve(self, ref: str) -> Descriptor:
            if self.down:
                raise NetworkError("no route")
            return await super().resolve(ref)

    far, near = Flaky(), MemoryStore()
    desc = await pack.artifact(far, "x/y", [])
    await far.tag(desc, "v1")
    cached = Cached(near, far)
    assert await copy(cached, "v1", MemoryStore()) == desc
    far.down = True
    far._blobs.clear()
    assert await copy(cached, "v1", MemoryStore()) == desc
    with pytest.raises(NetworkError):
        await cached.resolve("never-seen")


async def test_a_cache_keeps_nothing_damaged() -> None:
    far, near = MemoryStore(), MemoryStore()
    desc = await blob(far, b"right")
    far._blobs[desc.digest] = b"wrong"
    with pytest.raises(Exception, match="digest"):
        await read(Cached(near, far), desc)
    assert not await near.exists(desc)


@pytest.mark.parametrize(
    ("given", "error"),
    [(b"righ", SizeMismatch), (b"right!", SizeMismatch), (b"wrong", DigestMismatch)],
)
async def test_checked_bytes_end_with_the_verdict(given: bytes, error: type[Exception]) -> None:
    desc = Descriptor.of("x/y", b"right")
    with pytest.raises(error) as caught:
        async for _ in verified(desc, BytesBody(given)):
            pass
    assert "expected" in str(caught.value)


async def test_too_many_bytes_are_noticed_at_once() -> None:
    desc = Descriptor.of("x/y", b"1234")
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"1234"

    with pytest.raises(SizeMismatch):
        async for _ in verified(desc, endless()):
            pass
    assert taken == 2


async def test_what_is_missing_below_an_index_is_found() -> None:
    store = MemoryStore()
    layer = await blob(store, b"layer")
    image = await pack.artifact(store, "x/y", [layer])
    other = await pack.artifact(store, "x/z", [])
    root = await pack.index(store, [image, other])
    assert list(await missing(store, root)) == []
    del store._blobs[layer.digest]
    assert list(await missing(store, root)) == [layer]
    store._blobs[other.digest] = b"damaged"
    assert {d.digest for d in await missing(store, root)} == {layer.digest, other.digest}
    del store._blobs[root.digest]
    assert list(await missing(store, root)) == [root]


async def test_what_claims_to_be_a_huge_config_is_not_read() -> None:
    store = Breaking(after=1)
    desc = replace(await blob(store, b"{}"), size=MAX_READ + 1)
    with pytest.raises(ManifestInvalid, match="is said to have"):
        await read(store, desc)
    assert not store.opened
