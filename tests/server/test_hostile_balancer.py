"""Hostile clients against the whole server: behind haproxy, with access control, with everything on.

What is tried byte by byte against the HTTP engine alone is in test_http_*.py; here two readers have
to agree, and others have to be served meanwhile.
"""

import http.client
import json
import os
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.parts import haproxy
from tests.peers import free_port, need, running
from tests.serving import Answer, Client

SETTINGS = """\
[server]
max_connections = 400
trusted_proxies = ["127.0.0.1"]
[auth]
enabled = true
[log]
level = "info"
format = "json"
access = "all"
"""


@dataclass
class Balanced:
    """A registry behind haproxy: `direct` is it, `front` the balancer."""

    direct: int
    front: int
    log: Path
    stats: Path

    @property
    def client(self) -> Client:
        return Client("127.0.0.1", self.front)

    def told(self) -> Counter[str]:
        """The paths of the requests that the registry has answered, by its log."""
        marker = f"/marker-{os.urandom(6).hex()}"
        assert Client("127.0.0.1", self.direct)("GET", marker).status == 404
        end = time.monotonic() + 20
        while marker not in (text := self.log.read_text()):
            assert time.monotonic() < end
            time.sleep(0.02)
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        paths = (line["path"] for line in lines if line.get("event") == "request")
        return Counter(path for path in paths if path != "/readyz" and "marker" not in path)

    def passed_on(self) -> int:
        """How many requests haproxy has sent to the registry, by its own count."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.stats))
            sock.sendall(b"show stat\n")
            text = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
        names, *rows = (line.split(",") for line in text.lstrip("# ").splitlines() if line)
        found = [dict(zip(names, row, strict=False)) for row in rows]
        servers = [r for r in found if r["svname"] not in ("FRONTEND", "BACKEND")]
        return sum(int(row["req_tot"] or 0) for row in servers)


@contextmanager
def balanced(place: Path) -> Iterator[Balanced]:
    need("haproxy")
    port = free_port()
    config = place / "argosy.toml"
    config.write_text(SETTINGS)
    words = ["--listen", f"127.0.0.1:{port}", "--data", str(place / "data")]
    argv = [sys.executable, "-m", "argosy", "serve", "--config", str(config), *words]
    with ExitStack() as stack:
        stack.enter_context(running(argv, port, place / "log"))
        balancer, front = haproxy(place / "haproxy", [("127.0.0.1", port)])
        settings = place / "haproxy" / "haproxy.cfg"
        stats = place / "stats"
        text = settings.read_text().replace("global\n", f"global\n    stats socket {stats}\n", 1)
        # One connection for the requests of many clients: where a smuggled one would do harm.
        settings.write_text(
            text.replace("backend nodes\n", "backend nodes\n    http-reuse always\n", 1)
        )
        stack.callback(balancer.kill)
        balancer.start()
        yield Balanced(port, front, place / "log", stats)


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balanced]:
    with balanced(tmp_path_factory.mktemp("b")) as found:
        yield found


pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("hostile-balancer")]

_INNER = b"GET /v2/smuggled/app/tags/list HTTP/1.1\r\nHost: x\r\nX: "
_CHUNK = b"%x\r\n%s\r\n0\r\n\r\n" % (len(_INNER), _INNER)
_LENGTHS = (
    b"Content-Length: %d\r\n" % len(_INNER),
    b"Content-Length: 0\r\n",
    b"Content-Length: 5\r\n",
)
CODINGS = (
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"Transfer-Encoding: identity, chunked\r\n",
    b"Transfer-Encoding: chunked, identity\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
    b"Transfer-Encoding:\r\n chunked\r\n",
    b"X: y\rTransfer-Encoding: chunked\r\n",
    b"X: y\nTransfer-Encoding: chunked\r\n",
    b"Transfer_Encoding: chunked\r\n",
    b'Transfer-Encoding: "chunked"\r\n',
    b"Content-Length: 0\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length: 0x5\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Content-Length : 7\r\n",
    b"",
)
LINES = (
    b"POST /token HTTP/1.1\r\nHost: x\r\n",
    b"POST /v2/a/b/blobs/uploads/ HTTP/1.1\r\nHost: x\r\n",
    b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n",
    b"GET http://evil.example/v2/ HTTP/1.1\r\nHost: x\r\n",
    b"PUT /v2/a/b/manifests/v1 HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n",
)


def shapes() -> Iterator[bytes]:
    """Requests that two readers may understand differently, each with another one inside."""
    for line in LINES:
        for length in _LENGTHS:
            for coding in CODINGS:
                for body in (_CHUNK, b"0\r\n\r\n" + _INNER, _INNER):
                    yield line + length + coding + b"\r\n" + body


def throw(port: int, raw: bytes) -> None:
    """Send it, and hang up after a moment: no answer is waited for."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.sendall(raw)
        sock.settimeout(0.02)
        with suppress(TimeoutError):
            while sock.recv(65536):
                pass


class Victim(threading.Thread):
    """Asks for repositories of its own all the time, and notes answers that are not to its question."""

    def __init__(self, port: int, name: str) -> None:
        super().__init__()
        self.port, self.name_, self.asked = port, name, 0
        self.wrong: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        while not self.over.is_set():
            mine = f"{self.name_}/r{self.asked}"
            connection.request("GET", f"/v2/{mine}/manifests/v1")
            answer = connection.getresponse()
            answer.read()
            self.asked += 1
            scope = re.search(r'scope="([^"]*)"', answer.headers["WWW-Authenticate"] or "")
            if answer.status != 401 or scope is None or scope[1] != f"repository:{mine}:pull":
                self.wrong.append(f"{mine}: {answer.status} {answer.headers}")
        connection.close()


