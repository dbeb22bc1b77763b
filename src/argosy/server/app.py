"""The handler for everything the server answers: the registry, the API, health, metrics."""

from typing import Final

from argosy.catalog.catalog import Catalog
from argosy.errors import ArgosyError
from argosy.meters import declared as meters
from argosy.server.http.messages import Request, Response
from argosy.server.manage.mount import Mount
from argosy.server.manage.services import Services
from argosy.server.metrics import Metrics, MetricsOptions
from argosy.server.open_guard import OpenGuard
from argosy.server.v2.registry import Registry
from argosy.stores.blobs import BlobStore

_TEXT: Final = ("Content-Type", "text/plain; charset=utf-8")


class App:
    """The handler for everything that the server answers."""

    def __init__(
        self, catalog: Catalog, store: BlobStore, *, metrics: MetricsOptions | None = None
    ) -> None:
        self.catalog: Final = catalog
        self.store: Final = store
        self.draining = False  # about to end: not ready for more
        self._registry = registry = Registry(catalog, store)
        self._manage = Mount(OpenGuard(), Services(catalog=catalog, database=catalog.database))
        self.metrics: Final = Metrics(
            {
                meters.UPLOADS: lambda: store.uploads,
                meters.RECEIVED: lambda: registry.uploads.received,
                meters.STORAGE_ERRORS: lambda: registry.storage_errors,
            },
            metrics,
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
