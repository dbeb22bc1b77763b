"""What a handler gets and what it gives back: requests, bodies and responses.

A handler is `async (Request) -> Response`. It never sees a socket. Bulk bytes
go past the event loop: in through `RequestBody.into` (a worker thread feeds a
sink), out through `FileBody` (sendfile).
"""

import itertools
import math
import os
import re
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import parse_qs, unquote

from argosy.concurrency import in_thread
from argosy.errors import ArgosyError, NetworkError
from argosy.values import frozen

PIECE: Final = 1 << 20
"""Bytes a sink gets at once: exactly these, but for the last piece of a body."""

Sink = Callable[[memoryview], None]
"""Takes the next bytes of a body, in a worker thread.

The view is only valid during the call. The memory of whole pieces begins at a
page, so that they can be written with O_DIRECT.
"""


class BodyTooLarge(ArgosyError):
    """A request's body is longer than the handler's limit (413)."""

    code = "body-too-large"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the request's body has more than {limit} bytes",
            remedy="send less, or raise the limit of the server",
            evidence={"limit": limit},
        )
        self.limit = limit


class ClientGone(NetworkError):
    """The client left, or stalled, before the end of its body: what came is not complete."""

    code = "client-gone"


class Headers:
    """The header fields of a request: names in lower case, values without outer blanks."""

    __slots__ = ("_first", "pairs")

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self.pairs: Final = tuple((name.lower(), value) for name, value in pairs)
        first: dict[str, str] = {}
        for name, value in self.pairs:
            first.setdefault(name, value)
        self._first = first

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of that field; cheapest when `name` is in lower case."""
        found = self._first.get(name)
        return self._first.get(name.lower(), default) if found is None else found

    def all(self, name: str) -> list[str]:
        """Every value of that field, in the order they came."""
        lower = name.lower()
        return [value for field, value in self.pairs if field == lower]

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._first

    def __repr__(self) -> str:
        return f"Headers({list(self.pairs)!r})"


class RequestBody(Protocol):
    """The bytes a client sends along; each body can be taken once.

    `length` is its Content-Length, or None when it comes chunked. Nothing is
    read from the network (and no `100 Continue` sent) before it is asked for.
    `received` is how many bytes were taken, once that has ended well.
    """

    length: int | None
    received: int

    async def read(self, limit: int) -> bytes:
        """The whole body; BodyTooLarge above `limit` bytes, ClientGone when it breaks off."""

    async def into(self, sink: Sink) -> int:
        """Feed every byte to `sink`, in order, in a worker thread; returns the number of bytes.

        Back-pressure is the sink's speed. ClientGone when the body breaks off:
        what the sink got until then is not the whole. What the sink raises
        stops the transfer and is raised here.
        """


class MemoryBody:
    """A body that is already here: for tests, and for requests without one."""

    __slots__ = ("_data", "length", "received")

    def __init__(self, data: bytes = b"", *, chunked: bool = False) -> None:
        self._data = data
        self.received = 0
        self.length: int | None = None if chunked else len(data)

    async def read(self, limit: int) -> bytes:
        """The bytes, or BodyTooLarge."""
        if len(self._data) > limit:
            raise BodyTooLarge(limit)
        return self._data

    async def into(self, sink: Sink) -> int:
        """Feed the bytes in pieces, as the network would."""
        await in_thread(self._feed, sink)
        return len(self._data)

    def _feed(self, sink: Sink) -> None:
        view = memoryview(self._data)
        for start in range(0, len(view), PIECE):
            sink(view[start : start + PIECE])


NO_BODY: Final = MemoryBody()
_ids = itertools.count(1)
_id_prefix = os.urandom(4).hex()


def _renew_prefix() -> None:
    """A worker is forked when this module has been loaded: each needs a prefix of its own."""
    global _id_prefix  # noqa: PLW0603 - it belongs to the process
    _id_prefix = os.urandom(4).hex()


os.register_at_fork(after_in_child=_renew_prefix)
_GIVEN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+/=@-]{0,63}")


class Request:
    """One request, as it came: nothing but its head has been read yet.

    `target` is raw; `path` is percent-decoded once and has no query. `route`
    and `repository` are the handler's: a short name of what was asked for, and of whom,
    for logs and metrics; `trace` is the tracer's: the trace it is part of (32 hex digits);
    `address` is whoever's who knows the proxies: the client's, empty if nobody looked;
    `principal` is the guard's: whose request it turned out to be; `denial` why it was denied,
    and `tried` the name somebody gave, for the audit log; `pace` is the limiter's: how
    fast the answer may go out (http/pacing.py; None: as fast as it can).
    """

    __slots__ = (
        "_id",
        "_query",
        "address",
        "body",
        "certificate",
        "denial",
        "headers",
        "method",
        "pace",
        "path",
        "peer",
        "principal",
        "repository",
        "route",
        "scheme",
        "span",
        "target",
        "trace",
        "tried",
    )

    def __init__(
        self,
        method: str,
        target: str,
        *,
        headers: Headers | None = None,
        body: RequestBody = NO_BODY,
        peer: str = "",
        scheme: str = "http",
        certificate: Mapping[str, Any] | None = None,
    ) -> None:
        self.method = method
        self.target = target
        raw = target.partition("?")[0] if "?" in target else target
        if raw[:1] != "/":
            raw = _without_authority(raw)
        self.path = unquote(raw) if "%" in raw else raw
        self.headers = _NO_HEADERS if headers is None else headers
        self.body = body
        self.peer = peer
        self.address = ""
        self.scheme = scheme
        self.certificate = certificate
        self.route = ""
        self.repository = ""
        self.trace = ""
        self.span: Any = None
        self.principal: Any = None
        self.denial = ""
        self.tried = ""
        self.pace: Any = None
        self._query: dict[str, list[str]] | None = None
        self._id = ""

    @property
    def query(self) -> dict[str, list[str]]:
        """The query's values by name; blank values are kept."""
        if self._query is None:
            text = self.target.partition("?")[2]
            self._query = parse_qs(text, keep_blank_values=True) if text else {}
        return self._query

    @property
    def id(self) -> str:
        """A name for this request, for logs and answers: the client's X-Request-Id, if it is harmless."""
        if not self._id:
            given = self.headers.get("x-request-id")
            usable = given is not None and _GIVEN_ID.fullmatch(given)
            self._id = given if given and usable else f"{_id_prefix}-{next(_ids):x}"
        return self._id

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target}>"


