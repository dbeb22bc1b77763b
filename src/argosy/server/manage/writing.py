"""Values as answers: JSON, ETag, Link to the next page, gzip for who asks for it."""

import gzip
import re
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import parse_qsl, urlencode

import msgspec

from argosy.concurrency import in_thread
from argosy.server.http.messages import Request, Response
from argosy.server.manage import validators
from argosy.server.manage.operation import Operation, Page, Reply
from argosy.server.manage.problems import KIND, Refusal

_SMALL: Final = 1024  # below, gzip saves nothing
_LARGE: Final = 64 << 10  # above, compressing holds up the loop
_REFUSED = re.compile(r";\s*q=0(?:\.0*)?\s*(?:;|$)", re.IGNORECASE)


def check_accept(request: Request, operation: Operation) -> None:
    """Refusal 406 when the client takes nothing that the operation gives."""
    field = request.headers.get("accept")
    if field is None:
        return
    kinds = {operation.media_type, KIND}
    if any(kind in kinds or kind in ("*/*", "application/*") for kind in _taken(field)):
        return
    raise Refusal(
        406,
        "not-acceptable",
        f"this gives {operation.media_type}",
        why=f"the request takes only {field[:200]}",
        remedy=f"send Accept: {operation.media_type}",
    )


async def rendered(operation: Operation, reply: Reply, request: Request) -> Response:
    """The answer that a handler's reply becomes."""
    headers = [("Cache-Control", "no-store" if reply.secret else "private, no-cache")]
    if reply.location:
        headers.append(("Location", reply.location))
    if reply.stream is not None:
        return Response(200, [*headers, ("Content-Type", operation.media_type)], reply.stream)
    if operation.answer is None:
        return Response(204, headers + ([("ETag", reply.etag)] if reply.etag else []))
    if operation.safe and validators.is_known(request, reply.etag):
        return Response(304, [*headers, ("ETag", reply.etag), _VARY])
    if isinstance(reply.value, Page) and reply.value.next is not None:
        headers.append(("Link", _next(request, reply.value.next)))
    headers += [("Content-Type", operation.media_type), _VARY]
    raw = msgspec.json.encode(reply.value)
    etag = reply.etag
    if len(raw) > _SMALL and not reply.secret and _takes_gzip(request):
        raw = await _compressed(raw)
        headers.append(("Content-Encoding", "gzip"))
        etag = validators.as_gzip(etag) if etag else ""
    if etag:
        headers.append(("ETag", etag))
    return Response(operation.status, headers, raw)


_VARY: Final = ("Vary", "Accept-Encoding")


def _next(request: Request, after: str) -> str:
    path, _, query = request.target.partition("?")
    kept = [(k, v) for k, v in parse_qsl(query, keep_blank_values=True) if k != "after"]
    return f'<{path}?{urlencode([*kept, ("after", after)])}>; rel="next"'


def _takes_gzip(request: Request) -> bool:
    field = request.headers.get("accept-encoding") or ""
    return any(kind in ("gzip", "*") for kind in _taken(field))


def _taken(field: str) -> Iterator[str]:
    """What a client takes, in lower case, by an Accept field: in time linear in its length."""
    for part in field.split(","):
        kind, mark, parameters = part.partition(";")
        if not _REFUSED.search(mark + parameters):
            yield kind.strip().lower()


async def _compressed(raw: bytes) -> bytes:
    def work() -> bytes:
        return gzip.compress(raw, compresslevel=4, mtime=0)

    return await in_thread(work) if len(raw) > _LARGE else work()


def allowed(methods: Sequence[str]) -> tuple[str, str]:
    """The Allow field."""
    return ("Allow", ", ".join(methods))
