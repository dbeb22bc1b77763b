"""Where a server keeps its blobs: files in its data directory, or a bucket, as its settings say."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from argosy.catalog.catalog import Catalog
from argosy.concurrency import in_thread
from argosy.content.blob_storage import BlobStorage
from argosy.server.config.sections import S3Section, ServerSettings, options_as
from argosy.server.observing.readiness import Check, directory_is_writable
from argosy.stores.blobs import BlobStore
from argosy.values import frozen


class CountedStorage(BlobStorage, Protocol):
    """A storage that knows how many uploads this process has under way."""

    @property
    def uploads(self) -> int:
        """How many."""
        ...


@frozen
class Storing:
    """A storage, and how to see whether it works."""

    storage: CountedStorage
    check: Check


@asynccontextmanager
async def open_storage(
    settings: ServerSettings, catalog: Catalog, *, shared: bool = False
) -> AsyncIterator[Storing]:
    """The storage of the settings; `shared`: other processes use the same data directory."""
    if settings.storage.backend == "s3":
        async with _objects(settings.s3, catalog) as storing:
            yield storing
        return
    store = await in_thread(BlobStore, settings.server.data, shared=shared)
    yield Storing(store, directory_is_writable(store.root))


@asynccontextmanager
async def _objects(section: S3Section, catalog: Catalog) -> AsyncIterator[Storing]:
    from argosy.catalog.registry.uploads import UploadRows  # noqa: PLC0415 - with pyreqwest: 30 ms
    from argosy.stores.s3.options import S3Options  # noqa: PLC0415
    from argosy.stores.s3.storage import open_s3  # noqa: PLC0415

    rows = UploadRows(catalog.database)
    async with open_s3(options_as(S3Options, section), rows, rows) as storage:
        yield Storing(storage, storage.bucket.check)
