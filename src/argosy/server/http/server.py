"""The server: a listening socket, its connections, and an orderly end."""

import asyncio
import logging
import mmap
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import uvloop

from argosy.concurrency import in_thread
from argosy.errors import NetworkError
from argosy.meters import declared as meters
from argosy.server.http import rendering
from argosy.server.http.messages import PIECE, Handler, Request
from argosy.server.http.rendering import Clock
from argosy.server.http.session import Session
from argosy.server.http.wire import MAX_AHEAD, Wire
from argosy.values import frozen

if TYPE_CHECKING:
    import socket
    from ssl import SSLContext

T = TypeVar("T")
log = logging.getLogger("argosy.server.http")

AccessLog = Callable[[Request, int, int, float], None]
"""Told after each answer: the request, its status, the bytes of the body, the seconds it took."""

_BUFFERS_KEPT: Final = 16


@frozen(kw_only=True)
class ServerOptions:
    """Where to listen, and how much patience to have. Times are seconds, sizes bytes."""

    host: str = "127.0.0.1"
    port: int = 0  # 0: a free one
    unix: str | None = None  # a socket's path, instead of host and port
    inherited: "socket.socket | None" = None  # bound already, and shared with other processes
    tls: "SSLContext | None" = None
    log: AccessLog | None = None
    request_ids: bool = False  # answers carry X-Request-Id
    max_connections: int = 4096
    head_timeout: float = 20.0  # for the whole head of a request
    idle_timeout: float = 90.0  # between two requests; longer than clients keep connections
    transfer_timeout: float = 60.0  # for the next `least_progress` bytes of a body, either way
    least_progress: int = 4096
    linger: float = 5.0  # for a client to see an answer that ends the connection
    workers: int = 16  # threads that move bodies
    backlog: int = 1024


class Buffers:
    """Big buffers for bodies, used again: fresh ones cost page faults.

    They begin at a page, so that a sink may write them past the page cache (O_DIRECT).
    """

    __slots__ = ("_free",)

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []

    def take(self) -> mmap.mmap:
        """A buffer of one piece, with whatever is in it."""
        return self._free.pop() if self._free else mmap.mmap(-1, PIECE)

    def give(self, buffer: mmap.mmap) -> None:
        """Take it back; the caller keeps no view of it."""
        if len(self._free) < _BUFFERS_KEPT:
            self._free.append(buffer)


class Server:
    """Serves one handler on one address, from `start` to `shutdown` (or as a context manager)."""

    def __init__(self, handler: Handler, options: ServerOptions | None = None) -> None:
        self.handler = handler
        self.options = options or ServerOptions()
        self.closing = False
        self.clock = Clock()
        self.buffers = Buffers()
        self.scratch = memoryview(bytearray(MAX_AHEAD))
        self.loop: asyncio.AbstractEventLoop
        self.pool: ThreadPoolExecutor
        self._sessions: dict[Wire, Session | None] = {}  # every connection; None: turned away
        self._empty = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._group = asyncio.TaskGroup()
        self._ticking: asyncio.Task[None] | None = None
        self._listener: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The TCP port it listens on; 0 for a unix socket."""
        assert self._listener is not None, "the server has not been started"
        name = self._listener.sockets[0].getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    async def start(self) -> None:
        """Listen; NetworkError when the address cannot be had."""
        options = self.options
        self.loop = asyncio.get_running_loop()
        self.pool = ThreadPoolExecutor(options.workers, thread_name_prefix="argosy-bulk")
        try:
            self._listener = await self._listen()
        except OSError as e:
            self.pool.shutdown()
            where = options.unix or f"{options.host}:{options.port}"
            raise NetworkError(
                f"cannot listen on {where}",
                why=e.strerror or str(e),
                remedy="choose another address, or stop what holds this one",
            ) from e
        await self._group.__aenter__()
        self._ticking = self._group.create_task(self._tick())

    async def _listen(self) -> asyncio.Server:
        options = self.options
        handshake = options.head_timeout if options.tls else None
        if options.unix is not None:
            return await self.loop.create_unix_server(
                lambda: Wire(self),
                options.unix,
                ssl=options.tls,
                backlog=options.backlog,
                ssl_handshake_timeout=handshake,
            )
        where: dict[str, Any] = {"host": options.host, "port": options.port}
        if options.inherited is not None:
            where = {"sock": options.inherited}
        return await self.loop.create_server(
            lambda: Wire(self),
            **where,
            ssl=options.tls,
            backlog=options.backlog,
            ssl_handshake_timeout=handshake,
        )

    def opened(self, wire: Wire) -> None:
        """A client has connected: start its session, unless there are too many."""
        full = len(self._sessions) >= self.options.max_connections
        self._sessions[wire] = None
        if self.closing:
            wire.transport.abort()
            return
        if full:
            self._turn_away(wire)
            return
        session = self._sessions[wire] = Session(wire)
        task = self._group.create_task(session.run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _turn_away(self, wire: Wire) -> None:
        answer = rendering.problem(503, "the server has as many connections as it may have")
        assert isinstance(answer.body, bytes)
        end = b"Retry-After: 1\r\nConnection: close\r\n\r\n"
        wire.write(rendering.render(answer) + self.clock.date + end + answer.body)
        wire.close()

    def closed(self, wire: Wire) -> None:
        """A connection is gone."""
        self._sessions.pop(wire, None)
        if self.closing and not self._sessions:
            self._empty.set()

    async def _tick(self) -> None:
        """Keep the clock, and end what has passed its deadline."""
        options = self.options
        shortest = min(
            options.head_timeout, options.idle_timeout, options.transfer_timeout, options.linger
        )
        pause = min(1.0, shortest / 4)
        while True:
            expected = self.loop.time() + pause
            await asyncio.sleep(pause)
            self.clock.tick()
            now = self.loop.time()
            meters.LOOP_LAG.set(max(0.0, now - expected))
            meters.CONNECTIONS.set(len(self._sessions))
            for wire in [w for w in self._sessions if w.deadline < now]:
                wire.expire()

    async def shutdown(self, grace: float = 10.0) -> None:
        """Accept no more, let running requests end for `grace` seconds, then break them off."""
        if self._listener is None:
            return
        self.closing = True
        self._listener.close()
        for wire, session in list(self._sessions.items()):
            if session is not None and not session.busy:
                wire.hang_up()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        await self._break_off()
        if self._ticking is not None:
            self._ticking.cancel()
        await self._group.__aexit__(None, None, None)
        await self._closed(min(grace, self.options.linger))
        await self._listener.wait_closed()
        self._listener = None
        await in_thread(self._clean_up)

    async def _closed(self, seconds: float) -> None:
        """Wait until what was written has gone out and every connection is closed."""
        for patience in (seconds, 1.0):
            if not self._sessions:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), patience)
            for wire in list(self._sessions):
                wire.abort()

    def _clean_up(self) -> None:
        self.pool.shutdown()
        if self.options.unix is not None:
            with suppress(FileNotFoundError):
                os.unlink(self.options.unix)

    async def _break_off(self) -> None:
        if not self._tasks:
            return
        log.warning("%d requests did not end in time and are broken off", len(self._tasks))
        for wire in list(self._sessions):
            wire.abort()
        _done, stuck = await asyncio.wait(self._tasks, timeout=1.0)
        for task in stuck:
            task.cancel()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.shutdown(grace=0.0 if error else 10.0)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run the program on the event loop that serves fastest (docs/adr/0001-http-server.md)."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
