"""`argosy serve`: one ready line, an orderly end, and nothing open to the world by accident."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from argosy.errors import ConfigError, UsageError
from argosy.server.starting.listening import Address, TLSFiles, check
from tests.serving import Client

pytestmark = pytest.mark.slow


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "argosy", "serve", *words]


@contextmanager
def running(*words: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The process and its first line."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(command(*words), stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def refused(*words: str) -> tuple[int, str]:
    """Exit code and what was said."""
    done = subprocess.run(command(*words), capture_output=True, text=True, timeout=60)
    assert not done.stdout
    return done.returncode, done.stderr


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_one_line_and_ends_on_a_signal(tmp_path: Path, stop: signal.Signals) -> None:
    data = tmp_path / "new" / "data"
    with running("--listen", "127.0.0.1:0", "--data", str(data)) as (process, line):
        found = re.fullmatch(r"argosy: serving http://127\.0\.0\.1:(\d+) data=(.*)\n", line)
        assert found, line
        assert found[2] == str(data)
        assert Client("127.0.0.1", int(found[1]))("GET", "/v2/").status == 200
        process.send_signal(stop)
        assert process.wait(20) == 0
        assert process.stdout.read() == process.stderr.read() == ""


def test_a_request_in_flight_ends_before_the_server_does(tmp_path: Path) -> None:
    with running("--listen", "127.0.0.1:0", "--data", str(tmp_path)) as (process, line):
        port = int(re.findall(r":(\d+) ", line)[0])
        where = Client("127.0.0.1", port, "slow/push").begin()
        with socket.create_connection(("127.0.0.1", port)) as push:
            head = f"PATCH {where} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234"
            push.sendall(head.encode())
            time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert process.poll() is None
            push.sendall(b"56789")
            answer = push.recv(4096).decode()
        assert answer.startswith("HTTP/1.1 202 ")
        assert "Range: 0-9\r\n" in answer
        assert process.wait(20) == 0


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:0", ":5000", "[::]:0", "192.0.2.7:5000", "example.org:5"]
)
def test_an_open_door_is_refused_with_the_remedy(tmp_path: Path, listen: str) -> None:
    with pytest.raises(UsageError) as caught:
        check(Address.parse(listen), TLSFiles(certificate="c", key="k"))
    assert "without authentication" in caught.value.summary
    assert "--client-ca" in caught.value.remedy


def test_the_refusal_is_a_usage_error_for_the_shell(tmp_path: Path) -> None:
    code, said = refused("--listen", "0.0.0.0:0", "--data", str(tmp_path))
    assert code == 2
    assert "without authentication" in said
    assert "--client-ca" in said


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.9.9.9:1", "[::1]:5000", "localhost:80"])
def test_this_machine_alone_may_be_served_without(listen: str) -> None:
    check(Address.parse(listen), TLSFiles())


def test_the_world_may_be_served_when_clients_show_certificates() -> None:
    check(Address.parse("0.0.0.0:5000"), TLSFiles(certificate="c", key="k", client_ca="a"))


@pytest.mark.parametrize(
    "files",
    [
        TLSFiles(certificate="c"),
        TLSFiles(key="k"),
        TLSFiles(client_ca="a"),
        TLSFiles(key="k", client_ca="a"),
    ],
)
def test_half_of_a_tls_setup_is_refused(files: TLSFiles) -> None:
    with pytest.raises(UsageError):
        check(Address.parse("127.0.0.1:0"), files)


@pytest.mark.parametrize(
    "text", ["", "5000", "host", "a:b", "::1", "::1:5000", "h:70000", "h:-1", "h:٣"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Address.parse(text)


def test_addresses_are_shown_as_in_a_url() -> None:
    assert Address.parse("[::1]:5000").with_port(7) == "[::1]:7"
    assert Address.parse("localhost:5000").with_port(7) == "localhost:7"


def test_a_second_server_on_the_directory_is_refused(tmp_path: Path) -> None:
    with running("--listen", "127.0.0.1:0", "--data", str(tmp_path)):
        code, said = refused("--listen", "127.0.0.1:0", "--data", str(tmp_path))
        assert code == 1
        assert "another argosy server" in said


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = refused("--listen", f"127.0.0.1:{port}", "--data", str(tmp_path))
    assert code == 6
    assert str(port) in said


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, said = refused("--listen", "127.0.0.1:0", "--data", str(tmp_path / "file" / "x"))
    assert code == 1
    assert "data directory" in said


def certificate(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def test_with_a_client_authority_only_its_clients_get_in(tmp_path: Path) -> None:
    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    certificate(tmp_path, *new, "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
    for who in ("server", "client"):
        certificate(
            tmp_path, *new, "-keyout", f"{who}.key", "-out", f"{who}.csr", "-subj", f"/CN={who}"
        )
        (tmp_path / "ext").write_text("subjectAltName=IP:127.0.0.1")
        sign = ["x509", "-req", "-in", f"{who}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"]
        certificate(tmp_path, *sign, "-CAcreateserial", "-out", f"{who}.pem", "-extfile", "ext")
    tls = ["--tls-cert", "server.pem", "--tls-key", "server.key", "--client-ca", "ca.pem"]
    tls = [str(tmp_path / word) if "." in word else word for word in tls]
    with running("--listen", "127.0.0.1:0", "--data", str(tmp_path / "d"), *tls) as (_, line):
        assert line.startswith("argosy: serving https://127.0.0.1:")
        base = line.split()[2] + "/v2/"
        curl = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", "ca.pem", base]
        mine = ["--cert", "client.pem", "--key", "client.key"]
        named = subprocess.run([*curl, *mine], cwd=tmp_path, capture_output=True, text=True)
        assert named.stdout == "200"
        nameless = subprocess.run(curl, cwd=tmp_path, capture_output=True, text=True)
        assert nameless.returncode != 0
        assert nameless.stdout == "000"


def test_a_certificate_that_cannot_be_read_is_a_config_error(tmp_path: Path) -> None:
    words = ["--tls-cert", str(tmp_path / "no.pem"), "--tls-key", str(tmp_path / "no.key")]
    code, said = refused("--listen", "127.0.0.1:0", "--data", str(tmp_path), *words)
    assert code == ConfigError.exit_code
    assert "no.pem" in said
