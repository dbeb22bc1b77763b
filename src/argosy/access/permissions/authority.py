"""Who may do what, from memory where memory is fresh.

What a process keeps of anybody it forgets when the catalog says that something changed
(its own writes, and those of other processes and nodes), and reads anew after half a minute
in any case.
"""

import time
from typing import Final

from argosy.access.permissions import standing as standings
from argosy.access.permissions.permission import Permission
from argosy.access.permissions.principal import Principal
from argosy.access.permissions.standing import Standing
from argosy.catalog.caching.cache import Cache
from argosy.catalog.database import Database
from argosy.catalog.people import users
from argosy.values import frozen

_FRESH: Final = 30.0
_MOST: Final = 50_000


class _Age:
    """What all that was read between two changes has in common: nothing but being the same."""


@frozen
class _Held:
    """What was read, in which age, and until when (seconds since 1970) it is believed."""

    standing: Standing
    age: _Age | None
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
        self._ages: Final = database.changes.cache(users.STANDINGS[0], 1, _nothing)
        self._open: Final = database.changes.cache("project", _MOST, _one)

    def known(self, principal: Principal) -> Standing | None:
        """The standing of somebody if memory has it."""
        held = self._held.get(principal.key)
        if held is None or held.until <= time.time() or held.age is not self._ages.get(()):
            return None
        return held.standing

    async def standing(self, principal: Principal) -> Standing:
        """The standing of somebody."""
        if (found := self.known(principal)) is not None:
            return found
        key = principal.key
        # The age comes first: what changes while the rows are read ends it.
        age = await self._ages.load((), _begin)
        ahead = self._held.get(key)
        if ahead is not None and (ahead.age is not age or ahead.until <= time.time()):
            self._held.drop(key)
        held = await self._held.load(key, lambda: self._read(principal, age))
        assert held is not None  # it is always read
        return held.standing

    async def _read(self, principal: Principal, age: _Age | None) -> _Held:
        found = await self._db.read(lambda conn: standings.read(conn, principal))
        return _Held(found, age, min(time.time() + self._fresh, found.until))

    def age(self) -> object | None:
        """What is the same as long as nobody's standing has changed; None: unknown."""
        return self._ages.get(())

    def basis(self, principal: Principal, need: Permission) -> tuple[object, float] | None:
        """The age in which, and until when somebody may by their own standing alone."""
        held = self._held.get(principal.key)
        if held is None or held.age is None or self.known(principal) is None:
            return None
        return (held.age, held.until) if held.standing.may(need) else None

    def at_once(self, principal: Principal, need: Permission) -> bool | None:
        """Whether they may; None if memory does not know."""
        standing = self.known(principal)
        if standing is None:
            return None
        if standing.may(need):
            return True
        public = self.known_public(need.project)
        return None if public is None else standing.may(need, public=public)

    async def may(self, principal: Principal, need: Permission) -> bool:
        """Whether they may."""
        standing = await self.standing(principal)
        return standing.may(need) or standing.may(need, public=await self.is_public(need.project))

    def known_public(self, project: str) -> bool | None:
        """Whether everybody may pull from a project; None if memory does not know."""
        held = self._open.get((project,))
        return held.public if held is not None and held.until > time.time() else None

    async def is_public(self, project: str) -> bool:
        """Whether everybody may pull from a project; of one that is not there: no."""
        if not project:
            return False
        if (known := self.known_public(project)) is not None:
            return known
        self._open.drop((project,))
        held = await self._open.load((project,), lambda: self._look(project))
        assert held is not None  # it is always read
        return held.public

    async def _look(self, project: str) -> _Open:
        found = await self._db.glance(lambda conn: users.is_public(conn, project))
        return _Open(found, time.time() + self._fresh)


async def _begin() -> _Age:
    return _Age()


def _nothing(_: _Age) -> int:
    return 0


def _one(_: _Open) -> int:
    return 1
