"""The server put together from its settings: database, blobs, guard, registry, API, housekeeping.

    DATA/argosy.db    the catalog, unless it is in PostgreSQL
    DATA/blobs, DATA/uploads    the bytes, unless they are in a bucket
    DATA/lock    held while a server runs on DATA

Nothing here walks the store: a start costs the same whatever it holds, and what a
killed server leaves behind needs no repair.
"""

import asyncio
import fcntl
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from argosy.background import Job, beside
from argosy.catalog.catalog import Catalog
from argosy.catalog.database import open_database
from argosy.catalog.databases.options import DatabaseOptions
from argosy.concurrency import in_thread
from argosy.content.blob_storage import BlobStorage
from argosy.errors import StorageError
from argosy.server.app import App
from argosy.server.config.sections import DatabaseSection, ServerSection, ServerSettings
from argosy.server.guarding.admission import admission
from argosy.server.limits.setting_up import limiting
from argosy.server.observing.counting.metrics import MetricsOptions
from argosy.server.observing.counting.uploads import watch_uploads
from argosy.server.observing.readiness import database_answers, tokens_can_be_signed
from argosy.server.observing.setting_up import audited
from argosy.server.starting.storing import open_storage
from argosy.values import frozen

log = logging.getLogger("argosy.server")

_SWEEP_EVERY: Final = 600.0


@frozen(kw_only=True)
class Place:
    """Which of several processes on one data directory this is."""

    number: int = 0
    of: int = 1

    @property
    def is_alone(self) -> bool:
        """Whether it is the only one, and so has the lock itself."""
        return self.of == 1

    @property
    def keeps_house(self) -> bool:
        """Whether it does what one of them does for all."""
        return self.number == 0


ALONE: Final = Place()


def embedded(data: str) -> ServerSettings:
    """The settings of a registry on one directory, with nothing else to it."""
    return ServerSettings(server=ServerSection(data=data))


@asynccontextmanager
async def open_app(settings: ServerSettings, place: Place = ALONE) -> AsyncIterator[App]:
    """The registry as the settings say; one server per data directory, which is made if need be."""
    data = settings.server.data
    async with AsyncExitStack() as stack:
        if place.is_alone:
            lock: int = await in_thread(hold, data)
            stack.callback(os.close, lock)  # the lock goes with it, also when the process is killed
        database = await stack.enter_async_context(
            open_database(
                where_database(settings),
                database_options(settings.database, shared=not place.is_alone),
            )
        )
        catalog = Catalog(database)
        storing = await stack.enter_async_context(
            open_storage(settings, catalog, shared=not place.is_alone)
        )
        store = storing.storage
        admitted = await stack.enter_async_context(admission(settings, database))
        limited = await stack.enter_async_context(limiting(settings, database))
        metrics = _metrics(settings, place)
        app = App(catalog, store, admitted, metrics=metrics, limiting=limited)
        app.readiness.add("database", database_answers(database))
        app.readiness.add("storage", storing.check)
        if admitted.access is not None:
            app.readiness.add("signing-keys", tokens_can_be_signed(admitted.access.keys))
        kept = audited(catalog, settings.audit, keeps_house=place.keeps_house)
        app.auditing = await stack.enter_async_context(kept)
        app.listeners.append(app.auditing.tell)
        async with beside(_jobs(settings, place, app)):
            yield app


def _jobs(settings: ServerSettings, place: Place, app: App) -> dict[str, Job]:
    """What goes on while the app serves."""
    jobs: dict[str, Job] = {}
    if place.keeps_house:
        in_files = settings.storage.backend == "files"
        files = os.path.join(settings.server.data, "uploads") if in_files else ""
        jobs["sweeping uploads"] = partial(_sweep, app.store, settings.uploads.ttl)
        jobs["watching uploads"] = partial(watch_uploads, app.catalog.database, files)
    if not place.is_alone:
        jobs["sharing metrics"] = app.metrics.share
    return jobs


def where_database(settings: ServerSettings) -> str:
    """The path or address of the catalog."""
    return settings.database.url or os.path.join(settings.server.data, "argosy.db")


def database_options(section: DatabaseSection, *, shared: bool) -> DatabaseOptions:
    """How the catalog is opened; `shared`: other processes of this machine have the file as well."""
    return DatabaseOptions(
        pool=section.pool,
        statement_timeout=section.statement_timeout,
        patience=section.patience,
        password=section.password,
        workers=shared,
    )


def _metrics(settings: ServerSettings, place: Place) -> MetricsOptions:
    return MetricsOptions(
        projects=settings.metrics.projects,
        token=settings.metrics.token,
        private=settings.auth.enabled,
        directory="" if place.is_alone else metrics_directory(settings),
    )


def metrics_directory(settings: ServerSettings) -> str:
    """Where the processes of a server tell each other what they have counted."""
    return os.path.join(settings.server.data, "metrics")


def hold(data: str) -> int:
    """The data directory's lock as an open file (blocking); StorageError when another server has it."""
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


async def _sweep(store: BlobStorage, ttl: float) -> None:
    while True:
        try:
            if gone := await store.sweep(ttl):
                log.info("removed %d uploads that nobody had written to for %g s", gone, ttl)
        except (StorageError, OSError) as e:
            log.warning("uploads left behind could not be removed: %s", e)
        await asyncio.sleep(min(_SWEEP_EVERY, ttl))
