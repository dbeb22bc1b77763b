"""Conditional requests: a digest is the strongest validator there is (RFC 9110 §13)."""

from argosy.model.digest import Digest
from argosy.server.http.messages import Request, Response
from argosy.server.v2.errors import VERSION


def matches(request: Request, digest: Digest) -> bool:
    """Whether the client says it has these very bytes (If-None-Match)."""
    field = request.headers.get("if-none-match")
    if field is None:
        return False
    return field.strip() == "*" or any(
        part.strip().removeprefix("W/").strip('"') == digest for part in field.split(",")
    )


def still_same(request: Request, digest: Digest) -> bool:
    """Whether a range is still wanted (If-Range): else the client must be sent the whole."""
    field = request.headers.get("if-range")
    return field is None or field.strip() == f'"{digest}"'


def not_modified(digest: Digest) -> Response:
    """The answer to who has it already."""
    return Response(304, [VERSION, ("ETag", f'"{digest}"'), ("Docker-Content-Digest", str(digest))])
