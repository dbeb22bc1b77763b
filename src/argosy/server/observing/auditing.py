"""The audit log of a running server: what requests add to it, and who looks after it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from argosy.background import Job, beside
from argosy.catalog.audit import Entry
from argosy.catalog.auditing.denials import Denials
from argosy.catalog.auditing.sealing import Sealer
from argosy.catalog.auditing.trimming import Retention, trim
from argosy.catalog.database import Database
from argosy.errors import ArgosyError
from argosy.meters import declared as meters
from argosy.server.guarding.who import actor
from argosy.server.http.messages import Request
from argosy.server.observing import managed
from argosy.server.observing.forwarding.forwarder import Destination, Forwarder
from argosy.values import frozen

log = logging.getLogger("argosy.audit")

_TRIM_EVERY: Final = 3600.0
_ACTIONS: Final = {  # what a registry request wants, by route and method
    ("manifests", "GET"): "manifest.pull",
    ("manifests", "HEAD"): "manifest.pull",
    ("manifests", "PUT"): "manifest.push",
    ("manifests", "DELETE"): "manifest.delete",
    ("blobs", "GET"): "blob.pull",
    ("blobs", "HEAD"): "blob.pull",
    ("blobs", "DELETE"): "blob.delete",
    ("uploads", "POST"): "blob.push",
    ("upload", "PATCH"): "blob.push",
    ("upload", "PUT"): "blob.push",
    ("upload", "DELETE"): "blob.push",
    ("upload", "GET"): "blob.push",
    ("tags", "GET"): "tag.list",
    ("referrers", "GET"): "manifest.pull",
    ("catalog", "GET"): "repository.list",
}


_REASONS: Final = {
    401: "not a valid credential for this",
    403: "not permitted",
    429: "too many wrong ones before",
}


@frozen(kw_only=True)
class AuditOptions:
    """What is recorded beside changes and denials, how long, and where it is sent on.

    `destinations`: by the key of their position.
    """

    pulls: bool = False
    retention: Retention = Retention()
    destinations: Sequence[tuple[str, Destination]] = ()
    seal_every: float = 1.0
    flush_every: float = 5.0


class Auditing:
    """Writes denied requests (and pulls) down, and keeps the log sealed, trimmed and sent on."""

    def __init__(
        self,
        database: Database,
        options: AuditOptions | None = None,
        digest: Callable[[str, str], str] = lambda _name, _ref: "",
    ) -> None:
        """`digest`: what a reference stands for, if memory knows."""
        self._db = database
        self._options = options = options or AuditOptions()
        self._digest = digest
        self.denials: Final = Denials(database, every=options.flush_every)

    def tell(self, request: Request, status: int, _sent: int, _seconds: float) -> None:
        """One answer: nearly all of them are nothing to write down."""
        if status in (401, 403) or (status == 429 and request.tried) or _kept(request, status):
            self._denied(request, status)
        elif self._options.pulls and status < 400 and _is_pull(request):
            self.denials.add(actor(request), self._entry(request, "manifest.pull"))

    def _denied(self, request: Request, status: int) -> None:
        shown = request.tried or "authorization" in request.headers
        if status == 401 and not shown:
            # The question who somebody is, as every client gets it first, is no denial.
            meters.DENIALS.add("anonymous")
            return
        invalid = status in (401, 429) or bool(request.tried)
        meters.DENIALS.add("invalid" if invalid else "forbidden")
        details = {"reason": request.denial or _REASONS.get(status, _REASONS[403])}
        by = actor(request)
        if request.tried and not by.name:
            details["as"] = request.tried[:255]
        self.denials.add(by, self._entry(request, _action(request), "denied", details))

    def _entry(
        self,
        request: Request,
        action: str,
        outcome: str = "done",
        details: Mapping[str, str] | None = None,
    ) -> Entry:
        name = request.repository
        ref = request.path.rpartition("/")[2] if request.route in ("manifests", "blobs") else ""
        digest = ref if ":" in ref else self._digest(name, ref) if ref and not details else ""
        resource = f"{name}:{ref}" if ref and ":" not in ref else name
        return Entry(
            action=action,
            resource=resource or managed.resource(request.path),
            project=name.partition("/")[0] or managed.project(request.path),
            digest=digest,
            outcome=outcome,
            details=details or {},
        )

    @asynccontextmanager
    async def running(self, *, keeps_house: bool = True) -> AsyncIterator[None]:
        """From start to end; the process that keeps house does what one of them does for all."""
        jobs: dict[str, Job] = {"writing denials": self.denials.run}
        if keeps_house:
            jobs["sealing the audit log"] = Sealer(self._db, every=self._options.seal_every).run
            jobs["trimming the audit log"] = self._trim
            for key, destination in self._options.destinations:
                jobs[f"forwarding to {key}"] = Forwarder(self._db, key, destination).run
        async with beside(jobs):
            yield

    async def _trim(self) -> None:
        while True:
            try:
                total = 0
                while gone := await self._db.write(
                    partial(trim, retention=self._options.retention)
                ):
                    total += gone
                    await asyncio.sleep(0.05)  # others want to write, too
                if total:
                    log.info("removed %d entries of the audit log by audit.keep", total)
            except ArgosyError as e:
                log.warning("the audit log cannot be trimmed: %s: %s", e.summary, e.why)
            await asyncio.sleep(_TRIM_EVERY)


def _action(request: Request) -> str:
    """What somebody wanted, in the words of the audit log."""
    if request.tried and request.route.startswith(("token", "login")):
        return "user.login"
    found = _ACTIONS.get((request.route, request.method)) or managed.action(request.route)
    return found or f"{request.route.strip('/') or 'request'}.{request.method.lower()}"


def _kept(request: Request, status: int) -> bool:
    """Whether a rule kept a tag from somebody who may push and delete."""
    return status in (409, 412) and bool(request.denial)


def _is_pull(request: Request) -> bool:
    return request.route == "manifests" and request.method == "GET"
