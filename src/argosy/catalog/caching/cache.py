"""Keep what was read until somebody changes it."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, NamedTuple, TypeVar

from argosy.catalog.caching.stamps import NEVER, OwnStamp, Stamps
from argosy.meters import declared as meters

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Kept(NamedTuple, Generic[V]):
    """A value and the stamp it was read under."""

    value: V
    slot: int
    stamp: int


class _Load(NamedTuple, Generic[V]):
    """A value that is being read, since a stamp."""

    value: "asyncio.Future[V | None]"
    slot: int
    stamp: int


class Cache(Generic[K, V]):
    """What was loaded lately, up to a total cost; each key is loaded by one reader at a time.

    Lives on the event loop. A value read before `drop` of its key is never kept
    after it, so who is told that a write is done reads what was written. Where others
    write too, `stamps` say what still counts; keys are then tuples of strings.
    """

    def __init__(
        self,
        limit: int,
        cost: Callable[[V], int] = lambda _: 1,
        stamps: Stamps | None = None,
        kind: str = "",
    ) -> None:
        self._limit: Final = limit
        self._cost: Final = cost
        self._stamps: Final[Stamps] = stamps or OwnStamp()
        self._memory: Final = self._stamps.memory
        self._kind: Final = kind
        self._kept: OrderedDict[K, _Kept[V]] = OrderedDict()
        self._loads: dict[K, _Load[V]] = {}
        self._total = 0
        self._hits: Final = meters.CACHE_HITS.cell(kind or "other")
        self._misses: Final = meters.CACHE_MISSES.cell(kind or "other")

    def get(self, key: K) -> V | None:
        """The value if it is here and counts."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        value, slot, stamp = kept
        if self._memory[slot] != stamp:
            self.drop(key)
            return None
        self._kept.move_to_end(key)
        self._hits[0] += 1
        return value

    async def load(self, key: K, read: Callable[[], Awaitable[V | None]]) -> V | None:
        """The value, read if need be; a None is not kept."""
        joined = False
        while (value := self.get(key)) is None:
            ahead = self._loads.get(key)
            if ahead is None or self._memory[ahead.slot] != ahead.stamp:
                return await self._read(key, read)
            try:
                value = await asyncio.shield(ahead.value)
                if value is not None or joined:
                    return value
                # That read may have begun before the value was made elsewhere, and we after it;
                # the next one begins now.
                joined = True
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not ahead.value.cancelled() or (task is not None and task.cancelling()):
                    raise
                # Only the reader ahead was cancelled: read it ourselves.
        return value

    def drop(self, key: K) -> None:
        """Forget a value, and whatever is being read for it now."""
        self._loads.pop(key, None)
        if (kept := self._kept.pop(key, None)) is not None:
            self._total -= self._cost(kept.value)

    def clear(self) -> None:
        """Forget everything, and whatever is being read now."""
        self._loads.clear()
        self._kept.clear()
        self._total = 0

    async def _read(self, key: K, read: Callable[[], Awaitable[V | None]]) -> V | None:
        self._misses[0] += 1
        mine = self._loads[key] = self._begin(key)
        try:
            value = await read()
        except BaseException as e:
            self._settle(key, mine)
            if isinstance(e, Exception):
                mine.value.set_exception(e)
                mine.value.exception()  # if nobody waits, nobody has to hear of it
            else:
                mine.value.cancel()
            raise
        mine.value.set_result(value)
        if self._settle(key, mine) and value is not None:
            self._keep(key, _Kept(value, mine.slot, mine.stamp))
        return value

    def _begin(self, key: K) -> _Load[V]:
        slot = self._stamps.slot((self._kind, *key) if isinstance(key, tuple) else ())
        future = asyncio.get_running_loop().create_future()
        return _Load(future, slot, self._memory[slot])

    def _settle(self, key: K, mine: _Load[V]) -> bool:
        """Whether the value that `mine` stands for may be kept: nothing changed in between."""
        if self._loads.get(key) is not mine:
            return False
        del self._loads[key]
        return mine.stamp != NEVER and self._memory[mine.slot] == mine.stamp

    def _keep(self, key: K, kept: _Kept[V]) -> None:
        self._kept[key] = kept
        self._total += self._cost(kept.value)
        while self._total > self._limit and self._kept:
            _, oldest = self._kept.popitem(last=False)
            self._total -= self._cost(oldest.value)
