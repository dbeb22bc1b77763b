"""Several real processes over one database: what one has acknowledged is what the next one serves."""

import asyncio
import time
from pathlib import Path

import pytest

from argosy.catalog.caching.stamps import NEVER, SharedStamps
from argosy.catalog.catalog import open_catalog
from argosy.catalog.databases.announcing import EVERYTHING
from argosy.catalog.databases.listening import _keys, payloads
from argosy.catalog.databases.options import DatabaseOptions
from tests.catalog.cutting import cutting
from tests.catalog.node import processes
from tests.catalog.pushing import NAME, hearing, push, verify

pytestmark = pytest.mark.slow

WORKERS = DatabaseOptions(workers=True)


def test_an_acknowledged_push_of_a_tag_is_what_every_other_process_serves_next(where: str) -> None:
    with processes(where, 3) as nodes:
        digests = [nodes[0](f"push v{n} seed-{n}") for n in range(2)]
        for node in nodes:
            node("hot v1")  # reads are under way all the time, in each of them
        for move in range(60):
            writer, reader = nodes[move % 3], nodes[(move + 1) % 3]
            assert writer(f"tag v1 {digests[move % 2]}") == "done"
            assert reader("serve v1") == digests[move % 2]
            assert nodes[(move + 2) % 3]("serve v1") == digests[move % 2]
        if "://" not in where:  # it is not right because nothing is ever kept
            assert all(int(node("kept")) > 0 for node in nodes)
        nodes[0]("delete v1")
        assert [node("serve v1") for node in nodes] == ["nothing"] * 3


def test_what_another_process_makes_is_there_at_once(where: str) -> None:
    with processes(where, 2) as (one, two):
        for n in range(40):
            assert two("serve new-0") in ("nothing", one("serve new-0"))
            digest = one(f"push new-{n} {n}")
            assert two(f"serve new-{n}") == digest
            assert two(f"serve {digest}") == digest


def test_what_a_process_deleted_is_soon_gone_from_the_others(where: str) -> None:
    with processes(where, 2) as (one, two):
        digest = one("push v1 x")
        assert two(f"serve {digest}") == digest
        one(f"delete {digest}")
        assert two("serve v1") == "nothing"
        if "://" not in where:
            assert two(f"serve {digest}") == "nothing"
        until = time.monotonic() + 5  # other nodes hear of it a moment later
        while two(f"serve {digest}") != "nothing":
            assert time.monotonic() < until


def test_a_process_that_was_killed_leaves_nothing_locked_and_nothing_stale(where: str) -> None:
    with processes(where, 2) as (one, two):
        first = one("push v1 1")
        second = one("push v2 2")
        assert two("serve v1") == first
        for _ in range(3):
            one.kill()
            assert two(f"tag v1 {second}") == "done"
            one.__init__(where)  # type: ignore[misc]
            assert one("serve v1") == second
            assert one(f"tag v1 {first}") == "done"
            assert two("serve v1") == first


async def test_many_processes_write_at_once(where: str) -> None:
    with processes(where, 3) as nodes:

        def work(number: int) -> None:
            for n in range(25):
                nodes[number](f"push shared {number}-{n}")
                nodes[number](f"push own-{number} {number}-{n}")

        await asyncio.gather(*(asyncio.to_thread(work, n) for n in range(3)))
    async with open_catalog(where) as catalog:
        assert await catalog.tags(NAME, "", 9) == ["own-0", "own-1", "own-2", "shared"]
        assert await verify(catalog) == 150


def test_what_was_read_under_an_old_stamp_does_not_count(tmp_path: Path) -> None:
    one, two = SharedStamps(str(tmp_path / "s")), SharedStamps(str(tmp_path / "s"))
    key, other = ("manifest", "team/app", "v1"), ("manifest", "team/app", "v2")
    slot = one.slot(key)
    assert slot == two.slot(key) != two.slot(other)
    seen = set()
    for n in range(100):
        assert one.memory[slot] == two.memory[slot] not in seen | {NEVER}
        seen.add(one.memory[slot])
        (one, two)[n % 2].change(key)
    assert two.memory[two.slot(other)] == one.memory[one.slot(other)]
    before = one.memory.tolist()
    three = SharedStamps(str(tmp_path / "s"))  # it may stand in for one that was killed
    assert not set(before) & set(one.memory.tolist())
    for stamps in (one, two, three):
        stamps.close()


def test_the_stamps_cost_no_system_call_and_no_lock_to_look_at(tmp_path: Path) -> None:
    stamps = SharedStamps(str(tmp_path / "s"))
    assert isinstance(stamps.memory, memoryview)
    assert stamps.memory.itemsize == 8  # written and read whole
    stamps.close()


async def test_a_node_that_hears_nothing_trusts_nothing_it_keeps(postgres_url: str) -> None:
    async with open_catalog(postgres_url) as other, cutting(postgres_url) as cut:
        async with open_catalog(cut.url) as catalog:
            new = await push(other, "v1")
            await hearing(catalog)
            await catalog.manifest(NAME, new.digest)
            assert catalog.at_hand(NAME, new.digest) is not None
            cut.refusing = True
            cut.cut_all()
            until = time.monotonic() + 5
            while catalog.at_hand(NAME, new.digest) is not None:
                assert time.monotonic() < until
                await asyncio.sleep(0)
            await other.delete_manifest(NAME, new.digest)
            cut.refusing = False
            await hearing(catalog)
            assert await catalog.manifest(NAME, new.digest) is None
            again = await push(other, "v1")
            await catalog.manifest(NAME, again.digest)
            assert catalog.at_hand(NAME, again.digest) is not None


async def test_a_node_that_is_cut_off_without_a_word_notices(postgres_url: str) -> None:
    async with cutting(postgres_url) as cut, open_catalog(cut.url) as catalog:
        new = await push(catalog, "v1")
        await hearing(catalog)
        await catalog.manifest(NAME, new.digest)
        assert catalog.at_hand(NAME, new.digest) is not None
        cut.deaf = True
        began = time.monotonic()
        while catalog.at_hand(NAME, new.digest) is not None:
            await asyncio.sleep(0.05)
        assert time.monotonic() - began < 6
        cut.deaf = False
        await hearing(catalog)


@pytest.mark.parametrize("count", [0, 1, 3, 500])
def test_what_is_told_fits_into_notifications(count: int) -> None:
    keys = [("manifest", "team/" + "x" * 200, f"sha256:{n:064}") for n in range(count)]
    sent = list(payloads([*keys, *keys]))
    assert all(len(p.encode()) < 8000 for p in sent)
    assert [key for p in sent for key in _keys(p)] == keys


@pytest.mark.parametrize("payload", ["", "x", "5", '{"a": 1}', "[5]", "null"])
def test_a_notification_nobody_understands_means_that_anything_may_have_changed(
    payload: str,
) -> None:
    assert _keys(payload) == [EVERYTHING]
