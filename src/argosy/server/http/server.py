"""The server: a listening socket, its connections, and an orderly end."""

import asyncio
import logging
import os
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import uvloop

from argosy.concurrency import in_thread
from argosy.errors import NetworkError
from argosy.meters import declared as meters
from argosy.server.http import rendering
from argosy.server.http.common import Common, ServerOptions
from argosy.server.http.messages import Handler
from argosy.server.http.session import Session
from argosy.server.http.wire import Wire

T = TypeVar("T")
log = logging.getLogger("argosy.server.http")


class Server:
    """Serves one handler on one address, from `start` to `shutdown` (or as a context manager)."""

    def __init__(self, handler: Handler, options: ServerOptions | None = None) -> None:
        self.options: Final = options or ServerOptions()
        self.common: Final = Common(handler, self.options)
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
        self.common.loop = asyncio.get_running_loop()
        self.common.pool = ThreadPoolExecutor(options.workers, thread_name_prefix="argosy-bulk")
        try:
            self._listener = await self._listen()
        except OSError as e:
            self.common.pool.shutdown()
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
            return await self.common.loop.create_unix_server(
                lambda: Wire(self.common, self),
                options.unix,
                ssl=options.tls,
                backlog=options.backlog,
                ssl_handshake_timeout=handshake,
            )
        where: dict[str, Any] = {"host": options.host, "port": options.port}
        if options.inherited is not None:
            where = {"sock": options.inherited}
        return await self.common.loop.create_server(
            lambda: Wire(self.common, self),
            **where,
            ssl=options.tls,
            backlog=options.backlog,
            ssl_handshake_timeout=handshake,
        )

    def opened(self, wire: Wire) -> None:
        """A client has connected: start its session, unless there are too many."""
        full = len(self._sessions) >= self.options.max_connections
        self._sessions[wire] = None
        if self.common.closing:
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
        wire.write(rendering.render(answer) + self.common.clock.date + end + answer.body)
        wire.close()

    def closed(self, wire: Wire) -> None:
        """A connection is gone."""
        self._sessions.pop(wire, None)
        if self.common.closing and not self._sessions:
            self._empty.set()

    async def _tick(self) -> None:
        """Keep the clock, and end what has passed its deadline."""
        options = self.options
        shortest = min(
            options.head_timeout, options.idle_timeout, options.transfer_timeout, options.linger
        )
        pause = min(1.0, shortest / 4)
        while True:
            expected = self.common.loop.time() + pause
            await asyncio.sleep(pause)
            self.common.clock.tick()
            now = self.common.loop.time()
            meters.LOOP_LAG.set(max(0.0, now - expected))
            meters.CONNECTIONS.set(len(self._sessions))
            for wire in [w for w in self._sessions if w.deadline < now]:
                wire.expire()

    async def shutdown(self, grace: float = 10.0) -> None:
        """Accept no more, let running requests end for `grace` seconds, then break them off."""
        if self._listener is None:
            return
        self.common.closing = True
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
                async with asyncio.timeout(patience):
                    await self._empty.wait()
            for wire in list(self._sessions):
                wire.abort()

    def _clean_up(self) -> None:
        self.common.pool.shutdown()
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
