"""What one client sees on its connection, byte by byte."""

import asyncio
import logging
import os
import time

import pytest

from argosy.server.http.messages import BodyTooLarge, FileBody, Request, Response
from tests.server.http_serving import Raw, quiet_log, serving

LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
OK = Response(200, (("Content-Type", "text/plain"),), b"hello")


async def hello(request: Request) -> Response:
    return OK


async def echo(request: Request) -> Response:
    body = await request.body.read(1 << 20)
    return Response(200, (("X-Path", request.path),), body)


async def absorb(request: Request) -> Response:
    pieces: list[bytes] = []
    count = await request.body.into(lambda view: pieces.append(bytes(view)))
    whole = b"".join(pieces)
    assert count == len(whole)
    return Response(201, (), whole)


@LOOPS
def test_a_small_answer_has_its_length_and_date_and_keeps_the_connection(loop):
    with serving(hello, loop) as server, Raw(server.port) as client:
        for _ in range(3):
            answer = client.get("/x").answer()
            assert answer.status == 200
            assert answer.body == b"hello"
            assert answer.headers["content-length"] == "5"
            assert answer.headers["content-type"] == "text/plain"
            assert answer.headers["date"].endswith(" GMT")
            assert "connection" not in answer.headers


def test_a_small_answer_comes_in_one_segment():
    with serving(hello) as server, Raw(server.port) as client:
        client.get("/")
        assert client.sock.recv(4096).endswith(b"\r\n\r\nhello")


@LOOPS
def test_pipelined_requests_are_answered_in_order(loop):
    async def handler(request: Request) -> Response:
        await asyncio.sleep(0.02 if request.path.endswith("0") else 0)
        return Response(200, (), request.path.encode())

    with serving(handler, loop) as server, Raw(server.port) as client:
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % n for n in range(30)))
        assert [client.answer().body for _ in range(30)] == [b"/%d" % n for n in range(30)]


def test_pipelined_requests_and_bodies_do_not_run_into_each_other():
    with serving(absorb) as server, Raw(server.port) as client:
        one = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nfirst"
        two = b"POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nsecond\r\n0\r\n\r\n"
        client.send((one + two) * 3)
        assert [client.answer().body for _ in range(6)] == [b"first", b"second"] * 3


def test_pipelining_is_bounded_while_a_handler_runs():
    go = asyncio.Event()
    seen: list[object] = []

    async def handler(request: Request) -> Response:
        seen.append(request)
        await go.wait()
        return OK

    request = b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 1000 + b"\r\n\r\n"
    with serving(handler) as server, Raw(server.port) as client:
        client.sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.send(request * 40_000)
        [wire] = server.server._sessions
        assert len(wire.pending) <= 2 * 64 * 1024
        assert len(seen) == 1
        server._loop.call_soon_threadsafe(go.set)
        client.sock.settimeout(20)
        assert client.answer().body == b"hello"


def test_a_head_may_come_byte_by_byte():
    with serving(echo) as server, Raw(server.port) as client:
        for byte in b"POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab":
            client.send(bytes([byte]))
            time.sleep(0.001)
        assert client.answer().body == b"ab"


def test_blank_lines_before_a_request_are_ignored():
    with serving(hello) as server, Raw(server.port) as client:
        client.send("\r\n").send("\r\n\r\n").get("/")
        assert client.answer().status == 200


def test_a_client_may_close_its_half_and_still_reads_the_answer():
    async def late(request: Request) -> Response:
        await asyncio.sleep(0.05)
        return OK

    with serving(late) as server, Raw(server.port) as client:
        client.get("/")
        client.sock.shutdown(1)
        assert client.answer().body == b"hello"
        assert client.closed()


@pytest.mark.parametrize("fields", [["Connection: close"], []])
def test_the_connection_ends_when_the_client_says_so(fields):
    with serving(hello) as server, Raw(server.port) as client:
        client.get("/", *fields, version="1.1" if fields else "1.0")
        answer = client.answer()
        assert answer.headers["connection"] == "close"
        assert client.closed()


def test_http_1_0_keeps_the_connection_when_asked():
    with serving(hello) as server, Raw(server.port) as client:
        for _ in range(2):
            answer = client.get("/", "Connection: keep-alive", version="1.0").answer()
            assert answer.headers["connection"] == "keep-alive"


