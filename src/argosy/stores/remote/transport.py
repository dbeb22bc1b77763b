"""HTTP: one request, one answer. Only this module and `failures.py` know the HTTP library.

No retries, no redirects, no credentials here (`exchange.py`), and no decompression:
blobs are named by the digest of the bytes on the wire.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    PyreqwestError,
)
from pyreqwest.proxy import ProxyBuilder
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

from argosy import __version__, tracing
from argosy.concurrency import first_error, in_thread
from argosy.content.store import Body
from argosy.errors import ConfigError
from argosy.settings import Settings
from argosy.stores.remote.failures import causes_of, check_url, translated
from argosy.values import frozen

T = TypeVar("T")

PIECE = 512 << 10  # bytes; big enough that Python's share is small, and sent on without slicing
_SENT = 512 << 10  # bytes a slow link must take within the read timeout
_MAX_ERROR = 64 << 10  # bytes of an error's body worth reading


@frozen(kw_only=True)
class Trust:
    """How a host is reached: whom to believe, who we are, through which proxy."""

    verify: bool = True
    ca: tuple[bytes, ...] = ()
    identity: bytes = field(default=b"", repr=False)
    proxy: str = field(default="", repr=False)


@frozen(kw_only=True)
class Request:
    """One HTTP request.

    A `stream` is sent as it comes, `length` bytes of it; it cannot be sent twice.
    `once` keeps the exchange from trying it again: its owner knows better.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | memoryview | None = None
    stream: Body | None = field(default=None, repr=False)
    length: int | None = None
    once: bool = False


class Answer:
    """One HTTP answer whose body is still on the wire: read it, or iterate it, then close it.

    Header names are lower-case; a repeated header is joined with commas (RFC 9110 §5.2).
    """

    def __init__(self, request: Request, sending: StreamRequest, response: Response) -> None:
        self.url = request.url
        self.method = request.method
        self.status = response.status
        self.headers = _headers(response)
        self._sending = sending
        self._response = response
        self._body: bytes | None = None
        self._closed = False

    async def read(self, limit: int = _MAX_ERROR) -> bytes:
        """The body, at most `limit` bytes of it; the connection is given back."""
        if self._body is None:
            with translated(self.url):
                found = await heeding(self._response.body_reader.read(limit))
            self._body = b"" if found is None else bytes(found)
            await self.close()
        return self._body

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body in big pieces. NetworkError when it breaks off, NetworkTimeout when it stalls."""
        reader = self._response.body_reader
        while True:
            with translated(self.url):
                piece = await heeding(reader.read(PIECE))
            if piece is None:
                return
            yield bytes(piece)

    async def close(self) -> None:
        """Give the connection back, or break it off if the body was not read to its end."""
        if not self._closed:
            self._closed = True
            await heeding(self._sending.__aexit__(None, None, None))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class Transport:
    """Connections, kept open and shared per `Trust`; close it to give them back."""

    def __init__(self, settings: Settings, trust_of: Callable[[str], Trust]) -> None:
        self._settings = settings
        self._trust_of = trust_of
        self._clients: dict[tuple[Trust, bool], Client] = {}
        self._trusts: dict[str, Trust] = {}

    async def close(self) -> None:
        """Close every connection."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.close()

    async def send(self, request: Request) -> Answer:
        """Send one request; its answer, whatever the status. NetworkError if none came."""
        check_url(request.url)
        trust = await self._trust(request.url)
        host = urlsplit(request.url).netloc.rpartition("@")[2]
        with tracing.span(f"HTTP {request.method}", server_address=host), translated(request.url):
            sending = self._prepared(request, trust)
            if isinstance(sending, _Upload):
                return Answer(request, sending.request, await sending.send(request))
            return Answer(request, sending, await _entered(sending))

    async def _trust(self, url: str) -> Trust:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in self._trusts:
            trust = await in_thread(self._trust_of, url)
            if parts.scheme == "http":
                # Loading the system's certificates costs 20 ms of CPU: not for plain HTTP.
                trust = Trust(verify=False, proxy=trust.proxy)
            self._trusts[origin] = trust
        return self._trusts[origin]

    def _prepared(self, request: Request, trust: Trust) -> "StreamRequest | _Upload":
        streams = request.stream is not None
        client = self._clients.get((trust, streams))
        if client is None:
            client = self._clients[trust, streams] = self._build(trust, streams=streams)
        builder = client.request(request.method, request.url).headers(_outgoing(request))
        if request.body is not None:
            builder = builder.body_bytes(request.body)
        # With a buffer the library would hold the headers back until it is full.
        builder = builder.streamed_read_buffer_limit(0)
        if request.stream is None:
            return builder.build_streamed()
        outflow = _Outflow()
        return _Upload(
            builder.body_stream(outflow.taken()).build_streamed(),
            outflow,
            self._settings.read_timeout,
        )

    def _build(self, trust: Trust, *, streams: bool) -> Client:
        builder = (
            ClientBuilder()
            .user_agent(f"argosy/{__version__}")
            .http1_only()
            .follow_redirects(False)
            .referer(False)
            .gzip(False)
            .brotli(False)
            .zstd(False)
            .deflate(False)
            .no_proxy()
            .connect_timeout(timedelta(seconds=self._settings.connect_timeout))
            .danger_accept_invalid_certs(not trust.verify)
        )
        if not streams:
            # The library counts the whole upload as one wait for the answer, so
            # uploads are watched by _Upload instead.
            builder = builder.read_timeout(timedelta(seconds=self._settings.read_timeout))
        try:
            for pem in trust.ca:
                builder = builder.add_root_certificate_pem(pem)
            if trust.identity:
                builder = builder.identity_pem(trust.identity)
            if trust.proxy:
                builder = builder.proxy(ProxyBuilder.all(trust.proxy))
            return builder.build()
        except (PyreqwestError, ValueError) as e:
            raise ConfigError(
                "the certificates or the proxy set for this host cannot be used",
                why="; ".join(causes_of(e)),
                remedy="check the PEM files in certs.d and the proxy variables",
            ) from e


