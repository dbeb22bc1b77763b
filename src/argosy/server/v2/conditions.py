"""Conditional requests: a digest is the strongest validator there is (RFC 9110 §13)."""

from typing import Final

from argosy.model.digest import Digest
from argosy.server.http.messages import Request, Response
from argosy.server.v2.errors import VERSION

CONDITIONAL: Final = ("Argosy-Conditional", "1")
"""Says that a condition of a write was looked at: most registries ignore it, and a client cannot tell."""


def matches(request: Request, digest: Digest) -> bool:
    """Whether the client says it has these very bytes (If-None-Match)."""
    field = request.headers.get("if-none-match")
    if field is None:
        return False
    return _names(field, digest)


def still_same(request: Request, digest: Digest) -> bool:
    """Whether a range is still wanted (If-Range): else the client must be sent the whole."""
    field = request.headers.get("if-range")
    return field is None or field.strip() == f'"{digest}"'


def allows(request: Request, standing: str | None) -> bool:
    """Whether a write may go on, seen what stands there (If-Match, If-None-Match); None is nothing."""
    match, none = request.headers.get("if-match"), request.headers.get("if-none-match")
    return (match is None or _names(match, standing)) and (
        none is None or not _names(none, standing)
    )


def _names(field: str, digest: str | None) -> bool:
    if digest is None:
        return False
    return field.strip() == "*" or any(
        part.strip().removeprefix("W/").strip('"') == digest for part in field.split(",")
    )


def not_modified(digest: Digest) -> Response:
    """The answer to who has it already."""
    return Response(304, [VERSION, ("ETag", f'"{digest}"'), ("Docker-Content-Digest", str(digest))])
