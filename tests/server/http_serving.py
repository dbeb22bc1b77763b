"""A real server in a thread, and a client that speaks raw bytes to it."""

import asyncio
import contextlib
import logging
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self

import uvloop

from argosy.server.http.common import ServerOptions
from argosy.server.http.messages import Handler
from argosy.server.http.server import Server

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


class Running:
    """A server that runs in its own thread until `stop`."""

    def __init__(
        self, handler: Handler, options: ServerOptions | None, loop: str = "uvloop"
    ) -> None:
        self.server = Server(handler, options or ServerOptions())
        self._factory = LOOPS[loop]
        self._ready = threading.Event()
        self._stop: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._grace = 5.0
        self._failed: BaseException | None = None
        self.port = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(10)
        if self._failed:
            self._thread.join()
            raise self._failed

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._factory) as runner:
                runner.run(self._main())
        except BaseException as e:
            self._failed = e
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        await self.server.start()
        self.port = self.server.port
        self._ready.set()
        await self._stop.wait()
        await self.server.shutdown(self._grace)

    def begin_stop(self, grace: float = 5.0) -> None:
        self._grace = grace
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)

    def stop(self, grace: float = 5.0) -> None:
        self.begin_stop(grace)
        self._thread.join(30)
        assert not self._thread.is_alive(), "the server did not stop"
        if self._failed:
            raise self._failed


@contextlib.contextmanager
def serving(handler: Handler, loop: str = "uvloop", **options) -> Iterator[Running]:
    running = Running(handler, replace(ServerOptions(), **options), loop)
    try:
        yield running
    finally:
        running.stop()


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    raw_head: bytes


class Raw:
    """A client socket: what is sent is exactly what the test wrote."""

    def __init__(
        self, port: int, *, context: ssl.SSLContext | None = None, rcvbuf: int | None = None
    ) -> None:
        self.sock = socket.socket()
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(20)
        try:
            self.sock.connect(("127.0.0.1", port))
        except OSError:
            self.sock.close()
            raise
        if context:
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        self._seen = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.sock.close()

    def send(self, data: bytes | str) -> "Raw":
        self.sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)
        return self

    def get(self, target: str, *fields: str, method: str = "GET", version: str = "1.1") -> "Raw":
        lines = [f"{method} {target} HTTP/{version}", "Host: here", *fields]
        return self.send("\r\n".join(lines) + "\r\n\r\n")

    def _more(self) -> bool:
        data = self.sock.recv(1 << 16)
        self._seen += data
        return bool(data)

    def until(self, mark: bytes) -> bytes:
        while mark not in self._seen:
            if not self._more():
                raise EOFError(f"closed after {self._seen!r}")
        head, _, self._seen = self._seen.partition(mark)
        return head + mark

    def exactly(self, count: int) -> bytes:
        while len(self._seen) < count:
            if not self._more():
                raise EOFError(f"closed after {len(self._seen)} of {count} bytes")
        data, self._seen = self._seen[:count], self._seen[count:]
        return data

    def answer(self, *, head: bool = False) -> Answer:
        raw = self.until(b"\r\n\r\n")
        lines = raw.decode("latin-1").split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", lines[0])
        assert match, lines[0]
        headers = {}
        for line in lines[1:-2]:
            name, _, value = line.partition(": ")
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value
        status = int(match[1])
        if head or status in {204, 304} or status < 200:
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            body = self._chunks()
        elif "content-length" in headers:
            body = self.exactly(int(headers["content-length"]))
        else:
            body = self.rest()
        return Answer(status, headers, body, raw)

    def _chunks(self) -> bytes:
        whole = b""
        while size := int(self.until(b"\r\n"), 16):
            whole += self.exactly(size)
            assert self.exactly(2) == b"\r\n"
        assert self.exactly(2) == b"\r\n"
        return whole

    def rest(self) -> bytes:
        with contextlib.suppress(ConnectionResetError):
            while self._more():
                pass
        data, self._seen = self._seen, b""
        return data

    def closed(self) -> bool:
        """Whether the server has closed, with nothing left to read."""
        return self.rest() == b""


def quiet_log() -> logging.Logger:
    return logging.getLogger("argosy.server.http")
