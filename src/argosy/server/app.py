"""The handler for everything the server answers: the registry, the API, health, metrics."""

from typing import Final

from argosy.catalog.catalog import Catalog
from argosy.meters import declared as meters
from argosy.server.guarding.admission import Admission
from argosy.server.http.common import AccessLog
from argosy.server.http.messages import Handler, Request, Response
from argosy.server.limits.setting_up import Limiting, unlimited
from argosy.server.manage.mount import Mount
from argosy.server.manage.services import Services
from argosy.server.observing.auditing import Auditing
from argosy.server.observing.counting.metrics import Metrics, MetricsOptions
from argosy.server.observing.readiness import Readiness, alive
from argosy.server.starting.storing import CountedStorage
from argosy.server.v2.registry import Registry

_TEXT: Final = ("Content-Type", "text/plain; charset=utf-8")
TOKEN_PATHS: Final = frozenset({"/token", "/.well-known/jwks.json"})
"""What the token service answers, where access is controlled."""


class App:
    """The handler for everything that the server answers."""

    def __init__(
        self,
        catalog: Catalog,
        store: CountedStorage,
        admission: Admission,
        *,
        metrics: MetricsOptions | None = None,
        limiting: Limiting | None = None,
    ) -> None:
        self.catalog: Final = catalog
        self.admission: Final = admission
        self.store: Final = store
        self.readiness: Final = Readiness()
        self.auditing: Auditing
        limiting = limiting or unlimited(catalog.database)
        self._registry = registry = Registry(catalog, store, admission.guard, limiting=limiting)
        services = Services(
            catalog=catalog,
            access=admission.access,
            workloads=admission.workloads,
            everybody_makes_projects=admission.everybody_makes_projects,
        )
        self._manage = Mount(admission.guard, services, limiting.limiter)
        self.metrics: Final = Metrics(
            {
                meters.UPLOADS: lambda: store.uploads,
                meters.RECEIVED: lambda: registry.uploads.received,
                meters.STORAGE_ERRORS: lambda: registry.storage_errors,
            },
            metrics,
        )
        self._own: dict[str, Handler] = {
            "/healthz": alive,
            "/readyz": self.readiness.page,
            "/metrics": self._metrics,
        }
        self.listeners: Final[list[AccessLog]] = [self.metrics.tell]  # are told of each answer

    async def _metrics(self, request: Request) -> Response:
        await self.readiness.findings()  # argosy_ready is as fresh as the page
        return await self.metrics.page(request)

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        path = request.path
        if path.startswith("/v2/") or path == "/v2":
            return await self._registry(request)
        if path.startswith("/api/"):
            return await self._manage(request)
        if path in TOKEN_PATHS and self.admission.tokens is not None:
            return await self.admission.tokens(request)
        if (own := self._own.get(path)) is not None:
            request.route = path
            return await own(request)
        if self.admission.door is not None and self.admission.door.is_for(path):
            return await self.admission.door(request)
        request.route = "nowhere"
        return Response(404, [_TEXT], b"this is a registry: see /v2/\n")
