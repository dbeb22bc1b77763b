"""Bodies at a pace: every byte comes, none before its time, and no thread is held meanwhile."""

import asyncio
import os
import ssl
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from argosy.server.http.messages import FileBody, Request, Response
from argosy.server.http.tls import tls_context
from tests.authority import Authority
from tests.server.http_serving import Raw, serving

SIZE = 600_000
STEP = 50_000


class Counting:
    """A pace that lets everything through, and remembers what was asked of it."""

    def __init__(self, *, pause: float = 0.0) -> None:
        self.waited = 0
        self.given_back = 0
        self.pause = pause
        self.peak = 0

    def most(self) -> int:
        return STEP

    async def wait(self, count: int) -> None:
        self.peak = max(self.peak, count)
        self.waited += count
        await asyncio.sleep(self.pause)

    def give_back(self, count: int) -> None:
        self.given_back += count

    @property
    def moved(self) -> int:
        return self.waited - self.given_back


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(SIZE))
    return path


def _tls(folder: Path) -> tuple[dict[str, ssl.SSLContext], ssl.SSLContext]:
    authority = Authority(folder)
    certificate, key = authority.issue("localhost")
    client = ssl.create_default_context(cafile=str(authority.ca))
    return {"tls": tls_context(str(certificate), str(key))}, client


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 200_000):
        yield data[start : start + 200_000]


@pytest.mark.parametrize("kind", ["file", "stream", "bytes", "part"])
@pytest.mark.parametrize("secure", [False, True])
def test_every_byte_that_goes_out_was_waited_for(
    file: Path, tmp_path: Path, kind: str, secure: bool
) -> None:
    data, pace = file.read_bytes(), Counting()
    bodies = {
        "file": (FileBody(str(file), 0, SIZE), data),
        "part": (FileBody(str(file), 1000, SIZE - 5000), data[1000 : SIZE - 4000]),
        "bytes": (data, data),
    }

    async def handler(request: Request) -> Response:
        request.pace = pace
        return Response(200, [], _pieces(data) if kind == "stream" else bodies[kind][0])

    options, context = _tls(tmp_path) if secure else ({}, None)
    with serving(handler, **options) as running:
        with Raw(running.port, context=context) as client:
            answer = client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").answer()
    expected = data if kind == "stream" else bodies[kind][1]
    assert answer.body == expected
    assert pace.moved == len(expected)
    assert kind == "bytes" or pace.peak <= STEP


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("secure", [False, True])
def test_every_byte_that_comes_in_was_waited_for(
    tmp_path: Path, chunked: bool, secure: bool
) -> None:
    data, pace = os.urandom(SIZE), Counting()
    came = bytearray()

    async def handler(request: Request) -> Response:
        request.body.pace = pace
        await request.body.into(came.extend)
        return Response(200, [], b"ok")

    options, context = _tls(tmp_path) if secure else ({}, None)
    with serving(handler, **options) as running:
        with Raw(running.port, context=context) as client:
            head = "PUT / HTTP/1.1\r\nHost: x\r\n"
            if chunked:
                parts = [data[n : n + 70_000] for n in range(0, SIZE, 70_000)]
                body = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"
                client.send(head + "Transfer-Encoding: chunked\r\n\r\n").send(body)
            else:
                client.send(head + f"Content-Length: {SIZE}\r\n\r\n").send(data)
            assert client.answer().body == b"ok"
            assert client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")  # the connection goes on
    assert bytes(came) == data
    assert SIZE <= pace.moved <= SIZE + (4096 if chunked else 0) + (65536 if secure else 0)


def test_a_transfer_that_waits_holds_no_thread(file: Path) -> None:
    gate = threading.Event()

    class Closed(Counting):
        async def wait(self, count: int) -> None:
            if self.waited >= STEP:
                while not gate.is_set():
                    await asyncio.sleep(0.01)
            self.waited += count

    paces: list[Closed] = []

    async def handler(request: Request) -> Response:
        if request.path == "/slow":
            request.pace = Closed()
            paces.append(request.pace)
        return Response(200, [], FileBody(str(file), 0, SIZE))

    with serving(handler, workers=1) as running:
        slow = [Raw(running.port) for _ in range(6)]
        for client in slow:
            client.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        until = time.monotonic() + 10
        while len(paces) < 6 or any(p.waited < STEP for p in paces):
            assert time.monotonic() < until
            time.sleep(0.01)
        with Raw(running.port) as fast:  # the only thread is free
            assert len(fast.send("GET /fast HTTP/1.1\r\nHost: x\r\n\r\n").answer().body) == SIZE
        gate.set()
        assert all(len(client.answer().body) == SIZE for client in slow)
        for client in slow:
            client.sock.close()


def test_a_client_that_leaves_gives_back_what_it_was_allowed(file: Path) -> None:
    pace = Counting()
    big = file.with_name("big")
    with big.open("wb") as out:
        out.truncate(64 << 20)

    async def handler(request: Request) -> Response:
        request.pace = pace
        return Response(200, [], FileBody(str(big), 0, 64 << 20))

    ended = threading.Event()
    with serving(handler, log=lambda *_: ended.set()) as running:
        with Raw(running.port, rcvbuf=4096) as client:
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.sock.recv(1000)
        assert ended.wait(10)
    assert 0 < pace.moved < 64 << 20
