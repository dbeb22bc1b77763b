"""Denied requests are in the audit log, and a flood of them is a few entries in bounded memory."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from argosy.catalog.actor import Actor
from argosy.catalog.audit import Entry
from argosy.catalog.auditing.denials import Denials
from argosy.catalog.auditing.sealing import Sealer
from argosy.catalog.auditing.verifying import verify
from argosy.catalog.database import Database, open_database
from argosy.errors import StorageError
from argosy.meters import declared as meters
from tests.catalog.auditing import ALICE, all_rows


@pytest.fixture
async def db(where: str) -> AsyncIterator[Database]:
    async with open_database(where) as found:
        yield found


def denied(resource: str = "team/app", reason: str = "push is missing") -> Entry:
    return Entry(
        action="manifest.push",
        resource=resource,
        project="team",
        outcome="denied",
        details={"reason": reason},
    )


async def test_a_flood_of_the_same_denial_is_one_entry_with_its_count(db: Database) -> None:
    denials = Denials(db)
    for _ in range(5000):
        denials.add(ALICE, denied())
    denials.add(ALICE, denied(reason="another"))
    denials.add(Actor(name="bob", kind="user"), denied())
    await denials.flush()
    rows = await all_rows(db)
    assert [(r["actor"], r["count"], r["outcome"]) for r in rows] == [
        ("alice", 5000, "denied"),
        ("alice", 1, "denied"),
        ("bob", 1, "denied"),
    ]
    assert rows[0]["details"]["first_at"] <= rows[0]["details"]["last_at"]
    assert rows[0]["request"] == "r-1"
    await denials.flush()  # nothing new
    assert len(await all_rows(db)) == 3


async def test_too_many_different_ones_become_one_entry_and_none_is_uncounted(db: Database) -> None:
    denials = Denials(db, most=50)
    before = meters.AUDIT_SUMMED.read().get((), [0.0])[0]
    for number in range(10_000):
        denials.add(
            Actor(name="", kind="anonymous", address=f"10.0.{number >> 8}.{number & 255}"), denied()
        )
        assert len(denials._held) <= 51
    await denials.flush()
    rows = await all_rows(db)
    assert len(rows) == 51
    assert sum(r["count"] for r in rows) == 10_000
    assert (rows[-1]["actor_kind"], rows[-1]["count"], rows[-1]["address"]) == ("several", 9950, "")
    assert meters.AUDIT_SUMMED.read()[()][0] - before == 9950
    await Sealer(db).once()
    assert (await verify(db)).broken is None


async def test_what_cannot_be_written_is_kept_bounded_and_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_database(str(tmp_path / "c.db")) as db:
        denials = Denials(db, most=10)

        async def away(_function: Any) -> None:
            # More come while it is tried.
            denials.add(ALICE, denied())
            raise StorageError("the database is away")

        with monkeypatch.context() as patch:
            patch.setattr(db, "write", away)
            for number in range(40):
                denials.add(ALICE, denied(resource=f"team/app{number % 8}"))
                if number % 5 == 4:
                    await denials.flush()
        assert len(denials._held) <= 11
        await denials.flush()
        rows = await all_rows(db)
        assert sum(r["count"] for r in rows) == 40 + 8
        assert denials._held == {}


async def test_what_is_held_is_written_when_the_server_stops(db: Database) -> None:
    denials = Denials(db, every=3600)
    task = asyncio.get_running_loop().create_task(denials.run())
    await asyncio.sleep(0)
    denials.add(ALICE, denied())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await all_rows(db)) == 1


async def test_they_are_written_while_the_server_runs(db: Database) -> None:
    denials = Denials(db, every=0.01)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(denials.run())
        denials.add(ALICE, denied())
        async with asyncio.timeout(10):
            while not await all_rows(db):
                await asyncio.sleep(0.005)
        task.cancel()
