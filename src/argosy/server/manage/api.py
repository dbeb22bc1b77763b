"""The management API as one handler: everything below `/api/v1`.

A request is routed, allowed, read, carried out and answered, in this order: who may not
do a thing learns nothing of whether it exists, nor of what would be wrong with the request.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from argosy.access.permissions.decision import Allow, Deny
from argosy.access.permissions.principal import ANONYMOUS, Principal
from argosy.errors import ArgosyError
from argosy.server.guarding.guard import Guard
from argosy.server.http.messages import ClientGone, Request, Response, retry_after
from argosy.server.limits.limiter import Limiter
from argosy.server.manage import idempotency, problems, reading, writing
from argosy.server.manage.operation import NOTHING, Call, Came, Operation, Reply
from argosy.server.manage.origin import check_origin
from argosy.server.manage.problems import Refusal
from argosy.server.manage.router import PREFIX, Route, Router, Unrouted
from argosy.server.manage.services import Services

log = logging.getLogger("argosy.server.manage")

_CHALLENGE: Final = ("WWW-Authenticate", 'Basic realm="argosy", charset="UTF-8"')


class Manage:
    """Answers for a table of operations, each request allowed by the guard."""

    def __init__(
        self,
        operations: Sequence[Operation],
        guard: Guard,
        services: Services,
        limiter: Limiter | None = None,
    ) -> None:
        self._limiter = limiter
        self.operations: Final = tuple(operations)
        self._services = services
        self._router = Router(operations)
        self._guard = guard
        self._queries = {one.id: reading.QueryReader(one.query) for one in operations}

    async def __call__(self, request: Request) -> Response:
        """Answer one request below the prefix."""
        request.route = "api"
        try:
            return await self._answer(request)
        except ClientGone:
            raise
        except ArgosyError as e:
            return problems.answer(e, request)
        except Exception as e:
            log.exception("%s %s failed; request %s", request.method, request.path, request.id)
            failure = ArgosyError("internal error", why="the log of the server has it")
            failure.__cause__ = e
            return problems.answer(failure, request)

    async def _answer(self, request: Request) -> Response:
        if "%00" in request.target:  # PostgreSQL has no text with NUL, and no name has one
            raise Refusal(400, "invalid", "the request has a NUL character in it")
        found = self._routed(request)
        if isinstance(found, Unrouted):
            return _unrouted(request, found)
        operation = found.operation
        request.route = operation.id
        if not operation.safe:
            check_origin(request)
        principal = await self._admitted(request, found)
        if self._limiter is not None and not self._limiter.at_once(request, principal, ""):
            await self._limiter.admit(request, principal, "")
        writing.check_accept(request, operation)
        names = reading.path_names(found.names)
        query = self._queries[operation.id].read(request)
        came = Came(
            request=request,
            principal=principal,
            services=self._services,
            visible=lambda: self._guard.visible(request),
        )
        if operation.safe:
            reply = await operation.handler(Call(came, names, query, NOTHING))
            return await writing.rendered(operation, reply, request)
        body, raw = await reading.body(request, operation)
        call = Call(came, names, query, body)
        if operation.guarded:
            call.expected.demand()
        return await self._changed(operation, call, raw)

    def _routed(self, request: Request) -> Route | Unrouted:
        target = request.target.partition("?")[0]
        if target[:1] != "/":  # absolute form
            target = urlsplit(target).path
        try:
            return self._router.find(request.method, target.removeprefix(PREFIX))
        except UnicodeDecodeError as e:
            raise Refusal(400, "invalid", "the path is not UTF-8") from e

    async def _changed(self, operation: Operation, call: Call[Any, Any], raw: bytes) -> Response:
        key = idempotency.key_of(call.request) if operation.repeatable else None
        if key is None:
            return await writing.rendered(operation, await operation.handler(call), call.request)
        turn = idempotency.Turn(self._services.database, call.principal, key)
        if (before := await turn.begin(call.request, raw)) is not None:
            return before
        try:
            reply: Reply = await operation.handler(call)
            response = await writing.rendered(operation, reply, call.request)
        except BaseException:
            await turn.give_up()
            raise
        await turn.keep(response)
        return response

    async def _admitted(self, request: Request, route: Route) -> Principal:
        """Whose request it is; Refusal 401 or 403, in the words that /v2 has for it."""
        need = route.operation.permission(route.names)
        if need is None:
            return ANONYMOUS
        decision = self._guard.at_once(request, need)
        if decision is None:
            decision = await self._guard.decide(request, need)
        if isinstance(decision, Allow):
            return decision.principal
        raise _denied(decision)


def _denied(decision: Deny) -> Refusal:
    """As the registry says it (`server/guarding/challenges.py`), in this API's format."""
    reason, remedy = decision.reason, decision.remedy
    if decision.wait > 0:
        wait = retry_after(decision.wait)
        return Refusal(429, "too-many-requests", reason, remedy=remedy, headers=[wait])
    if decision.known and not decision.invalid:
        return Refusal(403, "denied", reason, remedy=remedy)
    return Refusal(401, "unauthorized", reason, remedy=remedy or _HOW, headers=[_CHALLENGE])


_HOW: Final = (
    "send a user's name with a password or personal access token, or a robot's with its secret"
)


def _unrouted(request: Request, found: Unrouted) -> Response:
    if not found.methods:
        raise Refusal(
            404,
            "no-such-path",
            "the API has nothing at this path",
            remedy=f"GET {PREFIX}/openapi.json lists what there is; in a repository's name write"
            " / as %2F",
        )
    allow = writing.allowed(found.methods)
    if request.method == "OPTIONS":
        return Response(204, [allow])
    raise Refusal(
        405,
        "method-not-allowed",
        f"{request.method} is not for this path",
        remedy=f"it takes {', '.join(found.methods)}",
        headers=[allow],
    )
