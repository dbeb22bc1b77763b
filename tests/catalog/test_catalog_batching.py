"""Whoever asks gets what a query says that began after he asked, and queries are shared."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from argosy.catalog.caching.batching import Batched


class Source:
    """Answers with what is so when the query begins, when it is let through."""

    def __init__(self) -> None:
        self.value = 0
        self.asked: list[list[str]] = []
        self.gate = asyncio.Event()
        self.running = self.most = 0

    async def __call__(self, keys: Sequence[str]) -> Mapping[str, int]:
        self.asked.append(sorted(keys))
        found = {key: self.value for key in keys if key != "absent"}
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.wait()
            return found
        finally:
            self.running -= 1


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_who_comes_while_queries_run_gathers_for_the_next() -> None:
    source = Source()
    batched = Batched(source, at_once=2)
    readers = [asyncio.ensure_future(batched.get(f"k{n % 5}")) for n in range(40)]
    await settle()
    assert source.asked[0] == ["k0", "k1", "k2", "k3", "k4"]
    source.gate.set()
    assert await asyncio.gather(*readers) == [0] * 40
    assert source.most <= 2
    assert len(source.asked) <= 4
    assert await batched.get("absent") is None


async def test_nobody_is_answered_by_a_query_that_began_before_he_asked() -> None:
    source = Source()
    batched = Batched(source, at_once=1)
    early = [asyncio.ensure_future(batched.get("k")) for _ in range(3)]
    await settle()
    source.value = 1
    late = [asyncio.ensure_future(batched.get("k")) for _ in range(3)]
    await settle()
    source.gate.set()
    assert await asyncio.gather(*late) == [1, 1, 1]
    assert (await early[0]) == 0
    await asyncio.gather(*early)


async def test_the_size_of_a_query_is_bounded() -> None:
    source = Source()
    batched = Batched(source, at_once=1, most=10)
    readers = [asyncio.ensure_future(batched.get(f"k{n}")) for n in range(35)]
    await settle()
    source.gate.set()
    await asyncio.gather(*readers)
    assert max(map(len, source.asked)) == 10
    assert sum(map(len, source.asked)) == 35


async def test_a_failed_query_fails_those_it_was_for_and_no_others() -> None:
    source = Source()

    async def broken(keys: Sequence[str]) -> Mapping[str, int]:
        await source.gate.wait()
        if "bad" in keys:
            raise OSError("no")
        return dict.fromkeys(keys, 7)

    batched = Batched(broken, at_once=1)
    bad = asyncio.ensure_future(batched.get("bad"))
    await settle()
    good = asyncio.ensure_future(batched.get("good"))
    await settle()
    source.gate.set()
    with pytest.raises(OSError, match="no"):
        await bad
    assert await good == 7


async def test_a_leader_that_is_cancelled_leaves_the_others_their_answer() -> None:
    source = Source()
    batched = Batched(source, at_once=1)
    leader = asyncio.ensure_future(batched.get("a"))
    await settle()
    others = [asyncio.ensure_future(batched.get(key)) for key in ("b", "c", "b")]
    await settle()
    leader.cancel()
    await settle()
    others[0].cancel()  # who was to lead next
    await settle()
    source.gate.set()
    assert await asyncio.wait_for(asyncio.gather(*others[1:]), 2) == [0, 0]
    assert leader.cancelled()
    assert others[0].cancelled()
    assert (batched._running, batched._gathered) == (0, {})


async def test_who_is_cancelled_when_it_is_his_turn_to_lead_passes_it_on() -> None:
    source = Source()
    batched = Batched(source, at_once=1)
    leader = asyncio.ensure_future(batched.get("a"))
    await settle()
    next_one, last = (asyncio.ensure_future(batched.get(key)) for key in ("b", "c"))
    await settle()
    source.gate.set()
    while not next_one.cancelled():  # each step of the way
        await asyncio.sleep(0)
        if leader.done():
            next_one.cancel()
    assert await asyncio.wait_for(last, 2) == 0


@pytest.mark.parametrize("seed", range(5))
async def test_whoever_is_cancelled_nobody_waits_for_ever(seed: int) -> None:
    import random

    choice = random.Random(seed)

    async def ask(keys: Sequence[str]) -> Mapping[str, int]:
        await asyncio.sleep(choice.random() / 500)
        if choice.random() < 0.1:
            raise OSError("no")
        return dict.fromkeys(keys, 1)

    batched = Batched(ask, at_once=2, most=5)
    readers = []
    for n in range(300):
        readers.append(asyncio.ensure_future(batched.get(f"k{n % 13}")))
        if choice.random() < 0.3:
            choice.choice(readers).cancel()
        if choice.random() < 0.2:
            await asyncio.sleep(0.0005)
    done, waiting = await asyncio.wait(readers, timeout=10)
    assert not waiting
    for reader in done:
        assert reader.cancelled() or reader.exception() is not None or reader.result() == 1
    assert (batched._running, batched._gathered) == (0, {})
