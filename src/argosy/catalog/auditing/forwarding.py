"""How far destinations of the audit log have come: a position in the chain for each.

Only sealed entries are sent, in the order of the chain. The position moves after a
destination has taken them, so a crash, or two nodes at it at once, sends some twice and
none never; each carries its sequence.
"""

from typing import Final

from sqlalchemy import Connection, func, select, update

from argosy.catalog import schema as t
from argosy.catalog.auditing import searching
from argosy.catalog.auditing.searching import AuditEntry
from argosy.catalog.auditing.verifying import anchored
from argosy.catalog.databases.dialects import upsert
from argosy.values import frozen

PREFIX: Final = "audit.to."


@frozen
class Unsent:
    """What a destination has not got: the next entries, how many there are in all, how many are lost.

    Lost are those that were trimmed before it could take them.
    """

    position: int
    entries: tuple[AuditEntry, ...]
    lag: int
    lost: int = 0


def unsent(conn: Connection, destination: str, most: int) -> Unsent:
    """The next entries for a destination; a new one gets all that there are."""
    held = select(t.cursors.c.position).where(t.cursors.c.name == PREFIX + destination)
    position = conn.execute(held).scalar()
    begin, _ = anchored(conn)
    start = begin if position is None else max(position, begin)
    c = t.audit.c
    found = select(*c).where(c.sequence > start).order_by(c.sequence).limit(most)
    last = conn.execute(select(func.max(c.sequence))).scalar() or start
    lost = 0 if position is None else start - position
    # The position of before is what `advance` compares with.
    return Unsent(position or 0, tuple(searching.entries(conn, found)), last - start, lost)


def advance(conn: Connection, destination: str, before: int, to: int) -> bool:
    """Move a destination's position; False if somebody else has moved it meanwhile."""
    cursors, name = t.cursors, PREFIX + destination
    upsert(conn, cursors, [{"name": name, "position": before, "updated_at": t.now()}])
    moved = update(cursors).where(cursors.c.name == name, cursors.c.position == before)
    return conn.execute(moved.values(position=to, updated_at=t.now())).rowcount > 0


def waits(conn: Connection, destination: str) -> None:
    """Say that a destination is still wanted: trimming waits for it."""
    cursors, name = t.cursors, PREFIX + destination
    begin, _ = anchored(conn)
    upsert(conn, cursors, [{"name": name, "position": begin, "updated_at": t.now()}])
    conn.execute(update(cursors).where(cursors.c.name == name).values(updated_at=t.now()))
