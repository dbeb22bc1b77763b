"""The server put together: the registry on one data directory, health, metrics, housekeeping.

    DIR/argosy.db    the catalog            DIR/blobs, DIR/uploads   the bytes
    DIR/lock         held while a server runs on DIR

Nothing here walks the store: a start costs the same whatever it holds, and what a
killed server leaves behind needs no repair.
"""

import asyncio
import fcntl
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from argosy.catalog.catalog import Catalog, open_catalog
from argosy.concurrency import in_thread
from argosy.errors import ArgosyError, StorageError
from argosy.meters import declared as meters
from argosy.server.guard import OpenGuard
from argosy.server.http.messages import Request, Response
from argosy.server.manage.mount import Mount
from argosy.server.manage.services import Services
from argosy.server.metrics import Metrics
from argosy.server.v2.registry import Registry
from argosy.stores.blobs import BlobStore

log = logging.getLogger("argosy.server")

_TEXT: Final = ("Content-Type", "text/plain; charset=utf-8")
_SWEEP_EVERY: Final = 600.0


class App:
    """The handler for everything that the server answers."""

    def __init__(self, catalog: Catalog, store: BlobStore) -> None:
        self.catalog: Final = catalog
        self.store: Final = store
        self._registry = registry = Registry(catalog, store)
        self._manage = Mount(OpenGuard(), Services(catalog=catalog, database=catalog.database))
        self.metrics: Final = Metrics(
            {
                meters.UPLOADS: lambda: store.uploads,
                meters.RECEIVED: lambda: registry.uploads.received,
                meters.STORAGE_ERRORS: lambda: registry.storage_errors,
            }
        )

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        path = request.path
        if path.startswith("/v2/") or path == "/v2":
            return await self._registry(request)
        if path.startswith("/api/"):
            return await self._manage(request)
        request.route = path if path in ("/healthz", "/metrics") else "nowhere"
        if path == "/healthz":
            return await self._health()
        if path == "/metrics":
            return await self.metrics.page(request)
        return Response(404, [_TEXT], b"this is a registry: see /v2/\n")

    async def _health(self) -> Response:
        try:
            await self.catalog.repositories("", 1)
        except ArgosyError as e:
            return Response(503, [_TEXT], f"{e.summary}: {e.why}\n".encode())
        return Response(200, [_TEXT], b"ok\n")


@asynccontextmanager
async def open_app(data: str, *, upload_ttl: float = 86400.0) -> AsyncIterator[App]:
    """The registry on a data directory, which is made if need be; one server per directory.

    `upload_ttl`: seconds after which an upload nobody writes to is removed.
    """
    lock: int = await in_thread(_lock, data)
    try:
        store = await in_thread(BlobStore, data)
        async with open_catalog(os.path.join(data, "argosy.db")) as catalog:
            async with _sweeping(store, upload_ttl):
                yield App(catalog, store)
    finally:
        os.close(lock)  # the lock goes with it, also when the process is killed


def _lock(data: str) -> int:
    """Hold the data directory; StorageError when another server does."""
    try:
        os.makedirs(data, exist_ok=True)
        fd = os.open(os.path.join(data, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as e:
        raise StorageError(
            f"cannot use {data} as data directory",
            why=e.strerror or str(e),
            remedy="give a directory that can be written with --data",
        ) from e
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(fd)
        raise StorageError(
            f"another argosy server is running on {data}",
            why="two servers on one directory would not see each other's changes",
            remedy="stop it, or give another --data directory",
        ) from e
    return fd


@asynccontextmanager
async def _sweeping(store: BlobStore, ttl: float) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_sweep(store, ttl))
        try:
            yield
        finally:
            task.cancel()


async def _sweep(store: BlobStore, ttl: float) -> None:
    while True:
        try:
            if gone := await store.sweep(ttl):
                log.info("removed %d uploads that nobody had written to for %g s", gone, ttl)
        except (StorageError, OSError) as e:
            log.warning("uploads left behind could not be removed: %s", e)
        await asyncio.sleep(min(_SWEEP_EVERY, ttl))
