"""Errors as the clients of a registry read them: a status, a code, and the same JSON shape for all.

Source: distribution-spec, Error Codes. The one place where Argosy's errors
become HTTP; a handler just lets them pass.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from argosy.access.signing_in.backends import BackendUnavailable
from argosy.catalog.projects.places import ProjectUnknown
from argosy.catalog.registry.rows import RepositoryUnknown
from argosy.content.blob_storage import UploadBusy
from argosy.errors import (
    ArgosyError,
    DigestMismatch,
    InvalidDigest,
    ManifestInvalid,
    NoSpace,
    NotFound,
    RegistryError,
    SizeMismatch,
    StorageUnavailable,
    UsageError,
)
from argosy.server.http.heads import BadRequest
from argosy.server.http.messages import BodyTooLarge, ClientGone, Response

VERSION: Final = ("Docker-Distribution-Api-Version", "registry/2.0")
JSON: Final = ("Content-Type", "application/json")

_MOST: Final = 100  # errors in one answer
_OURS: Final = frozenset({"path", "bucket", "key", "source"})

# First match counts: a class comes before the classes above it.
_KINDS: Final[tuple[tuple[type[ArgosyError], int, str], ...]] = (
    (RepositoryUnknown, 404, "NAME_UNKNOWN"),
    (ProjectUnknown, 404, "NAME_UNKNOWN"),
    (InvalidDigest, 400, "DIGEST_INVALID"),
    (DigestMismatch, 400, "DIGEST_INVALID"),
    (SizeMismatch, 400, "SIZE_INVALID"),
    (ManifestInvalid, 400, "MANIFEST_INVALID"),
    (BodyTooLarge, 413, "SIZE_INVALID"),
    (UploadBusy, 429, "TOOMANYREQUESTS"),
    (NoSpace, 507, "NO_SPACE"),
    (BackendUnavailable, 503, "UNAVAILABLE"),  # who knows the password cannot be asked
    (StorageUnavailable, 503, "UNAVAILABLE"),
    (ClientGone, 400, "BLOB_UPLOAD_INVALID"),
    (UsageError, 400, "NAME_INVALID"),  # a repository whose project cannot have its name
    (BadRequest, 400, "BLOB_UPLOAD_INVALID"),  # a body in chunks whose framing is broken
)


class Problem(RegistryError):
    """A refusal with headers of its own (Allow, Range, Retry-After)."""

    def __init__(
        self,
        status: int,
        code: str,
        summary: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(summary, status=status, registry_code=code, evidence=detail)
        self.headers = tuple(headers)
        self.detail = dict(detail or {})


def answer(error: ArgosyError, unknown: str) -> Response:
    """The answer an error becomes; `unknown` is the code of NotFound at this endpoint."""
    status, code = _status_and_code(error, unknown)
    headers = [VERSION, JSON]
    headers += getattr(error, "headers", ())  # of a Problem, of a limit
    if status in (429, 503) and all(name != "Retry-After" for name, _ in headers):
        headers.append(("Retry-After", "1"))
    return Response(status, headers, _body(error, code))


def _status_and_code(error: ArgosyError, unknown: str) -> tuple[int, str]:
    if isinstance(error, RegistryError):
        return error.status, error.registry_code
    for kind, status, code in _KINDS:
        if isinstance(error, kind):
            return status, code
    return (404, unknown) if isinstance(error, NotFound) else (500, "UNKNOWN")


def _body(error: ArgosyError, code: str) -> bytes:
    words = ": ".join(part for part in (error.summary, error.why) if part)
    detail = error.detail if isinstance(error, Problem) else error.evidence
    # Where things are kept is nothing to tell clients.
    detail = {key: value for key, value in detail.items() if key not in _OURS}
    if code == "MANIFEST_BLOB_UNKNOWN":  # one error for each, as the spec asks
        lacking = error.evidence["digests"][:_MOST]
        errors = [_entry(code, words, {"digest": d}) for d in lacking]
    else:
        errors = [_entry(code, words, detail)]
    return json.dumps({"errors": errors}, default=str).encode()


def _entry(code: str, message: str, detail: Mapping[str, Any]) -> dict[str, Any]:
    return {"code": code, "message": message, **({"detail": dict(detail)} if detail else {})}
