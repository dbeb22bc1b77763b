"""The sealer: gives entries their place in the chain, in batches, one node at a time.

Writers only insert: they never wait for each other, and an entry's place is decided
when its transaction is over and the entry can be seen.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, select, update

from argosy.catalog import schema as t
from argosy.catalog.auditing.chain import GENESIS, HASHED, link
from argosy.catalog.database import Database
from argosy.catalog.databases.dialects import upsert
from argosy.catalog.databases.locks import Space, attempt
from argosy.errors import ArgosyError
from argosy.meters import declared as meters

log = logging.getLogger("argosy.audit")

BATCH: Final = 200
"""Entries of one transaction: hashing them takes a millisecond or two of the event loop."""

POSITION: Final = "audit.sealed"
_TABLE: Final = t.audit
_COLUMNS: Final = [_TABLE.c[name] for name in HASHED]
_PLACE: Final = (
    update(_TABLE)
    .where(_TABLE.c.id == bindparam("entry"), _TABLE.c.sequence.is_(None))
    .values(sequence=bindparam("place"), hash=bindparam("seal"))
)


def seal(conn: Connection, most: int = BATCH) -> int | None:
    """Seal the oldest entries that are not; how many. None if another node is at it."""
    if not attempt(conn, Space.WORK, "audit.seal"):
        return None
    unsealed = _TABLE.c.sequence.is_(None)
    found = conn.execute(select(*_COLUMNS).where(unsealed).order_by(_TABLE.c.id).limit(most))
    rows: list[dict[str, Any]] = [dict(row) for row in found.mappings()]
    if not rows:
        return 0
    sequence, before = head(conn)
    for row in rows:
        sequence += 1
        row["sequence"] = sequence
        row["hash"] = before = link(before, row)
    places = [{"entry": r["id"], "place": r["sequence"], "seal": r["hash"]} for r in rows]
    conn.execute(_PLACE, places)
    kept = {"name": POSITION, "position": sequence, "updated_at": t.now()}
    upsert(conn, t.cursors, [kept], update=["position", "updated_at"])
    return len(rows)


def head(conn: Connection) -> tuple[int, str]:
    """The sequence and hash of the last sealed entry.

    Should the last entries be gone, numbering goes on after them: the gap stays visible.
    """
    cursor, anchors = t.cursors, t.audit_anchors
    position = conn.execute(select(cursor.c.position).where(cursor.c.name == POSITION)).scalar()
    last = select(_TABLE.c.sequence, _TABLE.c.hash).where(_TABLE.c.sequence.is_not(None))
    row = conn.execute(last.order_by(_TABLE.c.sequence.desc()).limit(1)).one_or_none()
    if row is None:  # all were trimmed
        row = conn.execute(
            select(anchors.c.sequence, anchors.c.hash).order_by(anchors.c.sequence.desc()).limit(1)
        ).one_or_none()
    sequence, sealed = (0, GENESIS) if row is None else (int(row[0]), str(row[1]))
    return max(sequence, position or 0), sealed


def waiting(conn: Connection) -> int:
    """How many entries are not sealed yet."""
    unsealed = select(func.count()).select_from(_TABLE).where(_TABLE.c.sequence.is_(None))
    return int(conn.execute(unsealed).scalar_one())


class Sealer:
    """Seals what has been written, again and again."""

    def __init__(
        self, database: Database, *, every: float = 1.0, sealed: Callable[[int], object] = int
    ) -> None:
        self._db = database
        self._every = every
        self._sealed = sealed  # told how many there were, each time there were some
        self._failing = False

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.once()
            except ArgosyError as e:  # the next try is a second away
                if not self._failing:
                    log.warning("the audit log cannot be sealed: %s: %s", e.summary, e.why)
                self._failing = True
            else:
                self._failing = False
            await asyncio.sleep(self._every)

    async def once(self) -> int:
        """Seal all that there is now; how many this node has sealed."""
        total = 0
        if not (left := await self._db.read(waiting)):
            meters.AUDIT_UNSEALED.set(0)
            return 0  # the usual case takes no write
        meters.AUDIT_UNSEALED.set(left)
        while True:
            done = await self._db.write(seal)
            if done:
                total += done
                meters.AUDIT_SEALED.add(by=done)
                meters.AUDIT_UNSEALED.set(max(0, left - total))
                self._sealed(done)
            if done is None or done < BATCH:
                return total
