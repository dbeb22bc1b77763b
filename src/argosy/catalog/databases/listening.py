"""Hear what other nodes change: NOTIFY on one channel, sent in the transaction of the change.

While the connection is away, changes would be missed: nothing that is kept in memory
counts then, and what was kept before does not count afterwards. The connection is
asked for a sign of life each second, so a node that is cut off knows it soon.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

from argosy.catalog.caching.changes import Changes
from argosy.catalog.caching.stamps import OwnStamp
from argosy.catalog.databases.announcing import EVERYTHING, Key

log = logging.getLogger("argosy.catalog")

CHANNEL: Final = "argosy_changes"

_LONGEST: Final = 7000  # characters; NOTIFY takes less than 8000 bytes
_BEAT: Final = 1.0
_PATIENCE: Final = 3.0
_PAUSE: Final = 0.5


class Listener:
    """One node's ear: `run` until cancelled."""

    def __init__(
        self, connect: Callable[[], Awaitable[Any]], changes: Changes, stamp: OwnStamp
    ) -> None:
        self._connect = connect
        self._changes = changes
        self._stamp = stamp
        self._told = False  # that we are deaf: once is enough, however often we try

    async def run(self) -> None:
        """Listen, and again when the connection was lost."""
        while True:
            try:
                await self._listen()
            except Exception as e:  # noqa: BLE001 - whatever it was, we are deaf and try again
                if not self._told:
                    why = str(e) or type(e).__name__
                    log.warning("changes by other nodes are not heard, nothing is cached: %s", why)
                self._told = True
            finally:
                self._lost()
            await asyncio.sleep(_PAUSE)

    async def _listen(self) -> None:
        connection = await self._connect()
        try:
            connection.add_termination_listener(self._lost)
            await connection.add_listener(CHANNEL, self._heard)
            self._stamp.trust()
            if self._told:
                log.info("changes by other nodes are heard again")
            self._told = False
            while True:
                await connection.execute("SELECT 1", timeout=_PATIENCE)
                await asyncio.sleep(_BEAT)
        finally:
            connection.terminate()

    def _lost(self, *_: object) -> None:
        self._stamp.distrust()
        self._changes.forget()

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: str) -> None:
        self._changes.tell(_keys(payload))


def payloads(keys: Sequence[Key]) -> Iterator[str]:
    """What to send so that others hear of these keys."""
    part: list[Key] = []
    length = 0
    for key in dict.fromkeys(keys):
        size = len(json.dumps(key)) + 2
        if part and length + size > _LONGEST:
            yield json.dumps(part)
            part, length = [], 0
        part.append(key)
        length += size
    if part:
        yield json.dumps(part)


def _keys(payload: str) -> list[Key]:
    try:
        found = json.loads(payload)
    except ValueError:
        found = None
    if isinstance(found, list) and all(isinstance(key, list) and key for key in found):
        return [tuple(map(str, key)) for key in found]
    return [EVERYTHING]  # from a program we do not know: it may mean anything
