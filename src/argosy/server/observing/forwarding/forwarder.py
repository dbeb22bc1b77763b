"""Sends the audit log on: one node at a time, in order, again until it is taken."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol

from argosy.catalog.auditing import forwarding
from argosy.catalog.auditing.forwarding import PREFIX, Unsent
from argosy.catalog.auditing.searching import AuditEntry
from argosy.catalog.database import Database
from argosy.catalog.databases import leases
from argosy.concurrency import between
from argosy.errors import ArgosyError
from argosy.meters import declared as meters

log = logging.getLogger("argosy.audit")

_BATCH: Final = 500
_LEASE: Final = 60.0  # longer than one batch may take
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
_STILL_WANTED: Final = 3600.0


class Destination(Protocol):
    """Takes entries."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    async def send(self, entries: Sequence[AuditEntry]) -> None:
        """All of them, or an ArgosyError."""
        ...


class Forwarder:
    """Brings one destination up to date, again and again. `key` names its position: syslog, http."""

    def __init__(
        self, database: Database, key: str, to: Destination, *, every: float = 1.0
    ) -> None:
        self._db = database
        self._key = key
        self._to = to
        self._every = every
        self._holder = f"{socket.gethostname()[:40]}-{os.getpid()}-{os.urandom(3).hex()}"
        self._pause = 0.0
        self._wanted = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                try:
                    await self.once()
                except ArgosyError as e:
                    self._failed(e)
                else:
                    self._pause = 0.0
                await asyncio.sleep(max(self._every, self._pause * between(0.5, 1.0)))
        finally:
            await self._let_go()

    async def once(self) -> int:
        """Send all that there is, if it is our turn; how many entries were taken."""
        await self._stay_wanted()
        total = 0
        while (await self._look()).entries and await self._our_turn():
            found = await self._look()  # anew: before it was our turn, another node may have sent
            if not found.entries:
                break
            await self._to.send(found.entries)
            last = found.entries[-1].sequence
            assert last is not None, "only sealed entries are sent"
            step = partial(
                forwarding.advance, destination=self._key, before=found.position, to=last
            )
            if not await self._db.write(step):
                break  # another node was at it, too
            total += len(found.entries)
            meters.AUDIT_FORWARDED.add(self._key, by=len(found.entries))
        return total

    async def _look(self) -> Unsent:
        found = await self._db.read(partial(forwarding.unsent, destination=self._key, most=_BATCH))
        meters.AUDIT_LAG.set(found.lag, self._key)
        if found.lost:
            log.error("%d audit entries were trimmed before %s got them", found.lost, self._to.name)
        return found

    async def _our_turn(self) -> bool:
        name = PREFIX + self._key
        return await self._db.write(lambda conn: leases.take(conn, name, self._holder, _LEASE))

    async def _stay_wanted(self) -> None:
        now = time.monotonic()
        if not self._wanted or now - self._wanted > _STILL_WANTED:
            await self._db.write(partial(forwarding.waits, destination=self._key))
            self._wanted = now

    def _failed(self, error: ArgosyError) -> None:
        meters.AUDIT_FORWARD_ERRORS.add(self._key)
        if not self._pause:  # once for each time it breaks, not for each try
            log.error("%s: %s; it is tried again until it is taken", error.summary, error.why)
        self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)

    async def _let_go(self) -> None:
        try:
            await self._db.write(lambda conn: leases.give(conn, PREFIX + self._key, self._holder))
        except ArgosyError:  # it ends by itself
            log.debug("the lease of %s could not be given back", self._key)
