"""The cache never shows what a write has replaced, whoever was reading meanwhile."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.catalog.caching.cache import Cache
from argosy.catalog.caching.stamps import OwnStamp


class Origin:
    """Something slow that is read: each read takes the value at its beginning, gives it when told."""

    def __init__(self) -> None:
        self.value, self.reads, self.gate = "old", 0, asyncio.Event()

    async def __call__(self) -> str:
        self.reads += 1
        value = self.value
        await self.gate.wait()
        return value


async def test_readers_at_the_same_time_share_one_read() -> None:
    origin, cache = Origin(), Cache[str, str](10)
    readers = [asyncio.ensure_future(cache.load("k", origin)) for _ in range(5)]
    await asyncio.sleep(0)
    origin.gate.set()
    assert await asyncio.gather(*readers) == ["old"] * 5
    assert (origin.reads, cache.get("k")) == (1, "old")


async def test_a_value_read_before_a_change_is_not_kept_after_it() -> None:
    origin, cache = Origin(), Cache[str, str](10)
    early = asyncio.ensure_future(cache.load("k", origin))
    await asyncio.sleep(0)
    origin.value = "new"
    cache.drop("k")
    late = asyncio.ensure_future(cache.load("k", origin))
    await asyncio.sleep(0)
    origin.gate.set()
    assert (await early, await late) == ("old", "new")
    assert cache.get("k") == "new"


async def test_a_reader_that_is_cancelled_leaves_the_others_their_answer() -> None:
    origin, cache = Origin(), Cache[str, str](10)
    first = asyncio.ensure_future(cache.load("k", origin))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(cache.load("k", origin))
    await asyncio.sleep(0)
    first.cancel()
    origin.gate.set()
    assert await second == "old"
    assert first.cancelled() or first.done()


async def test_readers_that_are_cancelled_together_all_end() -> None:
    origin, cache = Origin(), Cache[str, str](10)
    readers = [asyncio.ensure_future(cache.load("k", origin)) for _ in range(3)]
    await asyncio.sleep(0)
    for reader in readers:
        reader.cancel()
    done, waiting = await asyncio.wait(readers, timeout=2)
    assert all(reader.cancelled() for reader in done)
    assert not waiting


async def test_a_failed_read_fails_who_waits_and_is_tried_again() -> None:
    cache = Cache[str, str](10)

    async def broken() -> str:
        await asyncio.sleep(0)
        raise OSError("no")

    outcomes = await asyncio.gather(
        cache.load("k", broken), cache.load("k", broken), return_exceptions=True
    )
    assert all(isinstance(o, OSError) for o in outcomes)
    origin = Origin()
    origin.gate.set()
    assert await cache.load("k", origin) == "old"


async def test_nothing_found_is_not_remembered() -> None:
    cache = Cache[str, str](10)

    async def nothing() -> None:
        return None

    assert await cache.load("k", nothing) is None
    origin = Origin()
    origin.gate.set()
    assert await cache.load("k", origin) == "old"


@pytest.mark.parametrize("limit", [1, 10, 37])
@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=40))
async def test_the_cost_of_all_that_is_kept_stays_below_the_limit(
    limit: int, sizes: list[int]
) -> None:
    cache = Cache[int, int](limit, lambda value: value)

    async def read(value: int) -> int:
        return value

    for key, size in enumerate(sizes):
        assert await cache.load(key, lambda size=size: read(size)) == size
        kept = [v.value for k in range(len(sizes)) if (v := cache._kept.get(k)) is not None]
        assert sum(kept) == cache._total <= limit
    for key in range(len(sizes)):
        cache.drop(key)
    assert cache._total == 0


async def test_what_was_used_last_stays_longest() -> None:
    cache = Cache[str, int](2)

    async def one() -> int:
        return 1

    for key in ("a", "b"):
        await cache.load(key, one)
    cache.get("a")
    await cache.load("c", one)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 1)


async def test_what_was_read_under_a_stamp_counts_while_it_stands() -> None:
    stamps = OwnStamp()
    cache: Cache[tuple[str, ...], str] = Cache(10, stamps=stamps)
    origin = Origin()
    origin.gate.set()
    assert await cache.load(("k",), origin) == cache.get(("k",)) == "old"
    origin.value = "new"
    stamps.trust()
    assert cache.get(("k",)) is None
    assert await cache.load(("k",), origin) == "new"
    stamps.distrust()
    assert cache.get(("k",)) is None
    assert await cache.load(("k",), origin) == "new"
    assert cache.get(("k",)) is None  # nothing is kept while nothing is trusted
    assert (cache._total, len(cache._kept)) == (0, 0)


async def test_a_reader_does_not_join_one_that_began_before_the_change() -> None:
    stamps = OwnStamp()
    cache: Cache[tuple[str, ...], str] = Cache(10, stamps=stamps)
    origin = Origin()
    early = asyncio.ensure_future(cache.load(("k",), origin))
    await asyncio.sleep(0)
    origin.value = "new"
    stamps.trust()  # as another process does when it has changed something
    late = asyncio.ensure_future(cache.load(("k",), origin))
    await asyncio.sleep(0)
    origin.gate.set()
    assert (await early, await late) == ("old", "new")
    assert cache.get(("k",)) == "new"


async def test_nothing_found_by_a_read_that_was_joined_is_looked_for_again() -> None:
    cache = Cache[str, str](10)
    there: list[str | None] = [None]
    gate = asyncio.Event()
    reads = 0

    async def read() -> str | None:
        nonlocal reads
        reads += 1
        found = there[0]
        await gate.wait()
        return found

    early = asyncio.ensure_future(cache.load("k", read))
    await asyncio.sleep(0)
    there[0] = "made meanwhile, and acknowledged"
    late = [asyncio.ensure_future(cache.load("k", read)) for _ in range(3)]
    await asyncio.sleep(0)
    gate.set()
    assert await early is None
    assert await asyncio.gather(*late) == there * 3
    assert reads == 2
