"""Every Store keeps every promise: the suite of argosy.content.suite, run on each of them."""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from argosy.catalog.hosted import HostedRepository
from argosy.content.memory import MemoryStore
from argosy.content.store import Source, Store
from argosy.content.suite import CHECKS, Check, Place
from argosy.model.reference import Reference
from argosy.server.config.sections import ServerSection, ServerSettings
from argosy.server.http.common import ServerOptions
from argosy.server.http.server import Server
from argosy.server.starting.opening import embedded, open_app
from argosy.settings import Settings
from argosy.stores.archive import read_archive, write_archive
from argosy.stores.layout import OCILayout
from argosy.stores.remote.client import Client

pytestmark = pytest.mark.slow

Opening = Callable[[Path], AbstractAsyncContextManager[Place]]


@dataclass
class Simple:
    """A place whose reopened source is made by a function."""

    store: Store
    again: Callable[[], Source]

    async def reopened(self) -> Source:
        return self.again()


@asynccontextmanager
async def memory(_tmp: Path) -> AsyncIterator[Place]:
    store = MemoryStore()
    yield Simple(store, lambda: store)


@asynccontextmanager
async def layout(tmp: Path) -> AsyncIterator[Place]:
    path = str(tmp / "layout")
    yield Simple(OCILayout(path), lambda: OCILayout(path))


@dataclass
class ArchivePlace:
    """An archive: written while open, read after it was closed."""

    store: Store
    path: str
    stack: AsyncExitStack

    async def reopened(self) -> Source:
        await self.stack.aclose()
        return await self.stack.enter_async_context(read_archive(self.path))


def archive(*, docker: bool) -> Opening:
    @asynccontextmanager
    async def opening(tmp: Path) -> AsyncIterator[Place]:
        path = str(tmp / "archive.tar")
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(write_archive(path, docker=docker))
            yield ArchivePlace(store, path, stack)

    return opening


@asynccontextmanager
async def hosted(tmp: Path) -> AsyncIterator[Place]:
    async with open_app(embedded(str(tmp / "registry"))) as app:

        def repository() -> HostedRepository:
            return HostedRepository(app.catalog, app.store, "team/suite")

        yield Simple(repository(), repository)


@asynccontextmanager
async def served(tmp: Path) -> AsyncIterator[Place]:
    """Our server on a socket, our client before it."""
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(open_app(embedded(str(tmp / "registry"))))
        server = await stack.enter_async_context(Server(app, ServerOptions()))
        client = await stack.enter_async_context(Client(Settings(retries=0)))
        reference = Reference.parse(f"127.0.0.1:{server.port}/team/suite")
        yield Simple(client.repository(reference), lambda: client.repository(reference))


# docker-archive is written as Docker 25 and later do: an OCI layout with manifest.json
# beside it. So nothing is excluded; what an older `docker load` cannot see of it
# (indexes, artifacts, referrers) is left out of manifest.json only.
STORES: dict[str, Opening] = {
    "memory": memory,
    "oci": layout,
    "oci-archive": archive(docker=False),
    "docker-archive": archive(docker=True),
    "hosted": hosted,
    "served": served,
}


@asynccontextmanager
async def hosted_in(settings: ServerSettings) -> AsyncIterator[Place]:
    """As `hosted`; every reopening is another node's."""
    async with AsyncExitStack() as stack:

        async def repository() -> HostedRepository:
            own = tempfile.mkdtemp(dir=settings.server.data)
            elsewhere = bool(settings.database.url) and settings.storage.backend != "files"
            data = own if elsewhere else settings.server.data
            node = replace(settings, server=ServerSection(data=data))
            if not elsewhere:
                await stack.aclose()
            app = await stack.enter_async_context(open_app(node))
            return HostedRepository(app.catalog, app.store, "team/suite")

        yield Reopened(await repository(), repository)


@dataclass
class Reopened:
    """A place whose reopened source takes its time."""

    store: Store
    again: Callable[[], Awaitable[Source]]

    async def reopened(self) -> Source:
        return await self.again()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_hosted_repository_keeps_the_promise_wherever_things_are_kept(
    kept: ServerSettings, check: Check
) -> None:
    async with hosted_in(kept) as place:
        await check(place)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("store", STORES)
async def test_store_keeps_the_promise(store: str, check: Check, tmp_path: Path) -> None:
    async with STORES[store](tmp_path) as place:
        await check(place)
