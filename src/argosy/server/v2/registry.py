"""The registry as one handler: from the path to the endpoint, from an error to its answer.

Source: OCI distribution-spec 1.1 and what its main branch has added since; and of
Docker's registry API the catalog and the old headers. The table below is all of it.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from argosy.access.permissions.decision import Deny
from argosy.access.permissions.permission import Action
from argosy.access.permissions.principal import Principal
from argosy.catalog.catalog import Catalog
from argosy.catalog.projects.quotas import QuotaExceeded
from argosy.content.blob_storage import BlobStorage, UploadBusy
from argosy.errors import ArgosyError, NoSpace, RegistryError, StorageError
from argosy.meters.kinds import Labels
from argosy.server.guarding.guard import Guard
from argosy.server.guarding.who import actor
from argosy.server.http.messages import Request, Response
from argosy.server.limits.setting_up import Limiting, unlimited
from argosy.server.v2 import pages
from argosy.server.v2.blobs import Blobs
from argosy.server.v2.errors import JSON, VERSION, Problem, answer
from argosy.server.v2.gates import OPEN, Gates
from argosy.server.v2.manifests import Manifests
from argosy.server.v2.needs import need
from argosy.server.v2.paths import Target, is_valid, target
from argosy.server.v2.uploads import Uploads

log = logging.getLogger("argosy.server.v2")

Endpoint = Callable[[str, str, Request], Awaitable[Response]]

_BASE: Final = Response(200, [VERSION, JSON], b"{}")
_EXTENSIONS: Final = Response(200, [VERSION, JSON], b'{"extensions":[]}')
_UNKNOWN: Final = {
    "manifests": "MANIFEST_UNKNOWN",
    "blobs": "BLOB_UNKNOWN",
    "uploads": "BLOB_UNKNOWN",
    "upload": "BLOB_UPLOAD_UNKNOWN",
    "tags": "NAME_UNKNOWN",
}
_PULLS: Final = frozenset({"GET", "HEAD"})


class Registry:
    """Everything below `/v2/`."""

    def __init__(
        self,
        catalog: Catalog,
        store: BlobStorage,
        guard: Guard,
        gates: Gates = OPEN,
        *,
        limiting: Limiting | None = None,
    ) -> None:
        limiting = limiting or unlimited(catalog.database)
        self._guard = guard
        self._limiter, self._room = limiting.limiter, limiting.room
        self._projects = limiting.projects
        self._manifests = Manifests(catalog, store, gates)
        self.uploads: Final = Uploads(catalog, store, guard, limiting.room)
        self._table = _table(catalog, guard, self._manifests, Blobs(catalog, store), self.uploads)
        # By the error's code; the usual ones are there from the start.
        self.storage_errors: dict[Labels, float] = {
            (StorageError.code,): 0,
            (NoSpace.code,): 0,
        }

    async def __call__(self, request: Request) -> Response:
        """Answer one request below `/v2/`."""
        where = target(request.path)
        request.route = where.endpoint
        request.repository = where.name
        try:
            endpoint = self._endpoint(where, request)
            wanted = need(where.endpoint, where.name, request.method)
            decision = self._guard.at_once(request, wanted)
            if decision is None:
                decision = await self._guard.decide(request, wanted)
            if isinstance(decision, Deny):
                return self._guard.refusal(request, decision)
            who = decision.principal
            if not self._limiter.at_once(request, who, wanted.project):
                await self._limiter.admit(request, who, wanted.project)
            if who.is_admin and wanted.action is Action.PUSH:
                await self._found_project(wanted.project, who, request)
            if where.endpoint == "manifests" and request.method in _PULLS:
                # What is in memory has been checked before: the short way.
                ready = self._manifests.at_hand(where.name, where.ref, request)
                if ready is not None:
                    return ready
            return await endpoint(where.name, where.ref, request)
        except QuotaExceeded as e:
            request.denial = e.denial
            return answer(await self._room.explained(e), "DENIED")
        except ArgosyError as e:
            if isinstance(e, StorageError) and not isinstance(e, UploadBusy):
                self.storage_errors[e.code,] = self.storage_errors.get((e.code,), 0) + 1
                told = (request.method, request.target, e.summary, e.why, e.evidence)
                log.error("%s %s: %s: %s %s", *told)  # noqa: TRY400
            if isinstance(e, RegistryError):
                request.denial = request.denial or e.denial
            return answer(e, _UNKNOWN.get(where.endpoint, "UNSUPPORTED"))

    async def _found_project(self, name: str, admin: Principal, request: Request) -> None:
        """A system admin who pushes to a project makes it; where nobody is asked, everybody does."""
        if admin.kind != "system":
            await self._projects.ensure(name, by=actor(request))

    def _endpoint(self, where: Target, request: Request) -> Endpoint:
        methods = self._table.get(where.endpoint)
        if methods is None:
            raise Problem(404, "UNSUPPORTED", "the registry has no such endpoint")
        if not is_valid(where):
            raise Problem(
                400,
                "NAME_INVALID",
                f"{where.name[:300]!r} is not a repository name",
                detail={"name": where.name[:300]},
            )
        if "%00" in request.target:  # PostgreSQL has no text with NUL, and no name has one
            raise Problem(400, "NAME_INVALID", "the request has a NUL character in it")
        if (found := methods.get(request.method)) is None:
            allow = [("Allow", ", ".join(sorted(methods)))]
            raise Problem(405, "UNSUPPORTED", f"{request.method} is not for this", headers=allow)
        return found


def _table(
    catalog: Catalog, guard: Guard, manifests: Manifests, blobs: Blobs, uploads: Uploads
) -> dict[str, dict[str, Endpoint]]:
    """Who answers, by endpoint and method."""

    async def base(_name: str, _ref: str, _request: Request) -> Response:
        return _BASE

    async def listed(_name: str, _ref: str, request: Request) -> Response:
        return await pages.repositories(catalog, request, await guard.visible(request))

    async def extensions(_name: str, _ref: str, _request: Request) -> Response:
        return _EXTENSIONS

    return {
        "base": _reading(base),
        "extensions": _reading(extensions),
        "catalog": _reading(listed),
        "tags": _reading(lambda name, _r, request: pages.tags(catalog, name, request)),
        "referrers": _reading(
            lambda name, ref, request: pages.referrers(catalog, name, ref, request)
        ),
        "manifests": {
            **_reading(manifests.get),
            "PUT": manifests.put,
            "DELETE": manifests.delete,
        },
        "blobs": {**_reading(blobs.get), "DELETE": blobs.delete},
        "uploads": {"POST": lambda name, _, request: uploads.begin(name, request)},
        "upload": {
            **_reading(lambda name, ref, _: uploads.status(name, ref)),
            "PATCH": uploads.append,
            "PUT": uploads.finish,
            "DELETE": lambda name, ref, _: uploads.cancel(name, ref),
        },
    }


def _reading(endpoint: Endpoint) -> dict[str, Endpoint]:
    return {"GET": endpoint, "HEAD": endpoint}
