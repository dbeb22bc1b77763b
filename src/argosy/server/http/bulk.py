"""Large bodies past the event loop: worker threads move bytes between socket and sink or file.

A transfer is cut into stints. A stint runs in a worker thread as long as bytes
flow; when the other side pauses, it ends and the event loop waits for the
socket. So a stalled client holds no thread, and a fast one costs the loop a
few wake-ups in all. A stint uses its own duplicate of the socket: the
transport may close its descriptor at any time, and the number may be reused.
"""

import enum
import mmap
import os
import select
import socket
import time
from typing import Final, Protocol

from argosy.server.http.framing import Framing
from argosy.server.http.messages import PIECE, ClientGone, FileBody, Sink

_PATIENCE_MS: Final = 20
_TURN: Final = 0.25  # seconds; then whoever waits for a thread gets it
_SEND_AT_ONCE: Final = 1 << 20
_UNSENT: Final = 128 << 10
_GONE: Final = (ConnectionError, TimeoutError)


class Pause(enum.Enum):
    """Why a stint ended."""

    DONE = enum.auto()
    TURN = enum.auto()
    STALLED = enum.auto()  # nothing could be moved for a while
    SPENT = enum.auto()  # as much was moved as may be now: see pacing.py


class Transfer(Protocol):
    """Bytes on their way; `moved` counts those of the body."""

    moved: int

    def stint(self, sock: socket.socket) -> Pause:
        """Move bytes, in a worker thread; ClientGone when the other side has left."""


class Paced(Transfer, Protocol):
    """A transfer whose stints may end because enough was moved."""

    async def more(self) -> None:
        """Wait until more may be moved."""


def duplicate(descriptor: int) -> socket.socket:
    """A second, independent handle of a transport's socket; the caller closes it."""
    sock = socket.socket(fileno=os.dup(descriptor))
    if sock.family != socket.AF_UNIX:
        # No megabytes wait in the kernel for a slow client, and on a fast one they stay in the
        # CPU's cache (measured: +30 % on the loopback). What is in flight is not limited by it.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
    return sock


def _stalled(sock: socket.socket, event: int) -> bool:
    poll = select.poll()
    poll.register(sock, event)
    return not poll.poll(_PATIENCE_MS)


class Intake:
    """A request's body on its way from the socket into a sink, in pieces of a megabyte."""

    __slots__ = ("_early", "_filled", "_view", "framing", "moved", "sink")

    def __init__(self, framing: Framing, sink: Sink, buffer: mmap.mmap, early: bytes) -> None:
        self.framing = framing
        self.sink = sink
        self.moved = 0
        self._early = early  # what came together with the head; shorter than the buffer
        self._view = memoryview(buffer)
        self._filled = 0

    def stint(self, sock: socket.socket) -> Pause:
        """Receive until the end, a stall or the end of the turn."""
        ends = time.monotonic() + _TURN
        self._take_early()
        while not self.framing.done:
            if self._filled == PIECE:
                self._pass_on()
                if time.monotonic() > ends:
                    return Pause.TURN
            if not self._receive(sock):
                return self._why()
        self._pass_on()
        return Pause.DONE

    def _take_early(self) -> None:
        if self._early:
            count = len(self._early)
            self._view[:count] = self._early
            self._early = b""
            self._add(count)

    def _receive(self, sock: socket.socket) -> bool:
        return self._fill(sock, min(PIECE - self._filled, self.framing.want()))

    def _why(self) -> Pause:
        """Why nothing was received."""
        return Pause.STALLED

    def _fill(self, sock: socket.socket, free: int) -> bool:
        try:
            count = sock.recv_into(self._view[self._filled :], free)
        except BlockingIOError:
            return not _stalled(sock, select.POLLIN)
        except _GONE as e:
            raise _gone() from e
        if not count:
            raise _gone()
        self._add(count)
        return True

    def _add(self, count: int) -> None:
        payload = self.framing.feed(self._view[self._filled : self._filled + count])
        self._filled += payload
        self.moved += payload

    def _pass_on(self) -> None:
        if self._filled:
            self.sink(self._view[: self._filled])
            self._filled = 0


class Outflow:
    """A head, then a part of a file, on their way to the socket by sendfile.

    The file is opened by the first stint; until `begun`, nothing has been sent.
    """

    __slots__ = ("_file", "_head", "_left", "_offset", "_source", "begun", "moved")

    def __init__(self, head: bytes, body: FileBody) -> None:
        self.moved = 0
        self.begun = False
        self._head = head
        self._source = body.file
        self._file = body.file if isinstance(body.file, int) else -1
        self._offset = body.start
        self._left = body.length

    def stint(self, sock: socket.socket) -> Pause:
        """Send until the end, a stall or the end of the turn."""
        ends = time.monotonic() + _TURN
        if isinstance(self._source, str) and self._file < 0:
            self._file = os.open(self._source, os.O_RDONLY | os.O_CLOEXEC)
        self.begun = True
        while self._left:
            try:
                self._send(sock)
            except BlockingIOError:
                if _stalled(sock, select.POLLOUT):
                    return Pause.STALLED
            except _GONE as e:
                raise _gone() from e
            if self._left and time.monotonic() > ends:
                return Pause.TURN
        return Pause.DONE

    def _send(self, sock: socket.socket) -> None:
        if self._head:
            # MSG_MORE: the head shares a segment with the first bytes of the file.
            self._head = self._head[sock.send(self._head, socket.MSG_MORE) :]
            return
        count = min(self._left, _SEND_AT_ONCE)
        sent = os.sendfile(sock.fileno(), self._file, self._offset, count)
        if not sent:
            raise too_short()
        self._offset += sent
        self._left -= sent
        self.moved += sent

    def close(self) -> None:
        """Give the file back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def read_part(body: FileBody) -> bytes:
    """All bytes of that part of the file, which is then closed if it came open; blocking."""
    file = body.file if isinstance(body.file, int) else os.open(body.file, os.O_RDONLY)
    try:
        data = os.pread(file, body.length, body.start)
    finally:
        os.close(file)
    if len(data) != body.length:
        raise too_short()
    return data


def too_short() -> OSError:
    """The error of a file that has lost bytes since its length was announced."""
    return OSError("the file is shorter than it was when its length was announced")


def _gone() -> ClientGone:
    return ClientGone("the client left before the end of the transfer")
