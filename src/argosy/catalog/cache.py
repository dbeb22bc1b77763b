"""Keep what was read until somebody changes it."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """What was loaded lately, up to a total cost; each key is loaded by one reader at a time.

    Lives on the event loop. A value read before `drop` of its key is never kept
    after it, so who is told that a write is done reads what was written.
    """

    def __init__(self, limit: int, cost: Callable[[V], int] = lambda _: 1) -> None:
        self._limit: Final = limit
        self._cost: Final = cost
        self._kept: OrderedDict[K, V] = OrderedDict()
        self._loads: dict[K, asyncio.Future[V | None]] = {}
        self._total = 0

    def get(self, key: K) -> V | None:
        """The value if it is here."""
        value = self._kept.get(key)
        if value is not None:
            self._kept.move_to_end(key)
        return value

    async def load(self, key: K, read: Callable[[], Awaitable[V | None]]) -> V | None:
        """The value, read if need be; a None is not kept."""
        while (value := self.get(key)) is None:
            if (ahead := self._loads.get(key)) is None:
                return await self._read(key, read)
            try:
                return await asyncio.shield(ahead)
            except asyncio.CancelledError:
                if not ahead.cancelled():
                    raise
                # Only the reader ahead was cancelled: read it ourselves.
        return value

    def drop(self, key: K) -> None:
        """Forget a value, and whatever is being read for it now."""
        self._loads.pop(key, None)
        if (value := self._kept.pop(key, None)) is not None:
            self._total -= self._cost(value)

    async def _read(self, key: K, read: Callable[[], Awaitable[V | None]]) -> V | None:
        mine: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._loads[key] = mine
        try:
            value = await read()
        except BaseException as e:
            self._settle(key, mine)
            if isinstance(e, Exception):
                mine.set_exception(e)
                mine.exception()  # if nobody waits, nobody has to hear of it
            else:
                mine.cancel()
            raise
        mine.set_result(value)
        if self._settle(key, mine) and value is not None:
            self._keep(key, value)
        return value

    def _settle(self, key: K, mine: "asyncio.Future[V | None]") -> bool:
        """Whether the value that `mine` stands for may be kept: no drop came in between."""
        if self._loads.get(key) is not mine:
            return False
        del self._loads[key]
        return True

    def _keep(self, key: K, value: V) -> None:
        self._kept[key] = value
        self._total += self._cost(value)
        while self._total > self._limit and self._kept:
            _, oldest = self._kept.popitem(last=False)
            self._total -= self._cost(oldest)
