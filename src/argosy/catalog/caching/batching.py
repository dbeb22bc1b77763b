"""Many who ask at the same time share a query, and never one that began before they asked.

What is not kept in memory because it must not be late costs a query each time. While a
few are under way, those who come meanwhile gather; the next query asks for all of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_LEAD: Final = object()
"""Instead of an answer: whoever waits is to ask, for himself and all who have gathered."""


class Batched(Generic[K, V]):
    """Asks for many keys at once. Lives on the event loop."""

    def __init__(
        self,
        ask: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]],
        *,
        at_once: int = 2,
        most: int = 256,
    ) -> None:
        self._ask: Final = ask
        self._at_once: Final = at_once
        self._most: Final = most
        self._running = 0
        self._gathered: dict[K, asyncio.Future[Any]] = {}

    async def get(self, key: K) -> V | None:
        """What is found under the key by a query that begins after this call; None if nothing."""
        while True:
            mine = self._gathered.get(key)
            if mine is None:
                mine = self._gathered[key] = asyncio.get_running_loop().create_future()
            if self._running < self._at_once:
                await self._lead()
            try:
                found: V | None = await asyncio.shield(mine)
            except asyncio.CancelledError:
                self._pass_on()  # it may have been our turn to lead
                raise
            if found is not _LEAD:
                return found

    async def _lead(self) -> None:
        """One query for those who have gathered; then somebody else leads the next."""
        batch: dict[K, asyncio.Future[Any]] = {}
        self._running += 1
        try:
            await asyncio.sleep(0)  # those who were woken with us gather, too
            batch = dict(list(self._gathered.items())[: self._most])
            for key in batch:
                del self._gathered[key]
            found = await self._ask(list(batch))
        except Exception as e:  # noqa: BLE001 - each of them hears of it
            for waiting in batch.values():
                waiting.set_exception(e)
                waiting.exception()  # whoever has gone does not have to hear of it
        except BaseException:  # only we were cancelled: the others ask again
            _settle(batch, dict.fromkeys(batch, _LEAD))
            raise
        else:
            _settle(batch, found)
        finally:
            self._running -= 1
            self._pass_on()

    def _pass_on(self) -> None:
        """If there is room for another query, wake somebody to lead it."""
        if self._gathered and self._running < self._at_once:
            key = next(iter(self._gathered))
            self._gathered.pop(key).set_result(_LEAD)


def _settle(batch: Mapping[K, "asyncio.Future[Any]"], found: Mapping[K, Any]) -> None:
    for key, waiting in batch.items():
        waiting.set_result(found.get(key))
