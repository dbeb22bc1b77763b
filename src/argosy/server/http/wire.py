"""One connection's bytes: what came and is not yet taken, what goes out, and until when.

The callbacks only collect bytes and wake the session's task. Deadlines are
plain numbers that the server looks at once per tick, so that setting one
costs nothing on the hot path.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, ParamSpec, Protocol, TypeVar, cast

from argosy.server.http.bulk import Paced, Pause, Transfer, duplicate
from argosy.server.http.common import MAX_AHEAD, Common
from argosy.server.http.messages import ClientGone

P = ParamSpec("P")
T = TypeVar("T")

NEVER: Final = float("inf")
_HIGH_WATER: Final = 256 * 1024


class Owner(Protocol):
    """Who counts the connections."""

    def opened(self, wire: "Wire") -> None:
        """A client has connected."""
        ...

    def closed(self, wire: "Wire") -> None:
        """A connection is gone."""
        ...


class Wire(asyncio.BufferedProtocol):
    """The transport's other half; `pending` are the bytes that came and nobody has taken yet."""

    transport: asyncio.Transport

    def __init__(self, common: Common, owner: Owner) -> None:
        self.common = common
        self.loop = common.loop
        self._owner = owner
        self.deadline = NEVER
        self.pending = b""
        self.ended = False  # the client sends no more
        self.lost = False
        self.expired = False
        self._waited = 0.0  # for the last `_moved` bytes of a body
        self._moved = 0
        self.secure = False
        self.peer = ""
        self.certificate: dict[str, Any] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._flowing: asyncio.Future[None] | None = None
        self._reading = True
        self._discarding = False
        self._target: memoryview | None = None
        self._got = 0
        self._socket: socket.socket | None = None

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note who it is; the server starts a session on it."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=_HIGH_WATER)
        if transport.get_extra_info("sslcontext") is not None:
            self.secure = True
            self.certificate = transport.get_extra_info("peercert") or None
        name = transport.get_extra_info("peername")
        self.peer = f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "unix"
        self._owner.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing will come any more, and nothing goes out."""
        del exc
        self.lost = self.ended = True
        self._wake()
        self.resume_writing()
        self.cut()
        self._owner.closed(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """The body's own buffer, or the scratch space that all connections share.

        Sharing is sound because the bytes are copied out in `buffer_updated`,
        which the loop calls before it reads from any other socket.
        """
        del sizehint
        return self.common.scratch if self._target is None else self._target

    def buffer_updated(self, nbytes: int) -> None:
        """Keep what came, and wake the session."""
        if self._target is not None:
            self._got = nbytes
            self._target = None
            self.pause()  # one piece at a time: back-pressure
        elif not self._discarding:
            data = bytes(self.common.scratch[:nbytes])
            self.pending = self.pending + data if self.pending else data
            if self._waiter is None and len(self.pending) >= MAX_AHEAD:
                self.pause()
        self._wake()

    def eof_received(self) -> bool:
        """The client sends no more, but may still read the answer (TLS cannot say so)."""
        self.ended = True
        self._wake()
        return not self.secure

    def pause_writing(self) -> None:
        """The client reads slower than we write."""
        if self._flowing is None:
            self._flowing = self.loop.create_future()

    def resume_writing(self) -> None:
        """The client has caught up."""
        flowing, self._flowing = self._flowing, None
        if flowing is not None and not flowing.done():
            flowing.set_result(None)

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # What the session calls: in.

    def pause(self) -> None:
        """Read no more from the socket for now."""
        if self._reading and not self.transport.is_closing():
            self.transport.pause_reading()
            self._reading = False

    async def more(self) -> None:
        """Wait until more bytes are pending, or the client has ended, or the deadline has passed."""
        if not self._reading and not self.transport.is_closing():
            self._reading = True
            self.transport.resume_reading()
        if not self.ended and not self.expired:
            self._waiter = self.loop.create_future()
            await self._waiter

    async def receive(self, view: memoryview) -> int:
        """Fill some of `view` with the next bytes of a body; ClientGone when there are none."""
        if self.pending:
            count = min(len(view), len(self.pending))
            view[:count] = self.pending[:count]
            self.pending = self.pending[count:]
            return count
        self._got = 0
        self._target = view
        began = self.loop.time()
        self.deadline = began + max(self.common.options.transfer_timeout - self._waited, 0.0)
        try:
            await self.more()
        finally:
            self._target = None
            self.deadline = NEVER
        if not self._got:
            raise ClientGone("the client left, or stalled, before the end of its body")
        self._moved += self._got
        self._waited += self.loop.time() - began
        if self._moved >= self.common.options.least_progress:
            self.be_patient()
        return self._got

    def be_patient(self) -> None:
        """A body begins, or has got on: the time that it may take for the next bytes begins anew."""
        self._waited, self._moved = 0.0, 0

    async def swallow(self) -> None:
        """Read and forget what the client still sends, for a while, so that it sees the answer.

        Closing at once would make the kernel send a reset, which may overtake
        the answer (RFC 9112 §9.6).
        """
        self._discarding = True
        self.pending = b""
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
        self.deadline = self.loop.time() + self.common.options.linger
        while not self.ended and not self.expired:
            await self.more()

    # What the session calls: out.

    def write(self, data: bytes) -> None:
        """Send it, now or when the client reads."""
        if not self.lost:
            self.transport.write(data)

    async def drained(self) -> None:
        """Wait until the client has read most of what was written; ClientGone when it does not."""
        if self._flowing is not None and not self.lost:
            self.deadline = self.loop.time() + self.common.options.transfer_timeout
            await self._flowing
            self.deadline = NEVER
        if self.lost:
            raise ClientGone("the client left before the end of the answer")

    async def _flushed(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.set_write_buffer_limits(high=0)
            await self.drained()
            self.transport.set_write_buffer_limits(high=_HIGH_WATER)

    # What the session calls: bulk, in worker threads.

    async def carry(self, transfer: Transfer, *, out: bool) -> None:
        """Run the stints of a transfer on this socket; ClientGone when it breaks off or stalls."""
        self.pause()
        if out:
            await self._flushed()
        sock = self._own_socket()
        timeout = self.common.options.transfer_timeout
        began, mark = self.loop.time(), 0
        while (pause := await self.off_loop(transfer.stint, sock)) is not Pause.DONE:
            if pause is Pause.SPENT:
                await cast("Paced", transfer).more()
                began, mark = self.loop.time(), transfer.moved
                continue
            if transfer.moved - mark >= self.common.options.least_progress:
                began, mark = self.loop.time(), transfer.moved
            elif self.loop.time() - began > timeout:
                self.abort()
            if pause is Pause.STALLED:
                self.deadline = began + timeout
                await self._ready(sock, out=out)
                self.deadline = NEVER

    def _own_socket(self) -> socket.socket:
        if self.lost:
            raise ClientGone("the client has left")
        if self._socket is None:
            self._socket = duplicate(self.transport.get_extra_info("socket").fileno())
        return self._socket

    async def off_loop(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run it in one of the server's worker threads; never leaves while the thread is at it."""
        future = self.loop.run_in_executor(self.common.pool, lambda: function(*args, **kwargs))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self.cut()
            while not future.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([future])
            raise

    async def _ready(self, sock: socket.socket, *, out: bool) -> None:
        ready = self.loop.create_future()
        if out:
            self.loop.add_writer(sock, _done, ready)
        else:
            self.loop.add_reader(sock, _done, ready)
        try:
            await ready
        finally:
            if out:
                self.loop.remove_writer(sock)
            else:
                self.loop.remove_reader(sock)

    # The end.

    def expire(self) -> None:
        """The deadline has passed: a session that waits for bytes is told, others are cut off."""
        self.deadline = NEVER
        self.expired = True
        if self._waiter is not None:
            self._wake()
        else:
            self.abort()

    def cut(self) -> None:
        """Make every use of the socket end, in threads too."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def hang_up(self) -> None:
        """Let a session that waits for a request end."""
        self.ended = True
        self._wake()

    def abort(self) -> None:
        """Break off, whatever is going on."""
        self.cut()
        if not self.lost:
            self.transport.abort()

    def close(self) -> None:
        """Send what is written, then close; only the session's task calls this, at its end."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if not self.lost:
            self.deadline = self.loop.time() + self.common.options.linger
            self.transport.close()


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