def test_haproxy_and_the_registry_agree_where_every_request_ends(it):
    """What haproxy counts as sent is what the registry has answered: none more, and nobody gets another's."""
    victims = [Victim(it.front, f"victim{n}") for n in range(3)]
    answered, sent = it.told().total(), it.passed_on()
    for victim in victims:
        victim.start()
    try:
        count = 0
        for raw in shapes():
            throw(it.front, raw)
            count += 1
    finally:
        for victim in victims:
            victim.over.set()
        for victim in victims:
            victim.join()
    assert [wrong for victim in victims for wrong in victim.wrong] == []
    assert all(victim.asked > 100 for victim in victims)
    assert count == len(LINES) * len(_LENGTHS) * len(CODINGS) * 3
    answered, sent = it.told().total() - answered, it.passed_on() - sent
    # Requests whose client hung up before their body came are haproxy's, and not answered.
    assert answered <= sent
    print(f"{count} shapes, {sent} requests passed on, {answered} answered")


def test_the_registry_itself_takes_none_of_the_doubtful_shapes_as_two(it):
    before = it.told()
    for line in LINES[:3]:
        for coding in CODINGS[1:-1]:
            throw(it.direct, line + _LENGTHS[0] + coding + b"\r\n" + _CHUNK)
    assert it.told()["/v2/smuggled/app/tags/list"] == before["/v2/smuggled/app/tags/list"]


@pytest.mark.parametrize("port", ["direct", "front"])
def test_heads_and_targets_that_are_too_long_are_refused_with_their_status(it, port):
    where = Client("127.0.0.1", getattr(it, port))
    assert where("GET", "/v2/", headers={"X": "y" * 40_000}).status in (400, 431)
    assert where("GET", "/v2/" + "a/" * 10_000).status in (400, 414)
    many = {f"X-{n}": "y" * 20 for n in range(3000)}
    assert refused(where, many) in (400, 431)
    assert where("GET", "/v2/").status == 401


def refused(where: Client, fields: dict[str, str]) -> int:
    with socket.create_connection((where.host, where.port), 10) as sock:
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        with suppress(OSError):
            sock.sendall(f"GET /v2/ HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
        return int(sock.recv(4096).split()[1])


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/token", "application/x-www-form-urlencoded"),
        ("/api/v1/password", "application/json"),
        ("/v2/p/app/manifests/v1", "application/vnd.oci.image.manifest.v1+json"),
    ],
)
def test_bodies_that_are_too_long_are_refused_before_they_are_taken(it, path, kind):
    method = "PUT" if "manifests" in path else "POST"
    for port in (it.direct, it.front):
        answer = announced(port, method, path, kind, 10**12)
        assert answer.status in (401, 413), (answer.status, answer.body)
        assert json.loads(answer.body)


def announced(port: int, method: str, path: str, kind: str, length: int) -> Answer:
    """The answer to a body that is said to be that long, of which only a little comes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest(method, path)
    connection.putheader("Content-Type", kind)
    connection.putheader("Content-Length", str(length))
    connection.endheaders()
    connection.send(b"x" * 1000)
    found = connection.getresponse()
    answer = Answer(found.status, found.headers, found.read())
    connection.close()
    return answer


@contextmanager
def trickling(port: int, count: int, raw: bytes) -> Iterator[list[socket.socket]]:
    """Clients that have sent a beginning, and then next to nothing."""
    with ExitStack() as stack:
        socks = []
        for _ in range(count):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            sock.sendall(raw)
            socks.append(sock)
        over = threading.Event()

        def drip() -> None:
            while not over.wait(0.2):
                for sock in socks:
                    with suppress(OSError):
                        sock.send(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield socks
        finally:
            over.set()
            thread.join()


_FORM = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 60000\r\n\r\n"
_JSON = b"Content-Type: application/json\r\nContent-Length: 200000\r\n\r\n"
SLOW = [
    b"POST /token HTTP/1.1\r\nHost: x\r\nX-",
    b"POST /token HTTP/1.1\r\nHost: x\r\n" + _FORM + b"grant_type=",
    b"POST /api/v1/password HTTP/1.1\r\nHost: x\r\n" + _JSON + b'{"name": "',
    b"PUT /v2/p/app/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n",
]


@pytest.mark.parametrize("port", ["direct", "front"])
@pytest.mark.parametrize("raw", SLOW, ids=["head", "token", "api", "v2"])
def test_two_hundred_clients_that_trickle_hold_up_nobody(it, port, raw):
    at = getattr(it, port)
    with trickling(at, 200, raw):
        took = []
        for path, status in (("/api/v1/health", 200), ("/v2/", 401), ("/token?service=x", 200)) * 5:
            began = time.monotonic()
            assert Client("127.0.0.1", at)("GET", path).status == status
            took.append(time.monotonic() - began)
    assert sorted(took)[len(took) // 2] < 1.0, took


def test_more_connections_than_are_allowed_are_told_to_come_back_and_leave_no_trace(it):
    with ExitStack() as stack:
        full = 0
        for _ in range(500):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", it.direct), 10))
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            with suppress(ConnectionError):
                full += sock.recv(4096).startswith(b"HTTP/1.1 503 ")
        assert full >= 90
    end = time.monotonic() + 20
    while Client("127.0.0.1", it.direct)("GET", "/healthz").status != 200:
        assert time.monotonic() < end
    assert it.client("GET", "/v2/").status == 401
