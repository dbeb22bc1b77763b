"""Rows of failed logins: how many there were by a key, and until when the next try has to wait."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, RowMapping, delete, select, update

from argosy.catalog import schema as t
from argosy.catalog.databases.dialects import upsert
from argosy.values import frozen

_f = t.failures.c


@frozen
class Failures:
    """How often it failed, when last, and until when nobody gets a try (microseconds)."""

    times: int
    until: int
    updated_at: int


def failures(conn: Connection, keys: Sequence[str]) -> dict[str, Failures]:
    """What is known of those keys."""
    rows = conn.execute(select(t.failures).where(_f.key.in_(keys)))
    return {row["key"]: _failures(row) for row in rows.mappings()}


def count(conn: Connection, key: str) -> Failures:
    """One more failure; what there is now. Whoever counts the same key waits for this transaction."""
    upsert(conn, t.failures, [{"key": key, "count": 0, "until": 0, "updated_at": t.now()}])
    conn.execute(update(t.failures).where(_f.key == key).values(count=_f.count + 1))
    return _failures(conn.execute(select(t.failures).where(_f.key == key)).mappings().one())


def put(conn: Connection, key: str, new: Failures) -> None:
    """Write a row, whatever was there."""
    row = {"key": key, "count": new.times, "until": new.until, "updated_at": new.updated_at}
    upsert(conn, t.failures, [row], update=["count", "until", "updated_at"])


def forget(conn: Connection, keys: Iterable[str]) -> None:
    """As if nothing had failed."""
    conn.execute(delete(t.failures).where(_f.key.in_(list(keys))))


def sweep(conn: Connection, before: int) -> int:
    """Forget what nobody added to since, and holds nobody off any more."""
    old = (_f.updated_at < before) & (_f.until < t.now())
    return conn.execute(delete(t.failures).where(old)).rowcount


def _failures(row: RowMapping) -> Failures:
    return Failures(row["count"], row["until"], row["updated_at"])