@LOOPS
def test_head_has_the_length_and_no_body(tmp_path, loop):
    (tmp_path / "f").write_bytes(b"x" * 100_000)

    async def handler(request: Request) -> Response:
        if request.path == "/file":
            return Response(200, (), FileBody(str(tmp_path / "f"), 0, 100_000))
        if request.path == "/open":
            return Response(200, (), FileBody(os.open(tmp_path / "f", os.O_RDONLY), 0, 9))
        if request.path == "/known":
            return Response(200, (("Content-Length", "12345"),))
        return OK

    with serving(handler, loop) as server, Raw(server.port) as client:
        client.get("/").answer()
        before = len(os.listdir("/proc/self/fd"))
        for path, length in [("/file", 100_000), ("/open", 9), ("/known", 12345), ("/", 5)]:
            answer = client.get(path, method="HEAD").answer(head=True)
            assert answer.headers["content-length"] == str(length)
        assert client.get("/").answer().body == b"hello"
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_content_have_no_length(status):
    async def handler(request: Request) -> Response:
        return Response(status, (("ETag", '"x"'),))

    with serving(handler) as server, Raw(server.port) as client:
        assert "content-length" not in client.get("/").answer().headers
        assert client.get("/").answer().status == status


def test_the_target_is_taken_apart():
    async def handler(request: Request) -> Response:
        return Response(200, (), repr((request.path, request.target, request.query)).encode())

    with serving(handler) as server, Raw(server.port) as client:
        expected = ("/a/b c", "/a/b%20c?x=1&x=%2F&y", {"x": ["1", "/"], "y": [""]})
        assert client.get("/a/b%20c?x=1&x=%2F&y").answer().body == repr(expected).encode()
        assert client.get("http://h:1/v2/?n=1").answer().body.startswith(b"('/v2/'")


# Bodies of requests.


@LOOPS
@pytest.mark.parametrize("handler", [echo, absorb])
@pytest.mark.parametrize("size", [1, 1000, 70_000, 1 << 20])
def test_a_body_of_known_length_arrives_whole(loop, handler, size):
    data = os.urandom(size)
    with serving(handler, loop) as server, Raw(server.port) as client:
        for _ in range(2):
            client.get("/", f"Content-Length: {size}", method="PUT").send(data)
            assert client.answer().body == data


@LOOPS
@pytest.mark.parametrize("handler", [echo, absorb])
@pytest.mark.parametrize("step", [7, 32 * 1024, 400_000])
def test_a_chunked_body_arrives_whole(loop, handler, step):
    data = os.urandom(7 * 300 if step == 7 else 1 << 20)
    pieces = [data[i : i + step] for i in range(0, len(data), step)]
    raw = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"
    with serving(handler, loop) as server, Raw(server.port) as client:
        client.get("/", "Transfer-Encoding: chunked", method="PATCH").send(raw).get("/x")
        assert client.answer().body == data
        assert client.answer().status in {200, 201}


def test_large_bodies_reach_the_sink_in_pieces_of_a_megabyte_in_order():
    sizes: list[int] = []

    async def handler(request: Request) -> Response:
        digest = []
        await request.body.into(lambda v: (sizes.append(len(v)), digest.append(bytes(v[:1]))))
        return Response(200, (), b"".join(digest))

    data = b"".join(bytes([65 + n]) * (1 << 20) for n in range(10)) + b"z"
    with serving(handler) as server, Raw(server.port) as client:
        client.get("/", f"Content-Length: {len(data)}", method="PUT").send(data)
        assert client.answer().body == b"ABCDEFGHIJz"
    assert sizes == [1 << 20] * 10 + [1]


def test_100_continue_is_sent_when_the_body_is_wanted():
    with serving(echo) as server, Raw(server.port) as client:
        client.get("/", "Content-Length: 3", "Expect: 100-continue", method="PUT")
        assert client.answer().status == 100
        assert client.send("abc").answer().body == b"abc"
        assert client.get("/").answer().status == 200


def test_100_continue_is_not_sent_when_the_body_is_refused_and_the_connection_ends():
    async def refuse(request: Request) -> Response:
        return Response(401)

    with serving(refuse) as server, Raw(server.port) as client:
        client.get("/", "Content-Length: 3", "Expect: 100-continue", method="PUT")
        answer = client.answer()
        assert answer.status == 401
        assert answer.headers["connection"] == "close"
        client.sock.shutdown(1)
        assert client.closed()


def test_a_short_unread_body_is_read_over_and_the_connection_stays():
    with serving(hello) as server, Raw(server.port) as client:
        client.get("/", "Content-Length: 5000", method="PUT").send(b"x" * 2000)
        assert "connection" not in client.answer().headers
        client.send(b"x" * 3000)
        assert client.get("/").answer().body == b"hello"


def test_the_answer_to_a_long_unread_body_is_seen_by_a_client_that_only_sends():
    async def refuse(request: Request) -> Response:
        return Response(403, (), b"no")

    size = 30 << 20
    with serving(refuse) as server, Raw(server.port) as client:
        client.get("/", f"Content-Length: {size}", method="PUT")
        block = b"x" * (1 << 20)
        for _ in range(30):
            client.send(block)
        answer = client.answer()
        assert answer.status == 403
        assert answer.headers["connection"] == "close"
        assert answer.body == b"no"
        assert client.closed()


