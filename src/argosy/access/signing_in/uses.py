"""When robots and tokens were used last: noted in memory, written now and then.

A request never waits for it. What a killed node had noted is lost: the last minute.
"""

import time
from typing import Final

from sqlalchemy import Connection

from argosy.access.permissions.principal import Principal
from argosy.catalog.database import Database
from argosy.catalog.people import robots, tokens

EVERY: Final = 60.0
"""Seconds between two writes."""


class Uses:
    """Notes who was seen."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._robots: dict[int, float] = {}
        self._tokens: dict[int, float] = {}

    def note(self, principal: Principal) -> None:
        """They were here just now."""
        if principal.kind == "robot":
            self._robots[principal.id] = time.time()
        elif principal.kind == "token":
            self._tokens[principal.credential] = time.time()

    async def write(self) -> int:
        """Write what was noted; how many rows that are."""
        robots_seen, self._robots = self._robots, {}
        tokens_seen, self._tokens = self._tokens, {}
        count = len(robots_seen) + len(tokens_seen)
        if count:

            def put(conn: Connection) -> None:
                robots.touch_robots(conn, _micro(robots_seen))
                tokens.touch_tokens(conn, _micro(tokens_seen))

            await self._db.write(put)
        return count


def _micro(seen: dict[int, float]) -> dict[int, int]:
    return {key: int(at * 1e6) for key, at in seen.items()}
