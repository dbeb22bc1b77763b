"""Retention: old entries go, and what is left can still be verified.

The hash of the last entry that went is kept as the anchor of the rest, and an entry of
the log itself tells of it: an anchor that somebody made up is in no entry.
"""

from typing import Final

from sqlalchemy import Connection, delete, func, insert, select

from argosy.catalog import schema as t
from argosy.catalog.actor import SYSTEM, Actor
from argosy.catalog.audit import Entry, record
from argosy.catalog.auditing.forwarding import PREFIX
from argosy.catalog.auditing.verifying import TRIMMED, anchored
from argosy.catalog.databases.locks import Space, attempt
from argosy.values import frozen

_DAY: Final = 86_400_000_000  # microseconds
_FORGOTTEN: Final = 7 * _DAY  # nobody sends there any more
_STEP: Final = 2000  # entries of one transaction: others want to write, too


@frozen(kw_only=True)
class Retention:
    """How long entries are kept, and how many at most; 0 means without such a limit."""

    days: float = 365.0
    entries: int = 10_000_000


def trim(conn: Connection, retention: Retention, by: Actor = SYSTEM) -> int:
    """Forget at most some thousand entries that need not be kept; how many.

    Age waits for destinations that have not got an entry yet; the limit on the number
    of entries does not: a log must not fill the disk.
    """
    if not attempt(conn, Space.WORK, "audit.trim"):
        return 0
    begin, _ = anchored(conn)
    many = _last(conn) - retention.entries if retention.entries else 0
    through = max(_too_old(conn, retention, begin), min(many, begin + _STEP))
    table = t.audit
    sealed = conn.execute(select(table.c.hash).where(table.c.sequence == through)).scalar()
    if through <= begin or sealed is None:
        return 0
    gone = conn.execute(delete(table).where(table.c.sequence <= through)).rowcount
    conn.execute(delete(t.audit_anchors).where(t.audit_anchors.c.sequence < through))
    row = {"sequence": through, "hash": sealed, "at": t.now(), "actor": by.name}
    conn.execute(insert(t.audit_anchors).values(row))
    details = {"through": through, "hash": sealed, "entries": gone}
    record(conn, by, Entry(action=TRIMMED, resource="audit", details=details))
    return gone


def _too_old(conn: Connection, retention: Retention, begin: int) -> int:
    """Up to where the next entries are too old and every destination has them."""
    if not retention.days:
        return 0
    c, since = t.audit.c, t.now() - round(retention.days * _DAY)
    found = select(c.sequence, c.at).where(c.sequence > begin).order_by(c.sequence).limit(_STEP)
    through = begin
    for sequence, at in conn.execute(found):
        if at >= since:
            break
        through = sequence
    cursors = t.cursors.c
    sent = select(func.min(cursors.position)).where(
        cursors.name.startswith(PREFIX), cursors.updated_at >= t.now() - _FORGOTTEN
    )
    behind = conn.execute(sent).scalar()
    return through if behind is None else min(through, behind)


def _last(conn: Connection) -> int:
    return conn.execute(select(func.max(t.audit.c.sequence))).scalar() or 0
