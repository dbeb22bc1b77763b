"""Slow, dead and hostile clients cost only themselves; the end is orderly."""

import asyncio
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from argosy.errors import NetworkError
from argosy.server.http.common import ServerOptions
from argosy.server.http.messages import ClientGone, FileBody, Request, Response
from tests.server.http_serving import Raw, Running, serving

pytestmark = pytest.mark.slow

OK = Response(200, (), b"hello")
LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


async def hello(request: Request) -> Response:
    return OK


class Uploads:
    """A handler that takes bodies and remembers how they ended."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.over = threading.Event()
        self.taken = 0

    async def __call__(self, request: Request) -> Response:
        try:
            if request.path == "/read":
                await request.body.read(1 << 30)
            else:
                await request.body.into(self._take)
        except ClientGone:
            self.ends.append("gone")
            self.over.set()
            raise
        self.ends.append("whole")
        self.over.set()
        return Response(201)

    def _take(self, view: memoryview) -> None:
        self.taken += len(view)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def eventually(check, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


# Patience.


def test_a_head_that_trickles_is_ended_with_408():
    with serving(hello, head_timeout=0.3) as server, Raw(server.port) as client:
        began = time.monotonic()
        client.send("GET / HTTP/1.1\r\nHost: h\r\nX: ")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(200):
                client.send("a")
                time.sleep(0.02)
        assert time.monotonic() - began < 3


def test_a_client_that_stops_in_its_head_reads_the_408():
    with serving(hello, head_timeout=0.2) as server, Raw(server.port) as client:
        assert client.send("GET / HT").answer().status == 408
        assert client.closed()


def test_an_idle_connection_is_closed_without_a_word():
    with serving(hello, idle_timeout=0.2) as server, Raw(server.port) as client:
        assert client.get("/").answer().status == 200
        assert client.closed()
    with serving(hello, idle_timeout=0.2) as server, Raw(server.port) as client:
        assert client.closed()


@LOOPS
@pytest.mark.parametrize("path", ["/read", "/into"])
@pytest.mark.parametrize("fields", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
def test_a_body_that_stalls_is_given_up(loop, path, fields):
    uploads = Uploads()
    with serving(uploads, loop, transfer_timeout=0.3) as server, Raw(server.port) as client:
        client.get(path, fields, method="PUT").send(b"f\r\n" + b"x" * 1000)
        assert uploads.over.wait(5) or path == "/read"
        assert client.closed() or fields.startswith("T")  # the chunk of 15 is broken: 400


@pytest.mark.parametrize("path", ["/read", "/into"])
def test_a_body_that_trickles_is_given_up_and_a_slow_one_that_moves_is_not(path):
    uploads = Uploads()
    options = {"transfer_timeout": 0.4, "least_progress": 5000}
    with serving(uploads, **options) as server:
        with Raw(server.port) as client:
            client.get(path, "Content-Length: 40000", method="PUT")
            for _ in range(20):
                client.send(b"x" * 2000)
                time.sleep(0.05)
            assert client.answer().status == 201
        with Raw(server.port) as client:
            client.get(path, "Content-Length: 40000", method="PUT")
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                for _ in range(100):
                    client.send(b"x" * 20)
                    time.sleep(0.03)
    assert uploads.ends == ["whole", "gone"]


@LOOPS
@pytest.mark.parametrize("size", [1_000, 20_000_000])
def test_a_reader_that_stalls_for_good_is_cut_off_and_leaks_nothing(tmp_path, loop, size):
    (tmp_path / "f").write_bytes(b"x" * size)

    async def handler(request: Request) -> Response:
        return Response(200, (), FileBody(str(tmp_path / "f"), 0, size))

    with serving(handler, loop, transfer_timeout=0.4) as server:
        before = descriptors()
        with Raw(server.port, rcvbuf=2048) as client:
            for _ in range(20_000_000 // size if size == 1000 else 1):
                try:
                    client.sock.setblocking(False)
                    client.get("/")
                except BlockingIOError:
                    break
            eventually(lambda: server.server._sessions)
            eventually(lambda: not server.server._sessions, 10)
        eventually(lambda: descriptors() == before)


# Clients that vanish.


@LOOPS
@pytest.mark.parametrize("path", ["/read", "/into"])
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("fields", ["Content-Length: 9000000", "Transfer-Encoding: chunked"])
def test_a_client_that_vanishes_in_its_upload_is_never_taken_for_whole(loop, path, reset, fields):
    uploads = Uploads()
    with serving(uploads, loop) as server:
        before = descriptors()
        with Raw(server.port) as client:
            client.get(path, fields, method="PUT").send(b"895440\r\n" + b"x" * 3_000_000)
            if reset:
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        assert uploads.over.wait(5)
        eventually(lambda: descriptors() == before)
    assert uploads.ends == ["gone"]


@LOOPS
def test_a_client_that_vanishes_in_its_download_leaks_no_descriptor_and_no_thread(tmp_path, loop):
    (tmp_path / "f").write_bytes(b"x" * 10_000_000)

    async def handler(request: Request) -> Response:
        return Response(200, (), FileBody(str(tmp_path / "f"), 0, 10_000_000))

    with serving(handler, loop) as server:
        before = descriptors()
        for _ in range(30):
            with Raw(server.port, rcvbuf=4096) as client:
                client.get("/")
                client.exactly(1000)
        eventually(lambda: descriptors() == before)
        eventually(server.server.common.pool._work_queue.empty)
        assert threading.active_count() < 40


def test_a_stream_to_a_client_that_vanished_is_closed():
    closed = threading.Event()

    async def pieces():
        try:
            while True:
                yield b"x" * 100_000
                await asyncio.sleep(0)
        finally:
            closed.set()

    async def handler(request: Request) -> Response:
        return Response(200, (), pieces())

    with serving(handler) as server:
        with Raw(server.port) as client:
            client.get("/")
            client.exactly(1000)
        assert closed.wait(5)


# Crowds.


def test_stalled_readers_hold_no_thread_and_no_memory_and_others_go_on(tmp_path):
    (tmp_path / "f").write_bytes(b"x" * 30_000_000)

    async def handler(request: Request) -> Response:
        if request.path == "/":
            return OK
        return Response(200, (), FileBody(str(tmp_path / "f"), 0, 30_000_000))

    with serving(handler, workers=2) as server:
        stalled = [Raw(server.port, rcvbuf=4096).get("/file") for _ in range(30)]
        time.sleep(0.3)
        before = resident()
        with Raw(server.port) as client:
            for _ in range(50):
                assert client.get("/").answer().status == 200
            began = time.monotonic()
            assert len(client.get("/file").answer().body) == 30_000_000
            assert time.monotonic() - began < 5
        assert resident() - before < 80_000_000  # the body this test itself holds, not 30 of them
        for client in stalled:
            client.sock.close()


def resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_hundreds_of_clients_are_served_at_once(tmp_path):
    data = os.urandom(200_000)
    (tmp_path / "f").write_bytes(data)

    async def handler(request: Request) -> Response:
        if request.method == "PUT":
            return Response(201, (), str(await request.body.into(lambda _: None)).encode())
        return Response(200, (), FileBody(str(tmp_path / "f"), 0, len(data)))

    def one(n: int) -> bool:
        with Raw(server.port) as client:
            if n % 2:
                client.get("/", f"Content-Length: {len(data)}", method="PUT").send(data)
                return client.answer().body == b"200000"
            return client.get("/").answer().body == data

    with serving(handler) as server, ThreadPoolExecutor(50) as pool:
        idle = [Raw(server.port) for _ in range(300)]
        assert all(pool.map(one, range(200)))
        for client in idle:
            assert client.get("/", method="HEAD").answer(head=True).status == 200
            client.sock.close()


def test_one_connection_too_many_is_told_503():
    with serving(hello, max_connections=2) as server, Raw(server.port) as one:
        with Raw(server.port) as two:
            assert one.get("/").answer().status == two.get("/").answer().status == 200
            with Raw(server.port) as three:
                answer = three.answer()
                assert answer.status == 503
                assert answer.headers["retry-after"] == "1"
                assert three.closed()
        eventually(lambda: len(server.server._sessions) == 1)
        with Raw(server.port) as four:
            assert four.get("/").answer().status == 200


# The end.


@LOOPS
def test_shutdown_lets_requests_end_and_takes_no_more(tmp_path, loop):
    (tmp_path / "f").write_bytes(b"x" * 30_000_000)
    uploads = Uploads()

    async def handler(request: Request) -> Response:
        if request.method == "PUT":
            return await uploads(request)
        return Response(200, (), FileBody(str(tmp_path / "f"), 0, 30_000_000))

    with serving(handler, loop) as server:
        with Raw(server.port) as idle, Raw(server.port) as down, Raw(server.port) as up:
            down.get("/")
            down.exactly(1000)
            up.get("/", "Content-Length: 2000000", method="PUT").send(b"x" * 1_000_000)
            eventually(lambda: sum(s.busy for s in server.server._sessions.values() if s) == 2)
            server.begin_stop(grace=20)
            assert idle.closed()
            eventually(lambda: refuses(server.port))
            assert len(down.rest()) > 29_999_000
            up.send(b"x" * 1_000_000)
            answer = up.answer()
            assert answer.status == 201
            assert answer.headers["connection"] == "close"
            assert up.closed()


@LOOPS
def test_what_does_not_end_within_the_grace_is_broken_off(tmp_path, loop, caplog):
    (tmp_path / "f").write_bytes(b"x" * 30_000_000)
    uploads = Uploads()

    async def handler(request: Request) -> Response:
        if request.path == "/stuck":
            await asyncio.Event().wait()
        if request.method == "PUT":
            return await uploads(request)
        return Response(200, (), FileBody(str(tmp_path / "f"), 0, 30_000_000))

    server = Running(handler, ServerOptions(), loop)
    with Raw(server.port, rcvbuf=4096) as down, Raw(server.port) as up, Raw(server.port) as stuck:
        down.get("/")
        up.get("/", "Content-Length: 2000000", method="PUT").send(b"x" * 1_000_000)
        stuck.get("/stuck")
        eventually(lambda: sum(s.busy for s in server.server._sessions.values() if s) == 3)
        began = time.monotonic()
        server.stop(grace=0.2)
        assert time.monotonic() - began < 5
    assert uploads.ends == ["gone"]
    assert "broken off" in caplog.text


def test_an_address_in_use_says_so():
    with serving(hello) as server:
        with pytest.raises(NetworkError, match="cannot listen on") as taken:
            Running(hello, ServerOptions(port=server.port))
        assert taken.value.remedy


@LOOPS
def test_a_unix_socket_works_and_is_removed(tmp_path, loop):
    path = str(tmp_path / "s")
    data = os.urandom(300_000)
    (tmp_path / "f").write_bytes(data)

    async def handler(request: Request) -> Response:
        assert request.peer == "unix"
        return Response(200, (), FileBody(str(tmp_path / "f"), 0, len(data)))

    with serving(handler, loop, unix=path), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(path)
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        whole = b""
        while piece := client.recv(1 << 20):
            whole += piece
        assert whole.endswith(b"\r\n\r\n" + data)
    assert not os.path.exists(path)
