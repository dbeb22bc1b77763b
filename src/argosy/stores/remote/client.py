"""The way into remote registries: one Client per process owns connections, tokens and credentials."""

from collections.abc import AsyncIterator
from dataclasses import replace
from types import TracebackType
from typing import Self

from argosy.model.reference import Reference
from argosy.observe import Report, silent
from argosy.settings import Settings
from argosy.stores.remote.auth import CATALOG_SCOPE
from argosy.stores.remote.credentials import Credentials
from argosy.stores.remote.exchange import Exchange
from argosy.stores.remote.grants import Grants
from argosy.stores.remote.hosts import Endpoint, Hosts
from argosy.stores.remote.links import names, pages
from argosy.stores.remote.repository import RemoteRepository
from argosy.stores.remote.transport import Request, Transport
from argosy.stores.remote.ways import Ways
from argosy.stores.remote.web import Web

_PAGE = 1000  # names asked for at once


class Client:
    """Repositories and registries that share connections and tokens. Leave the context to close them."""

    def __init__(
        self,
        settings: Settings,
        *,
        hosts: Hosts | None = None,
        credentials: Credentials | None = None,
        report: Report = silent,
    ) -> None:
        self.settings = settings
        self.hosts = hosts or Hosts()
        self.credentials = credentials or Credentials()
        self._report = report
        self._transport = Transport(settings, self.hosts.trust)
        self._ways: dict[str, Ways] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._transport.close()

    def repository(self, ref: Reference) -> RemoteRepository:
        """The repository a reference is in, as a Store; nothing is asked yet."""
        return RemoteRepository(ref, self._to(ref.registry))

    def web(self) -> Web:
        """Files of the web, over the same connections."""
        return Web(self._transport, self.settings, self._report)

    def registry(self, host: str) -> "RemoteRegistry":
        """A registry as a whole."""
        return RemoteRegistry(host, self._to(host))

    async def exchange(self, host: str) -> Exchange:
        """The way to a registry's host itself, for what else it answers than `/v2/`."""
        return await self._to(host).home()

    def _to(self, registry: str) -> Ways:
        if registry not in self._ways:
            self._ways[registry] = Ways(registry, self.hosts.endpoints, self._exchange)
        return self._ways[registry]

    def _exchange(self, host: str, endpoint: Endpoint, mirror: bool) -> Exchange:
        # A mirror is never sent the credentials of what it mirrors, and never waited
        # for: the registry itself is the next try.
        settings = replace(self.settings, retries=0) if mirror else self.settings
        grants = Grants(self._transport, self.credentials, settings, host)
        return Exchange(self._transport, endpoint, grants, settings, self._report)


class RemoteRegistry:
    """A registry host as a whole: whether it is there, and what it holds."""

    def __init__(self, host: str, ways: Ways) -> None:
        self.host = host
        self._ways = ways

    async def ping(self) -> None:
        """Ask for `/v2/`, with credentials if it wants them; raises what is wrong with it."""
        home = await self._ways.home()
        request = Request(method="GET", url=await home.url(""))
        answer = await home.ask(request, f"use the registry {self.host}", ())
        await answer.read()

    async def repositories(self) -> AsyncIterator[str]:
        """Every repository, in the registry's order (Docker's catalog API)."""
        home = await self._ways.home()
        what = f"list the repositories of {self.host}"
        path = f"_catalog?n={_PAGE}"
        async for _answer, value in pages(home, path, what, (CATALOG_SCOPE,), {}):
            for name in names(value, "repositories"):
                yield name
