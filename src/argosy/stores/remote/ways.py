"""The ways to a registry's content: its mirrors in order, then the registry itself."""

import asyncio
from collections.abc import Callable, Sequence

from argosy.concurrency import in_thread
from argosy.stores.remote.exchange import Exchange
from argosy.stores.remote.hosts import Endpoint


class Ways:
    """The exchanges with one registry, shared by its repositories; settings are read at first use."""

    def __init__(
        self,
        registry: str,
        endpoints: Callable[[str], Sequence[Endpoint]],
        exchange: Callable[[str, Endpoint], Exchange],
    ) -> None:
        self.registry = registry
        self._endpoints = endpoints
        self._exchange = exchange
        self._found: Sequence[Exchange] = ()
        self._turn = asyncio.Lock()

    async def home(self) -> Exchange:
        """The way to the registry itself: the only one that is written to."""
        return (await self._all())[-1]

    async def reading(self, *, resolve: bool) -> Sequence[Exchange]:
        """The ways to read by: mirrors that can, the registry last. Tags need `resolve`."""
        needed = {"pull", "resolve"} if resolve else {"pull"}
        *mirrors, home = await self._all()
        return [*(m for m in mirrors if needed <= m.endpoint.capabilities), home]

    async def _all(self) -> Sequence[Exchange]:
        if not self._found:
            async with self._turn:
                if not self._found:
                    self._found = await self._made()
        return self._found

    async def _made(self) -> Sequence[Exchange]:
        *mirrors, home = await in_thread(self._endpoints, self.registry)
        return [
            *(self._exchange(m.host, m) for m in mirrors),
            self._exchange(self.registry, home),
        ]
