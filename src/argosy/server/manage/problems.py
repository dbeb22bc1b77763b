"""Errors as the management API tells them: application/problem+json (RFC 9457), the same for all.

    {"type": "urn:argosy:problem:invalid", "title": "…", "status": 400, "detail": "…",
     "code": "invalid", "remedy": "…", "request": "…", "errors": [{"field": "name", "detail": "…"}]}

The one place where Argosy's errors become this API's; a handler just lets them pass.
"""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from argosy.access.signing_in.backends import BackendUnavailable
from argosy.access.signing_in.refused import Refused, Slowed
from argosy.catalog.tagging.rules import TagKept
from argosy.errors import (
    ArgosyError,
    ContentError,
    Denied,
    NetworkError,
    NoSpace,
    NotFound,
    RegistryError,
    StorageError,
    UsageError,
)
from argosy.server.http.heads import BadRequest
from argosy.server.http.messages import BodyTooLarge, Request, Response, retry_after

log = logging.getLogger("argosy.server.manage")

KIND: Final = "application/problem+json"

# First match counts: a class comes before the classes above it.
_STATUSES: Final[tuple[tuple[type[ArgosyError], int], ...]] = (
    (BodyTooLarge, 413),
    (BackendUnavailable, 503),
    (BadRequest, 400),
    (NotFound, 404),
    (UsageError, 422),  # it was well-formed: what it says cannot be
    (ContentError, 400),
    (NoSpace, 507),
    (StorageError, 503),
    (NetworkError, 502),
)


class FieldError(Struct, frozen=True):
    """What is wrong with one field of the request."""

    field: Annotated[str, Meta(description="Where: a body's field, a parameter, a header.")]
    detail: str


class Problem(Struct, frozen=True, omit_defaults=True):
    """Why a request was refused, and what to do."""

    type: Annotated[str, Meta(examples=["urn:argosy:problem:not-found"])]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    code: Annotated[str, Meta(description="Stable; what programs should look at.")]
    detail: str = ""
    remedy: str = ""
    request: Annotated[str, Meta(description="The request's name in the server's log.")] = ""
    errors: list[FieldError] = []


class Refusal(RegistryError):
    """A request that is not carried out, with its status, headers, and the fields that are off."""

    def __init__(
        self,
        status: int,
        code: str,
        summary: str,
        *,
        why: str = "",
        remedy: str = "",
        headers: Sequence[tuple[str, str]] = (),
        fields: Sequence[FieldError] = (),
    ) -> None:
        super().__init__(summary, status=status, registry_code=code, why=why, remedy=remedy)
        self.headers = tuple(headers)
        self.fields = tuple(fields)


def invalid(field: str, detail: str, *, remedy: str = "") -> Refusal:
    """What one field of a request, named, becomes when it is off (400)."""
    return Refusal(
        400,
        "invalid",
        f"{field or 'the body'}: {detail}",
        remedy=remedy,
        fields=[FieldError(field, detail)],
    )


def refused(login: Refused, code: str = "denied") -> Refusal:
    """What somebody showed of themselves was not enough (403), or not looked at (429)."""
    if isinstance(login, Slowed):
        wait = [retry_after(login.seconds)]
        return Refusal(429, "slowed", login.reason, remedy=login.remedy, headers=wait)
    return Refusal(403, code, login.reason, remedy=login.remedy)


def answer(error: ArgosyError, request: Request) -> Response:
    """The answer an error becomes."""
    status, code = _status_and_code(error)
    if isinstance(error, RegistryError):
        request.denial = request.denial or error.denial
    if status >= 500:
        log.error("%s %s: %s: %s", request.method, request.target, error.summary, error.why)
    headers = [("Content-Type", KIND), ("Cache-Control", "no-store")]
    fields: Sequence[FieldError] = ()
    headers += getattr(error, "headers", ())  # of a Refusal, of a limit
    if isinstance(error, Refusal):
        fields = error.fields
    if status in (429, 503) and all(name != "Retry-After" for name, _ in headers):
        headers.append(("Retry-After", "1"))
    problem = Problem(
        type=f"urn:argosy:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=": ".join(part for part in (error.summary, error.why) if part),
        remedy=error.remedy,
        request=request.id,
        errors=list(fields),
    )
    return Response(status, headers, msgspec.json.encode(problem))


def _status_and_code(error: ArgosyError) -> tuple[int, str]:
    if isinstance(error, TagKept):
        return 409, error.code  # 412 is what the registry's clients show the words of
    if isinstance(error, RegistryError):
        status = error.status if 400 <= error.status < 600 else 500
        plain = type(error) in (RegistryError, Refusal, Denied)
        code = (plain and error.registry_code) or error.code
        return status, code.lower().replace("_", "-")
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            return status, error.code
    return 500, error.code