_NO_HEADERS: Final = Headers()


def _without_authority(target: str) -> str:
    # Absolute form, as sent to proxies (RFC 9112 §3.2.2): the server must take it.
    scheme, mark, rest = target.partition("://")
    if not mark or "/" in scheme:
        return target
    return "/" + rest.partition("/")[2]


@frozen
class FileBody:
    """`length` bytes of a file from offset `start`, sent without passing through Python.

    `file` is a path, or an open descriptor that the server then owns and closes.
    """

    file: str | int
    start: int
    length: int


Body = bytes | FileBody | AsyncIterable[bytes]


class Response:
    """An answer; never changed once returned, so a cached one may be given again and again.

    The server adds Content-Length (or chunked framing), Date and Connection.
    A Content-Length in `headers` counts for HEAD, and for an async iterable of
    known length. For HEAD the body is measured, not sent.
    """

    __slots__ = ("body", "headers", "rendered", "status")

    def __init__(
        self,
        status: int = 200,
        headers: Sequence[tuple[str, str]] = (),
        body: Body = b"",
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.rendered: bytes | None = None  # the server's: the head, once it has been made

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


def retry_after(seconds: float) -> tuple[str, str]:
    """The field that says when to come again: in whole seconds, never too early."""
    return ("Retry-After", str(max(1, math.ceil(seconds))))


Handler = Callable[[Request], Awaitable[Response]]
