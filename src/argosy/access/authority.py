"""Who may do what, from memory where memory is fresh.

What a node keeps of somebody it forgets when the catalog tells it of a change (its own
writes, and those of other nodes), and reads anew after half a minute in any case.
"""

import time
from collections.abc import Iterable
from typing import Final

from argosy.access import standing as standings
from argosy.access.permission import Permission
from argosy.access.principal import Principal
from argosy.access.standing import Standing
from argosy.catalog import people
from argosy.catalog.cache import Cache
from argosy.catalog.database import Database
from argosy.catalog.databases.announcing import EVERYTHING, Key
from argosy.values import frozen

_FRESH: Final = 30.0
_MOST: Final = 50_000


@frozen
class _Held:
    """What was read, and until when (seconds since 1970) it is believed."""

    standing: Standing
    until: float


@frozen
class _Open:
    """Whether a project is public, and until when that is believed."""

    public: bool
    until: float


class Authority:
    """Knows what everybody may do."""

    def __init__(self, database: Database, *, fresh: float = _FRESH) -> None:
        self._db = database
        self._fresh: Final = fresh
        self._held: Cache[tuple[str, int], _Held] = Cache(_MOST)
        self._open: Cache[str, _Open] = Cache(_MOST)

    def known(self, principal: Principal) -> Standing | None:
        """The standing of somebody if memory has it."""
        held = self._held.get(principal.key)
        return held.standing if held is not None and held.until > time.time() else None

    async def standing(self, principal: Principal) -> Standing:
        """The standing of somebody."""
        if (found := self.known(principal)) is not None:
            return found
        key = principal.key
        self._held.drop(key)
        held = await self._held.load(key, lambda: self._read(principal))
        assert held is not None  # it is always read
        return held.standing

    async def _read(self, principal: Principal) -> _Held:
        found = await self._db.read(lambda conn: standings.read(conn, principal))
        return _Held(found, min(time.time() + self._fresh, found.until))

    def at_once(self, principal: Principal, need: Permission) -> bool | None:
        """Whether they may; None if memory does not know."""
        standing = self.known(principal)
        if standing is None:
            return None
        if standing.may(need):
            return True
        held = self._open.get(need.project)
        if held is None or held.until <= time.time():
            return None
        return standing.may(need, public=held.public)

    async def may(self, principal: Principal, need: Permission) -> bool:
        """Whether they may."""
        standing = await self.standing(principal)
        return standing.may(need) or standing.may(need, public=await self.is_public(need.project))

    def known_public(self, project: str) -> bool | None:
        """Whether everybody may pull from a project; None if memory does not know."""
        held = self._open.get(project)
        return held.public if held is not None and held.until > time.time() else None

    async def is_public(self, project: str) -> bool:
        """Whether everybody may pull from a project; of one that is not there: no."""
        if not project:
            return False
        if (known := self.known_public(project)) is not None:
            return known
        self._open.drop(project)
        held = await self._open.load(project, lambda: self._look(project))
        assert held is not None  # it is always read
        return held.public

    async def _look(self, project: str) -> _Open:
        found = await self._db.glance(lambda conn: people.is_public(conn, project))
        return _Open(found, time.time() + self._fresh)

    def forget(self, keys: Iterable[Key]) -> None:
        """What the catalog says has changed."""
        for kind, *name in keys:
            if (kind,) == EVERYTHING or kind in ("user", "group"):
                # Robots and tokens stand on their makers and owners: all are read anew.
                self._held.clear()
            elif kind in ("robot", "token"):
                self._held.drop((kind, int(name[0])))
            if (kind,) == EVERYTHING:
                self._open.clear()
            elif kind == "project":
                self._open.drop(name[0])
                self._held.clear()