async def heeding(waiting: Awaitable[T]) -> T:
    """What comes of it, unless the caller was cancelled meanwhile.

    When an answer and a cancellation come at the same time, the library gives the answer and
    forgets the cancellation: who was to end would go on, and a timeout would not end anything.
    """
    before = _cancellations()
    found = await waiting
    if _cancellations() > before:
        raise asyncio.CancelledError
    return found


async def _entered(sending: StreamRequest) -> Response:
    """The answer to a request; given back if the caller was cancelled meanwhile (see `heeding`)."""
    before = _cancellations()
    response = await sending.__aenter__()
    if _cancellations() > before:
        await sending.__aexit__(None, None, None)
        raise asyncio.CancelledError
    return response


def _cancellations() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


@dataclass(slots=True)
class _Upload:
    """A request whose body streams; broken off when its sender is cancelled or it stalls."""

    request: StreamRequest
    outflow: "_Outflow"
    stall: float

    async def send(self, request: Request) -> Response:
        """The answer, maybe before the body is through. What the body raises comes out as it is."""
        assert request.stream is not None
        try:
            async with asyncio.timeout(self.stall) as deadline:
                async with asyncio.TaskGroup() as group:
                    feeder = group.create_task(self._feed(request.stream, deadline))
                    response = await _entered(self.request)
                    if response.status >= 300:
                        feeder.cancel()
                    # Otherwise the body's last word (a digest mismatch) is still awaited.
        except BaseExceptionGroup as group_error:
            raise first_error(group_error) from group_error
        finally:
            self.outflow.stop()
        return response

    async def _feed(self, body: Body, deadline: asyncio.Timeout) -> None:
        loop = asyncio.get_running_loop()
        deadline.reschedule(None)  # a slow source is not a stalled registry
        async for piece in body:
            # Sliced, so that a slow link that moves is told from one that stalls. An empty
            # piece would not be taken after the last byte: nothing may follow that.
            for start in range(0, len(piece), _SENT):
                deadline.reschedule(loop.time() + self.stall)
                await self.outflow.put(_slice(piece, start))
            deadline.reschedule(None)
        deadline.reschedule(loop.time() + self.stall)
        await self.outflow.put(None)


def _slice(piece: bytes, start: int) -> bytes:
    return piece if len(piece) <= _SENT else piece[start : start + _SENT]


class _Outflow:
    """A body handed over piece by piece.

    The HTTP library pulls it in tasks of its own and does not notice when the
    sender is cancelled: `stop` makes it fail, which breaks the connection.
    """

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
        self._stopped = False
        self._ended = False

    async def put(self, piece: bytes | None) -> None:
        """Hand over the next piece (None: the end); waits while the one before is not taken."""
        await self._queue.put(piece)

    def stop(self) -> None:
        """Make a body that has not ended fail."""
        self._stopped = True
        with suppress(asyncio.QueueEmpty):
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    async def taken(self) -> AsyncIterator[bytes]:
        """The pieces, as the HTTP library takes them."""
        while (piece := await self._queue.get()) is not None:
            yield piece
        if self._stopped:
            raise ConnectionAbortedError("the sender gave up")


def _outgoing(request: Request) -> dict[str, str]:
    headers = {**request.headers, **dict(tracing.headers())}
    if request.length is not None:
        headers["Content-Length"] = str(request.length)
    elif not request.body and request.method in ("POST", "PUT", "PATCH"):
        headers["Content-Length"] = "0"
    return headers


def _headers(response: Response) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in response.headers.items():
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found
