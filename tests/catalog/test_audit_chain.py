"""The audit log: written with the change, chained after it, and whatever is changed then is found."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, insert, select, update

from argosy.catalog import schema as t
from argosy.catalog.actor import Actor
from argosy.catalog.audit import Entry, record, row
from argosy.catalog.auditing import sealing
from argosy.catalog.auditing.chain import GENESIS, HASHED, Reader, link
from argosy.catalog.auditing.sealing import Sealer
from argosy.catalog.auditing.trimming import Retention, trim
from argosy.catalog.auditing.verifying import (
    Checkpoint,
    CheckpointInvalid,
    checkpoint,
    verify,
)
from argosy.catalog.database import Database, open_database
from argosy.errors import StorageError
from tests.catalog.auditing import ALICE, all_rows, write, write_rows


@pytest.fixture
async def db(where: str) -> AsyncIterator[Database]:
    async with open_database(where) as found:
        yield found


async def test_an_entry_is_there_with_its_change_or_not_at_all(db: Database) -> None:
    def fail(conn: Connection) -> None:
        record(conn, ALICE, Entry(action="tag.move", resource="team/app:1"))
        raise KeyError

    with pytest.raises(KeyError):
        await db.write(fail)
    assert await all_rows(db) == []


async def test_sealing_gives_every_entry_its_place_and_its_hash(db: Database) -> None:
    await write(db, 450)
    rows = await all_rows(db)
    assert [r["sequence"] for r in rows] == list(range(1, 451))
    before = GENESIS
    for found in rows:
        assert found["hash"] == link(before, found)
        before = found["hash"]
    assert await Sealer(db).once() == 0
    found = await verify(db)
    assert (found.first, found.last, found.count, found.broken) == (1, 450, 450, None)
    assert found.hash == rows[-1]["hash"]


async def test_an_empty_log_is_whole(db: Database) -> None:
    found = await verify(db)
    assert (found.count, found.broken) == (0, None)


async def test_entries_written_by_many_at_once_are_one_chain(db: Database) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(write(db, 10, seal=False))
        for _ in range(5):
            group.create_task(Sealer(db).once())
    await Sealer(db).once()
    found = await verify(db)
    assert (found.count, found.broken) == (200, None)


async def test_two_nodes_never_seal_at_once(postgres_url: str) -> None:
    async with open_database(postgres_url) as one, open_database(postgres_url) as two:
        await write(one, 30, seal=False)
        begun, free = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            def sealed(conn: Connection) -> None:
                assert sealing.seal(conn, 10) == 10
                begun.set()

            # The transaction stays open while the other node tries.
            async with one._connection(one._engine) as conn:  # type: ignore[attr-defined]
                await conn.run_sync(sealed)
                await free.wait()
                await conn.commit()

        async with asyncio.TaskGroup() as group:
            group.create_task(hold())
            await begun.wait()
            assert await two.write(sealing.seal) is None
            free.set()
        assert await two.write(sealing.seal) == 20
        assert (await verify(two)).broken is None


async def changed(db: Database, where: int, **values: Any) -> None:
    await db.write(
        lambda conn: conn.execute(
            update(t.audit).where(t.audit.c.sequence == where).values(**values)
        )
    )


async def _removed(db: Database, rows: list[dict[str, Any]], at: int) -> None:
    await db.write(lambda conn: conn.execute(delete(t.audit).where(t.audit.c.sequence == at)))


async def _swapped(db: Database, rows: list[dict[str, Any]], at: int) -> None:
    await changed(db, at, sequence=-1)
    await changed(db, at + 1, sequence=at)
    await changed(db, -1, sequence=at + 1)


async def _inserted(db: Database, rows: list[dict[str, Any]], at: int) -> None:
    for place in range(len(rows), at - 1, -1):
        await changed(db, place, sequence=place + 1)
    made = {**rows[at - 1], "resource": "made/up:1", "sequence": at}
    made["hash"] = link(rows[at - 2]["hash"] if at > 1 else GENESIS, made)
    del made["id"]
    await db.write(lambda conn: conn.execute(insert(t.audit).values(**made)))


async def _removed_and_closed_up(db: Database, rows: list[dict[str, Any]], at: int) -> None:
    await _removed(db, rows, at)
    for place in range(at + 1, len(rows) + 1):
        await changed(db, place, sequence=place - 1)


@pytest.mark.parametrize("where", [1, 7, 19])
@pytest.mark.parametrize(
    "how", [_removed, _swapped, _inserted, _removed_and_closed_up], ids=lambda f: f.__name__
)
async def test_the_first_entry_that_is_not_right_is_named(
    tmp_path: Path, how: Callable[..., Any], where: int
) -> None:
    async with open_database(str(tmp_path / "c.db")) as db:
        await write(db, 20)
        await how(db, await all_rows(db), where)
        found = await verify(db)
        assert found.broken is not None
        assert found.broken.sequence == where
        assert found.last == where - 1


async def test_the_end_cannot_be_cut_off_unseen(db: Database) -> None:
    await write(db, 20)
    await db.write(lambda conn: conn.execute(delete(t.audit).where(t.audit.c.sequence > 15)))
    found = await verify(db)
    assert found.broken is not None
    assert found.broken.sequence == 16
    assert "up to 20" in found.broken.why
    await write(db, 3)  # and what comes later does not close the gap
    found = await verify(db)
    assert found.broken is not None
    assert (found.broken.sequence, found.broken.why) == (16, "16 to 20 are missing")


_TEXT = st.text(max_size=20)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXT | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_ENTRIES = st.builds(
    Entry,
    action=_TEXT,
    resource=st.text(max_size=600),
    project=_TEXT,
    digest=_TEXT,
    details=st.dictionaries(_TEXT, _JSON, max_size=4),
)


@settings(deadline=None)
@given(st.data())
def test_any_change_of_any_sealed_field_is_found(data: st.DataObject) -> None:
    entries = data.draw(st.lists(_ENTRIES, min_size=1, max_size=6))
    rows, before = [], GENESIS
    for number, entry in enumerate(entries, 1):
        made = {**row(ALICE, entry), "id": number, "count": 1, "sequence": number}
        made["hash"] = before = link(before, made)
        rows.append(made)
    at = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from([n for n in (*HASHED, "hash") if n != "sequence"]))
    old = rows[at][name]
    new = data.draw(
        st.integers()
        if isinstance(old, int)
        else st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=2)
        if isinstance(old, dict)
        else st.text(max_size=70)
    )
    reader = Reader()
    found = [reader.take(made) for made in rows]
    assert found == [None] * len(rows)
    if new == old:
        return
    rows[at][name] = new
    reader = Reader()
    broken = next(b for made in rows if (b := reader.take(made)) is not None)
    assert broken.sequence == at + 1


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None
)
@given(entries=st.lists(_ENTRIES, min_size=1, max_size=4))
async def test_whatever_an_entry_holds_is_written_and_verified(
    db: Database, entries: list[Entry]
) -> None:
    actor = Actor(name="a\x00b\ud800", kind="user" * 20, address="x" * 99, request="\n")

    def put(conn: Connection) -> None:
        for entry in entries:
            record(conn, actor, entry)

    await db.write(put)
    await Sealer(db).once()
    assert (await verify(db)).broken is None


async def test_a_checkpoint_finds_a_chain_that_was_made_anew(db: Database) -> None:
    await write(db, 10)
    mark = await checkpoint(db, b"key")
    await write(db, 5)
    assert (await verify(db, [mark])).broken is None
    rows, before = await all_rows(db), GENESIS
    rows[3]["resource"] = "another/app:1"
    for made in rows:  # somebody who can compute: the chain alone is whole again
        before = link(before, made)
        await changed(db, made["sequence"], hash=before, resource=made["resource"])
    assert (await verify(db)).broken is None
    found = await verify(db, [mark])
    assert found.broken is not None
    assert found.broken.sequence == 10
    assert "checkpoint" in found.broken.why


async def test_a_log_that_does_not_reach_its_checkpoint_was_made_anew(db: Database) -> None:
    """Who makes it anew with fewer entries, passes no checkpoint that is behind its end."""
    await write(db, 4)
    longer = Checkpoint(sequence=10, hash="ab" * 32, at=0)
    found = await verify(db, [longer])
    assert found.broken is not None
    assert found.broken.sequence == 5
    assert "up to 10" in found.broken.why


async def test_a_checkpoint_of_an_empty_log_is_a_start(db: Database) -> None:
    mark = await checkpoint(db)
    await write(db, 3)
    assert (mark.sequence, mark.hash) == (0, GENESIS)
    assert (await verify(db, [mark])).broken is None


def test_a_checkpoint_is_only_taken_from_who_has_the_key() -> None:
    made = Checkpoint(sequence=7, hash="ab" * 32, at=5).signed(b"key")
    same = Checkpoint.parse(__import__("json").dumps(made.to_json()))
    same.check(b"key")
    for forged, key in (
        (same, b"other"),
        (Checkpoint(sequence=8, hash=same.hash, at=5, signature=same.signature), b"key"),
        (Checkpoint(sequence=7, hash="cd" * 32, at=5, signature=same.signature), b"key"),
        (Checkpoint(sequence=7, hash=same.hash, at=5), b"key"),
    ):
        with pytest.raises(CheckpointInvalid):
            forged.check(key)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"sequence":1,"hash":"zz","at":1,"signature":""}',
        '{"sequence":"1","hash":"' + "ab" * 32 + '","at":1,"signature":""}',
        '{"sequence":1,"hash":5,"at":1,"signature":""}',
        '{"sequence":1,"hash":"abcd","at":1,"signature":""}',
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_told(text: str) -> None:
    with pytest.raises(CheckpointInvalid, match="cannot be read"):
        Checkpoint.parse(text)


DAY = 86_400_000_000


async def test_a_log_that_was_trimmed_is_verified_from_its_anchor(db: Database) -> None:
    now = t.now()
    await write_rows(db, [{"at": now - (40 - n) * DAY} for n in range(40)])
    await Sealer(db).once()
    last = (await all_rows(db))[29]
    assert await db.write(lambda conn: trim(conn, Retention(days=10.5))) == 30
    assert (await verify(db)).broken is None  # also while the entry of the trim waits to be sealed
    await Sealer(db).once()
    found = await verify(db)
    assert (found.first, found.last, found.broken) == (31, 41, None)
    rows = await all_rows(db)
    assert (rows[-1]["action"], rows[-1]["actor"]) == ("audit.trim", "argosy")
    assert rows[-1]["details"] == {"through": 30, "hash": last["hash"], "entries": 30}
    assert await db.write(lambda conn: trim(conn, Retention(days=10.5))) == 0


async def test_an_anchor_that_somebody_made_up_is_found(db: Database) -> None:
    await write(db, 20)
    rows = await all_rows(db)

    def forge(conn: Connection) -> None:
        conn.execute(delete(t.audit).where(t.audit.c.sequence <= 12))
        made = {"sequence": 12, "hash": rows[11]["hash"], "at": t.now(), "actor": "argosy"}
        conn.execute(insert(t.audit_anchors).values(**made))

    await db.write(forge)
    found = await verify(db)
    assert found.broken is not None
    assert "no entry of the log says" in found.broken.why


async def test_the_number_of_entries_is_bounded(db: Database) -> None:
    await write(db, 50)
    assert await db.write(lambda conn: trim(conn, Retention(days=0, entries=20))) == 30
    await Sealer(db).once()
    assert [r["sequence"] for r in await all_rows(db)] == list(range(31, 52))
    assert (await verify(db)).broken is None


async def test_age_waits_for_who_has_not_got_an_entry_but_the_limit_does_not(db: Database) -> None:
    await write_rows(db, [{"at": 1_000_000}] * 30)
    await Sealer(db).once()
    cursor = {"name": "audit.to.syslog", "position": 10, "updated_at": t.now()}
    await db.write(lambda conn: conn.execute(insert(t.cursors).values(**cursor)))
    assert await db.write(lambda conn: trim(conn, Retention(days=1))) == 10
    assert await db.write(lambda conn: trim(conn, Retention(days=1))) == 0
    assert await db.write(lambda conn: trim(conn, Retention(days=1, entries=5))) == 15
    eight_days_ago = t.now() - 8 * DAY  # whoever it was has been turned off
    await db.write(lambda conn: conn.execute(update(t.cursors).values(updated_at=eight_days_ago)))
    assert await db.write(lambda conn: trim(conn, Retention(days=1))) == 5


async def test_entries_that_are_not_sealed_are_not_trimmed(db: Database) -> None:
    await write_rows(db, [{"at": 1_000_000}] * 3)
    assert await db.write(lambda conn: trim(conn, Retention(days=1))) == 0
    assert len(await all_rows(db)) == 3


async def test_everything_may_be_trimmed_and_the_chain_goes_on(db: Database) -> None:
    await write_rows(db, [{"at": 1_000_000}] * 3)
    await Sealer(db).once()
    assert await db.write(lambda conn: trim(conn, Retention(days=1))) == 3
    await Sealer(db).once()
    await write(db, 2)
    found = await verify(db)
    assert (found.first, found.last, found.broken) == (4, 6, None)


async def test_the_sealer_goes_on_when_the_database_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_database(str(tmp_path / "c.db")) as db:
        await write(db, 3, seal=False)
        fails, asleep = 3, asyncio.Event()
        read = db.read

        async def shaky(function: Callable[[Connection], Any]) -> Any:
            nonlocal fails
            fails -= 1
            if fails >= 0:
                raise StorageError("the database is away", why="it is a test")
            return await read(function)

        monkeypatch.setattr(db, "read", shaky)
        sealer = Sealer(db, every=0.001, sealed=lambda _count: asleep.set())
        task = asyncio.get_running_loop().create_task(sealer.run())
        await asyncio.wait_for(asleep.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await verify(db)).count == 3
    assert [r.message for r in caplog.records].count(
        "the audit log cannot be sealed: the database is away: it is a test"
    ) == 1  # once, not every second


async def test_a_row_of_another_type_in_the_details_is_found_not_fatal(tmp_path: Path) -> None:
    async with open_database(str(tmp_path / "c.db")) as db:
        await write(db, 3)
        await changed(db, 2, hash="no hex")
        await changed(db, 3, details=[1, 2])
        found = await verify(db)
        assert found.broken is not None
        assert found.broken.sequence == 2
        assert await db.read(
            lambda conn: conn.execute(select(t.audit.c.details)).scalars().all()
        ) == [{}, {}, [1, 2]]
