"""What happens too often for a write each: denied requests, and pulls where they are recorded.

They are counted in memory by who, what and why, and written in batches. A flood becomes a
few entries with a count; when there are too many different ones, the rest of them becomes
one entry. A crash loses the last seconds of these, never an entry of a change.
"""

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, insert

from argosy.catalog import schema as t
from argosy.catalog.actor import Actor
from argosy.catalog.audit import Entry, row
from argosy.catalog.database import Database
from argosy.errors import ArgosyError
from argosy.meters import declared as meters

log = logging.getLogger("argosy.audit")

_MOST_COUNT: Final = (1 << 31) - 1
_SEVERAL: Final = Actor(name="", kind="several")
_Key = tuple[str, ...]


@dataclass(slots=True)
class _Counted:
    by: Actor
    entry: Entry
    first: int
    last: int
    count: int = 1

    @property
    def key(self) -> _Key:
        by, entry = self.by, self.entry
        reason = f"{entry.details.get('reason', '')}\0{entry.details.get('as', '')}"
        who = (by.name, by.kind, by.address)
        return (*who, entry.action, entry.resource, entry.digest, entry.outcome, reason)


class Denials:
    """Entries that wait to be written: at most `most` different ones."""

    def __init__(self, database: Database, *, every: float = 5.0, most: int = 1000) -> None:
        self._db = database
        self._every = every
        self._most = most
        self._held: dict[_Key, _Counted] = {}
        self._failing = False

    def add(self, by: Actor, entry: Entry) -> None:
        """Count one; takes no time to speak of, and raises nothing."""
        now = t.now()
        self._count(_Counted(by, entry, now, now))
        meters.AUDIT_BUFFERED.set(len(self._held))

    def _count(self, fresh: _Counted) -> None:
        held = self._held.get(fresh.key)
        if held is None and len(self._held) >= self._most:
            # At most one more for each action and outcome.
            meters.AUDIT_SUMMED.add(by=fresh.count)
            fresh = replace(fresh, by=_SEVERAL, entry=_rest(fresh.entry))
            held = self._held.get(fresh.key)
        if held is None:
            self._held[fresh.key] = fresh
        else:
            held.count += fresh.count
            held.last = fresh.last

    async def run(self) -> None:
        """Write what has come, again and again, until cancelled; then once more."""
        try:
            while True:
                await asyncio.sleep(self._every)
                await self.flush()
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Write what has come; kept for the next time when that fails."""
        if not self._held:
            return
        taken, self._held = self._held, {}
        rows = [_row(held) for held in taken.values()]
        try:
            await self._db.write(lambda conn: _write(conn, rows))
        except ArgosyError as e:
            self._put_back(taken)
            if not self._failing:
                log.warning("denied requests cannot be written down: %s: %s", e.summary, e.why)
            self._failing = True
        else:
            self._failing = False
        meters.AUDIT_BUFFERED.set(len(self._held))

    def _put_back(self, taken: dict[_Key, _Counted]) -> None:
        fresh, self._held = self._held, taken
        for held in fresh.values():
            self._count(held)


def _rest(entry: Entry) -> Entry:
    details = {"why": "more sources than are told apart"}
    return Entry(action=entry.action, resource="", outcome=entry.outcome, details=details)


def _row(held: _Counted) -> dict[str, Any]:
    found = row(held.by, held.entry)
    if held.count > 1:
        found["details"] |= {"first_at": held.first, "last_at": held.last}
    return {**found, "count": min(held.count, _MOST_COUNT)}


def _write(conn: Connection, rows: list[dict[str, Any]]) -> None:
    conn.execute(insert(t.audit), rows)