@pytest.mark.parametrize("fields", ["Content-Length: 2000000", "Transfer-Encoding: chunked"])
def test_a_body_above_the_limit_is_413(fields):
    with serving(echo) as server, Raw(server.port) as client:
        client.get("/", fields, method="PUT")
        client.send(b"1e8480\r\n" + b"x" * 2_000_000 + b"\r\n0\r\n\r\n")
        assert client.answer().status == 413


def test_what_a_sink_raises_reaches_the_handler_and_ends_the_transfer():
    async def handler(request: Request) -> Response:
        def full(view: memoryview) -> None:
            raise OSError(28, "No space left on device")

        try:
            await request.body.into(full)
        except OSError as e:
            return Response(507, (), str(e.errno).encode())
        return OK

    with serving(handler) as server, Raw(server.port) as client:
        client.get("/", "Content-Length: 20000000", method="PUT").send(b"x" * 3_000_000)
        answer = client.answer()
        assert (answer.status, answer.body) == (507, b"28")
        assert answer.headers["connection"] == "close"


def test_a_body_can_be_taken_only_once():
    async def handler(request: Request) -> Response:
        await request.body.read(100)
        with pytest.raises(RuntimeError):
            await request.body.read(100)
        return OK

    with serving(handler) as server, Raw(server.port) as client:
        client.get("/", "Content-Length: 3", method="PUT").send("abc")
        assert client.answer().status == 200


def test_the_handler_may_turn_too_large_into_its_own_answer():
    async def handler(request: Request) -> Response:
        try:
            await request.body.read(1)
        except BodyTooLarge as e:
            return Response(400, (), str(e.limit).encode())
        return OK

    with serving(handler) as server, Raw(server.port) as client:
        client.get("/", "Content-Length: 3", method="PUT").send("abc")
        assert client.answer().body == b"1"


# Answers that are more than bytes.


@LOOPS
@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 5_000_000])
def test_a_part_of_a_file_arrives_whole(tmp_path, loop, size):
    data = os.urandom(size + 20)
    (tmp_path / "f").write_bytes(data)

    async def handler(request: Request) -> Response:
        path = str(tmp_path / "f")
        file = path if request.path == "/path" else os.open(path, os.O_RDONLY)
        return Response(206, (), FileBody(file, 10, size))

    with serving(handler, loop) as server, Raw(server.port) as client:
        client.get("/path").answer()
        before = len(os.listdir("/proc/self/fd"))
        for path in ("/path", "/open", "/path"):
            client.get(path).get(path)
            for _ in range(2):
                answer = client.answer()
                assert answer.headers["content-length"] == str(size)
                assert answer.body == data[10 : 10 + size]
        assert len(os.listdir("/proc/self/fd")) <= before + 1  # the wire's duplicate


def test_a_small_answer_and_a_pipelined_file_keep_their_order(tmp_path):
    data = os.urandom(300_000)
    (tmp_path / "f").write_bytes(data)

    async def handler(request: Request) -> Response:
        if request.path == "/file":
            return Response(200, (), FileBody(str(tmp_path / "f"), 0, len(data)))
        return Response(200, (), b"small" * 20_000)

    with serving(handler) as server, Raw(server.port, rcvbuf=4096) as client:
        for _ in range(5):
            client.get("/").get("/file")
        time.sleep(0.1)
        for _ in range(5):
            assert client.answer().body == b"small" * 20_000
            assert client.answer().body == data


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_missing_file_is_a_500_not_a_dropped_connection(tmp_path, size, caplog):
    async def handler(request: Request) -> Response:
        if request.path == "/":
            return OK
        return Response(200, (), FileBody(str(tmp_path / "gone"), 0, size))

    with serving(handler) as server, Raw(server.port) as client:
        assert client.get("/gone").answer().status == 500
        assert client.get("/").answer().status == 200
    assert "No such file" in caplog.text


def test_a_file_that_has_shrunk_breaks_the_connection_off(tmp_path, caplog):
    (tmp_path / "f").write_bytes(b"x" * 500_000)

    async def handler(request: Request) -> Response:
        return Response(200, (), FileBody(str(tmp_path / "f"), 0, 1_000_000))

    with serving(handler) as server, Raw(server.port) as client:
        client.get("/")
        client.until(b"\r\n\r\n")
        assert len(client.rest()) < 1_000_000
    assert "could not be finished" in caplog.text


