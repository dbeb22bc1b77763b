"""Looking for entries: pages by any field, newest first; and all of them, oldest first.

Every field that is searched by has an index that ends with the id, and pages go on after
an id, so a page costs what it shows. Times become ids first: entries are numbered as they
are written, give or take the clocks of the nodes.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, select

from argosy.catalog import schema as t
from argosy.catalog.database import Database
from argosy.values import frozen

_SKEW: Final = 600_000_000  # microseconds that clocks of nodes may be apart
_PAGE: Final = 1000
_COLUMNS: Final = list(t.audit.c)


@frozen(kw_only=True)
class AuditQuery:
    """Which entries; an empty field asks for nothing. Times are microseconds, `until` excluded.

    `action` may be a whole one (`tag.move`) or all of a kind (`tag.`). `after` is the id of
    the last entry of the page before.
    """

    actor: str = ""
    project: str = ""
    resource: str = ""
    digest: str = ""
    action: str = ""
    outcome: str = ""
    since: int = 0
    until: int = 0
    after: int = 0
    count: int = 100


@frozen(kw_only=True)
class AuditEntry:
    """An entry as it was written; `sequence` and `hash` are none until it is sealed."""

    id: int
    at: int
    actor: str
    actor_kind: str
    address: str
    request: str
    action: str
    project: str
    resource: str
    digest: str
    outcome: str
    details: Mapping[str, Any]
    count: int
    sequence: int | None
    hash: str | None

    def to_json(self) -> dict[str, Any]:
        """As exports and destinations have it; the time as RFC 3339."""
        return {name: getattr(self, name) for name in _FIELDS} | {"at": _time(self.at)}

    def line(self) -> bytes:
        """As one line of JSON."""
        return msgspec.json.encode(self.to_json()) + b"\n"


_FIELDS: Final = tuple(AuditEntry.__annotations__)


def search(conn: Connection, query: AuditQuery) -> list[AuditEntry]:
    """The next page, newest first; fewer than `count` mean that there are no more."""
    return entries(conn, statement(conn, query))


async def export(database: Database, query: AuditQuery) -> AsyncIterator[bytes]:
    """Every entry as lines of JSON, oldest first, some hundreds at a time; `count` is no limit."""
    last = query.after
    while page := await database.read(partial(_onward, query=query, last=last)):
        last = page[-1].id
        yield b"".join(entry.line() for entry in page)


def statement(conn: Connection, query: AuditQuery) -> Select[Any]:
    """What `search` asks the database."""
    found = select(*_COLUMNS).where(*_wanted(conn, query))
    if query.after:
        found = found.where(t.audit.c.id < query.after)
    return found.order_by(t.audit.c.id.desc()).limit(query.count)


def entries(conn: Connection, found: Select[Any]) -> list[AuditEntry]:
    """The rows of a statement over every column."""
    return [AuditEntry(**row) for row in conn.execute(found).mappings()]


def _onward(conn: Connection, query: AuditQuery, last: int) -> list[AuditEntry]:
    found = select(*_COLUMNS).where(*_wanted(conn, query), t.audit.c.id > last)
    return entries(conn, found.order_by(t.audit.c.id).limit(_PAGE))


def _wanted(conn: Connection, query: AuditQuery) -> list[ColumnElement[bool]]:
    c = t.audit.c
    found = [
        c[name] == value
        for name in ("actor", "project", "resource", "digest")
        if (value := getattr(query, name))
    ]
    if query.action.endswith("."):
        found += [c.action >= query.action, c.action < query.action[:-1] + "/"]  # `/` follows `.`
    elif query.action:
        found.append(c.action == query.action)
    if query.outcome:
        found.append(c.outcome == query.outcome)
        if query.outcome != "done":  # the words of the partial index, for planners that go by them
            found.append(c.outcome != "done")
    if query.since:
        found += [c.at >= query.since, c.id >= _first_id(conn, query.since - _SKEW)]
    if query.until:
        found += [c.at < query.until]
        if (end := _first_id(conn, query.until + _SKEW)) != _NEVER:
            found += [c.id < end]
    return found


_NEVER: Final = 1 << 62


def _first_id(conn: Connection, since: int) -> int:
    """The first entry that was written at that time or later."""
    c = t.audit.c
    found = select(c.id).where(c.at >= since).order_by(c.at, c.id).limit(1)
    return int(conn.execute(found).scalar() or _NEVER)


def _time(at: int) -> str:
    whole = datetime.fromtimestamp(at // 1_000_000, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{at % 1_000_000:06}Z"
