"""The ways to a registry's content: its mirrors in order, then the registry itself."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import TypeVar

from argosy.concurrency import in_thread
from argosy.errors import DigestMismatch, NetworkError, NotFound, RegistryError
from argosy.stores.remote.exchange import Exchange
from argosy.stores.remote.hosts import Endpoint

T = TypeVar("T")

_REST = 30.0  # seconds a mirror that could not be reached is not asked


class Ways:
    """The exchanges with one registry, shared by its repositories; settings are read at first use."""

    def __init__(
        self,
        registry: str,
        endpoints: Callable[[str], Sequence[Endpoint]],
        exchange: Callable[[str, Endpoint, bool], Exchange],
    ) -> None:
        self.registry = registry
        self._endpoints = endpoints
        self._exchange = exchange
        self._found: Sequence[Exchange] = ()
        self._rests: dict[Exchange, float] = {}
        self._turn = asyncio.Lock()

    async def home(self) -> Exchange:
        """The way to the registry itself: the only one that is written to."""
        return (await self._all())[-1]

    async def first(self, ask: Callable[[Exchange], Awaitable[T]], *, resolve: bool = False) -> T:
        """What the first mirror that can answers, else the registry. Tags need `resolve`.

        A mirror that cannot be reached is left alone for a while.
        """
        needed = {"pull", "resolve"} if resolve else {"pull"}
        *mirrors, home = await self._all()
        for mirror in mirrors:
            if needed <= mirror.endpoint.capabilities and self._rests.get(mirror, 0) < monotonic():
                try:
                    return await ask(mirror)
                except NetworkError:
                    self._rests[mirror] = monotonic() + _REST
                except (NotFound, RegistryError, DigestMismatch):
                    continue
        return await ask(home)

    async def _all(self) -> Sequence[Exchange]:
        if not self._found:
            async with self._turn:
                if not self._found:
                    self._found = await self._made()
        return self._found

    async def _made(self) -> Sequence[Exchange]:
        *mirrors, home = await in_thread(self._endpoints, self.registry)
        return [
            *(self._exchange(m.host, m, True) for m in mirrors),
            self._exchange(self.registry, home, False),
        ]
