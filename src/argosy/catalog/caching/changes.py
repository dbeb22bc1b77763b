"""Who keeps what was read from the database, and how they hear that it is out of date.

One process: it is told of its own writes, and there are no others. Several processes on
one SQLite file: shared stamps besides. Nodes on PostgreSQL: each is told by the others,
through NOTIFY, a moment later; so what must never be late is asked of the database.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from argosy.catalog.caching.cache import Cache
from argosy.catalog.caching.stamps import OwnStamp, Stamps
from argosy.catalog.databases.announcing import EVERYTHING, Key

V = TypeVar("V")


class Changes:
    """The caches over one database. Lives on the event loop."""

    def __init__(self, stamps: Stamps | None = None, *, late: bool = False) -> None:
        self._stamps: Final[Stamps] = stamps or OwnStamp()
        self._caches: dict[str, list[Cache[Any, Any]]] = {}
        self.late: Final = late
        """Whether a change made elsewhere may be heard of after it was acknowledged there."""

    def cache(
        self, kind: str, limit: int, cost: Callable[[V], int] = lambda _: 1
    ) -> Cache[tuple[str, ...], V]:
        """Memory for what `changed(conn, (kind, *key))` tells of; its keys come without the kind."""
        made: Cache[tuple[str, ...], V] = Cache(limit, cost, self._stamps, kind)
        self._caches.setdefault(kind, []).append(made)
        return made

    def tell(self, keys: Iterable[Key]) -> None:
        """Forget what is kept under these keys."""
        for kind, *rest in keys:
            if (kind,) == EVERYTHING:
                self.forget()
            for cache in self._caches.get(kind, ()):
                cache.drop(tuple(rest))

    def forget(self) -> None:
        """Forget all that is kept."""
        for caches in self._caches.values():
            for cache in caches:
                cache.clear()
