"""The balancer of deploy/: what it refuses itself reads as the registry's refusals, and who lives is asked last."""

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.parts import balancing, haproxy
from tests.peers import free_port, need, running
from tests.serving import Answer, Client

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
pytestmark = pytest.mark.peer


def test_the_file_for_containers_is_what_this_machine_uses_but_for_the_addresses():
    nodes = [f"node{number}:5000" for number in (1, 2, 3)]
    text = (DEPLOY / "haproxy.cfg").read_text()
    assert text.endswith(balancing(nodes, ":5000", docker=True))


@contextmanager
def balancer(place: Path, *nodes: int) -> Iterator[Client]:
    need("haproxy")
    part, port = haproxy(place / "haproxy", [("127.0.0.1", node) for node in nodes])
    part.ready = lambda: answering(port)
    try:
        part.start()
        yield Client("127.0.0.1", port)
    finally:
        part.kill()


def answering(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def refusal(answer: Answer) -> str:
    assert answer["Content-Type"] == "application/json"
    (error,) = json.loads(answer.body)["errors"]
    assert error["message"]
    return str(error["code"])


def test_without_a_node_it_says_so_in_the_registrys_format(tmp_path):
    with balancer(tmp_path, free_port(), free_port()) as client:
        answer = client("GET", "/v2/")
        assert (answer.status, refusal(answer)) == (503, "UNAVAILABLE")
        assert answer["Retry-After"] == "1"


def test_a_node_that_goes_away_over_a_request_is_an_honest_502(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=hang_up)
        thread.start()
        with balancer(tmp_path, listener.getsockname()[1]) as client:
            answer = client("POST", "/v2/a/b/blobs/uploads/", b"")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert answer.status in (502, 503)
    assert refusal(answer) == "UNAVAILABLE"


def test_when_no_node_is_ready_the_living_are_asked(tmp_path):
    """The one node drains: it is not ready any more, and answers all the same."""
    port, config = free_port(), tmp_path / "argosy.toml"
    config.write_text('[server]\ndrain = "60s"\ngrace = "1s"\n')
    words = ["--listen", f"127.0.0.1:{port}", "--data", str(tmp_path / "data")]
    argv = [sys.executable, "-m", "argosy", "serve", "--config", str(config), *words]
    with running(argv, port, tmp_path / "log") as process:
        with balancer(tmp_path, port) as client:
            assert client("GET", "/readyz").status == 200
            process.terminate()
            end = time.monotonic() + 30
            while client("GET", "/readyz").status == 200:
                assert time.monotonic() < end
                time.sleep(0.02)
            time.sleep(3)  # the balancer has seen it too: three of its checks
            for _ in range(5):
                assert client("GET", "/v2/").status == 200
        process.kill()


def test_a_client_does_not_say_where_it_comes_from(tmp_path):
    """The nodes believe the balancer: it tells what it sees, and passes no such tale on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        heads: list[bytes] = []

        def node() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    heads.append(connection.recv(65536))
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=node)
        thread.start()
        told = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
        with balancer(tmp_path, listener.getsockname()[1]) as client:
            assert client("GET", "/v2/", headers=told).status == 200
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    (head,) = [h.lower().decode() for h in heads if h.startswith(b"GET /v2/ ")]
    said = [line for line in head.split("\r\n") if line.startswith("x-forwarded")]
    assert sorted(said) == ["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http"]
