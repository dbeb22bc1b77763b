"""What all connections of a server have in common: its handler, options, clock, buffers, threads."""

import asyncio
import mmap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from argosy.server.http.messages import PIECE, Handler, Request
from argosy.server.http.rendering import Clock
from argosy.values import frozen

if TYPE_CHECKING:
    import socket
    from ssl import SSLContext

MAX_AHEAD: Final = 64 * 1024
"""Bytes kept beyond the request being answered; then the client has to wait."""

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


class Common:
    """See above. `closing`: no further request is begun; `loop` and `pool` are there from the start on."""

    loop: asyncio.AbstractEventLoop
    pool: ThreadPoolExecutor

    def __init__(self, handler: Handler, options: ServerOptions) -> None:
        self.handler: Final = handler
        self.options: Final = options
        self.closing = False
        self.clock: Final = Clock()
        self.buffers: Final = Buffers()
        self.scratch: Final = memoryview(bytearray(MAX_AHEAD))