@LOOPS
def test_a_stream_of_unknown_length_comes_chunked(loop):
    async def pieces():
        yield b"one,"
        await asyncio.sleep(0.01)
        yield b""
        yield b"two" * 100_000

    async def handler(request: Request) -> Response:
        return Response(200, (), pieces())

    with serving(handler, loop) as server, Raw(server.port) as client:
        for _ in range(2):
            answer = client.get("/").answer()
            assert answer.headers["transfer-encoding"] == "chunked"
            assert answer.body == b"one," + b"two" * 100_000
        answer = client.get("/", "Connection: keep-alive", version="1.0").answer()
        assert "transfer-encoding" not in answer.headers
        assert answer.headers["connection"] == "close"
        assert answer.body == b"one," + b"two" * 100_000


def test_a_stream_of_known_length_has_it():
    async def handler(request: Request) -> Response:
        async def pieces():
            yield b"ab"
            yield b"cd"

        return Response(200, (("Content-Length", "4"),), pieces())

    with serving(handler) as server, Raw(server.port) as client:
        for _ in range(2):
            answer = client.get("/").answer()
            assert answer.body == b"abcd"
            assert "transfer-encoding" not in answer.headers


@pytest.mark.parametrize("length", ["3", "5", None])
def test_a_stream_that_breaks_its_word_breaks_the_connection(length, caplog):
    async def pieces():
        yield b"ab"
        yield b"cd"
        if length is None:
            raise RuntimeError("upstream died")

    async def handler(request: Request) -> Response:
        return Response(200, () if length is None else (("Content-Length", length),), pieces())

    with serving(handler) as server, Raw(server.port) as client:
        client.get("/")
        client.until(b"\r\n\r\n")
        assert not client.rest().endswith(b"0\r\n\r\n")
    assert "could not be finished" in caplog.text


# Errors.


def test_a_handler_that_raises_is_a_500_with_a_request_id_and_a_logged_traceback(caplog):
    async def handler(request: Request) -> Response:
        if request.path == "/":
            return OK
        raise RuntimeError("kaboom")

    with serving(handler) as server, Raw(server.port) as client:
        answer = client.get("/boom").answer()
        assert answer.status == 500
        assert answer.headers["content-type"] == "application/json"
        assert b"kaboom" not in answer.body
        assert client.get("/").answer().status == 200
    [record] = [r for r in caplog.records if r.exc_info]
    assert "kaboom" in caplog.text
    assert record.args is not None
    assert str(record.args[1]).encode() in answer.body


@pytest.mark.parametrize(
    "response",
    [
        Response(200, (("X", "a\r\nSet-Cookie: b"),)),
        Response(200, (("X", "a\nb"),)),
        Response(200, (("X\r", "a"),)),
        Response(200, (("X", "\u20ac"),)),
        Response(200, (("Content-Length", "7"),), b""),
    ],
)
def test_an_answer_that_would_confuse_the_client_is_a_500(response, caplog):
    async def handler(request: Request) -> Response:
        return response

    with serving(handler) as server, Raw(server.port) as client:
        assert client.get("/").answer().status == 500
        assert client.get("/").answer().status == 500


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"\0", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 40_000, 431),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 33_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ],
)
def test_what_is_not_sound_http_is_answered_once_and_the_connection_ends(raw, status):
    seen = []

    async def handler(request: Request) -> Response:
        seen.append(request)
        return OK

    with serving(handler) as server, Raw(server.port) as client:
        client.send(raw)
        answer = client.answer()
        assert answer.status == status
        assert answer.headers["connection"] == "close"
        assert client.closed()
        assert seen == []


def test_a_broken_chunk_is_a_400_and_ends_the_connection():
    with serving(absorb) as server, Raw(server.port) as client:
        client.get("/", "Transfer-Encoding: chunked", method="PUT")
        client.send(b"5\r\nhelloXX0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n")
        answer = client.answer()
        assert answer.status == 400
        assert client.closed()


def test_each_answer_is_told_to_the_access_log():
    told = []

    async def handler(request: Request) -> Response:
        request.route = "r"
        if request.path == "/boom":
            raise RuntimeError
        return OK

    def note(request, status, sent, seconds):
        told.append((request.path, request.route, status, sent))
        assert 0 <= seconds < 10

    quiet_log().setLevel(logging.CRITICAL)
    try:
        with serving(handler, log=note) as server, Raw(server.port) as client:
            client.get("/a").answer()
            client.get("/a", method="HEAD").answer(head=True)
            client.get("/boom").answer()
    finally:
        quiet_log().setLevel(logging.NOTSET)
    assert told[:2] == [("/a", "r", 200, 5), ("/a", "r", 200, 0)]
    assert told[2][:3] == ("/boom", "r", 500)
