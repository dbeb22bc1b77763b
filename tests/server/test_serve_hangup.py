"""SIGHUP: certificates are read anew while connections go on, by one process and by many."""

import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.peers import need

pytestmark = pytest.mark.slow

CERTIFICATE = "server.pem", "server.key"


def made(folder: Path, serial: int) -> None:
    """A certificate of its own for localhost, known by its serial number."""
    folder.mkdir()
    argv = [need("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    argv += ["-nodes", "-batch", "-days", "2", "-subj", "/CN=localhost", "-set_serial", str(serial)]
    argv += ["-out", CERTIFICATE[0], "-keyout", CERTIFICATE[1]]
    subprocess.run(argv, check=True, capture_output=True, cwd=folder)


@contextmanager
def served(place: Path, *words: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """A server with the certificate in `place/now`; its process and port."""
    tls = ["--tls-cert", str(place / "now" / CERTIFICATE[0])]
    tls += ["--tls-key", str(place / "now" / CERTIFICATE[1])]
    argv = [sys.executable, "-m", "argosy", "serve", "--listen", "127.0.0.1:0"]
    argv += ["--data", str(place / "data"), *tls, *words]
    with (place / "log").open("w") as errors:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    try:
        found = re.findall(r":(\d+) ", process.stdout.readline())
        yield process, int(found[0])
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def shown(port: int) -> int:
    """The serial number of the certificate that a new connection sees."""
    pem = ssl.get_server_certificate(("127.0.0.1", port))
    text = subprocess.run(
        [need("openssl"), "x509", "-noout", "-serial"],
        input=pem,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(text.stdout.strip().partition("=")[2], 16)


def until_shown(port: int, serial: int) -> None:
    end = time.monotonic() + 30
    while shown(port) != serial:
        assert time.monotonic() < end
        time.sleep(0.02)


def exchanged(sock: ssl.SSLSocket) -> bytes:
    sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return sock.recv(4096).split(b"\r\n")[0]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made(tmp_path / "one", 1)
    made(tmp_path / "two", 2)
    shutil.copytree(tmp_path / "one", tmp_path / "now")
    return tmp_path


def renewed(place: Path) -> None:
    shutil.copytree(place / "two", place / "now", dirs_exist_ok=True)


def test_one_process_shows_the_new_certificate_and_keeps_its_connections(place):
    anybody = ssl._create_unverified_context()
    with served(place) as (process, port):
        assert shown(port) == 1
        raw = socket.create_connection(("127.0.0.1", port), 20)
        with raw, anybody.wrap_socket(raw) as old:
            assert exchanged(old) == b"HTTP/1.1 200 OK"
            renewed(place)
            process.send_signal(signal.SIGHUP)
            until_shown(port, 2)
            assert exchanged(old) == b"HTTP/1.1 200 OK"


def test_many_processes_are_replaced_by_others_with_the_new_certificate(place):
    with served(place, "--workers", "2") as (process, port):
        assert shown(port) == 1
        renewed(place)
        process.send_signal(signal.SIGHUP)
        until_shown(port, 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_a_certificate_that_does_not_fit_its_key_leaves_the_one_of_before(place):
    with served(place) as (process, port):
        shutil.copy(place / "two" / CERTIFICATE[0], place / "now")  # the key of before
        process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 30
        while "the certificate of before stays" not in (place / "log").read_text():
            assert time.monotonic() < end
            time.sleep(0.02)
        assert shown(port) == 1


def test_without_tls_a_hangup_ends_nothing(tmp_path):
    argv = [sys.executable, "-m", "argosy", "serve", "--listen", "127.0.0.1:0"]
    pipe = subprocess.PIPE
    argv += ["--data", str(tmp_path / "data")]
    process = subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    assert "SIGHUP changes nothing here" in process.stderr.readline()
    process.terminate()
    assert process.wait(30) == 0
    process.stdout.close()
    process.stderr.close()
