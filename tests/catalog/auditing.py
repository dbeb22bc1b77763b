"""What the tests of the audit log share."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, select

from argosy.catalog import schema as t
from argosy.catalog.actor import Actor
from argosy.catalog.audit import Entry, record, row
from argosy.catalog.auditing.sealing import Sealer
from argosy.catalog.database import Database

ALICE = Actor(name="alice", kind="user", address="10.0.0.1", request="r-1")


async def write(db: Database, count: int, seal: bool = True) -> None:
    def put(conn: Any) -> None:
        for number in range(count):
            record(conn, ALICE, Entry(action="tag.move", resource=f"team/app:{number}"))

    await db.write(put)
    if seal:
        await Sealer(db).once()


async def write_rows(db: Database, rows: Sequence[dict[str, Any]]) -> None:
    """Many at once, with other values than `record` gives."""
    base = row(ALICE, Entry(action="tag.move", resource="team/app:1", project="team"))
    await db.write(lambda conn: conn.execute(insert(t.audit), [{**base, **r} for r in rows]))


async def all_rows(db: Database) -> list[dict[str, Any]]:
    found = await db.read(
        lambda conn: conn.execute(select(t.audit).order_by(t.audit.c.id)).mappings().all()
    )
    return [dict(r) for r in found]
