"""TLS and mTLS: the same promises, and only clients with the right certificate."""

import os
import socket
import ssl
import subprocess
import threading
import time

import pytest

from argosy.errors import ConfigError
from argosy.server.http.messages import ClientGone, FileBody, Request, Response
from argosy.server.http.tls import tls_context
from tests.server.http_serving import Raw, serving

pytestmark = pytest.mark.slow

LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


def openssl(*args: str, cwd) -> None:
    subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=cwd)


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    """An authority, a server's certificate and a client's, in one directory."""
    where = tmp_path_factory.mktemp("certs")
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-batch")
    openssl(
        *new,
        "-x509",
        "-days",
        "2",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-subj",
        "/CN=test CA",
        cwd=where,
    )
    for name, subject in [("server", "/CN=localhost"), ("client", "/CN=pusher")]:
        openssl(*new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject, cwd=where)
        (where / "ext").write_text("subjectAltName=DNS:localhost\n")
        openssl(
            "x509",
            "-req",
            "-in",
            f"{name}.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "ext",
            "-out",
            f"{name}.pem",
            cwd=where,
        )
    return where


def server_context(certs, **more) -> ssl.SSLContext:
    return tls_context(str(certs / "server.pem"), str(certs / "server.key"), **more)


def client_context(certs, *, certificate: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certs / "ca.pem"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    if certificate:
        context.load_cert_chain(certs / "client.pem", certs / "client.key")
    return context


@LOOPS
def test_bodies_both_ways_arrive_whole_over_tls(certs, tmp_path, loop):
    data = os.urandom(5_000_001)
    (tmp_path / "f").write_bytes(data)

    async def handler(request: Request) -> Response:
        assert request.scheme == "https"
        if request.method == "GET":
            return Response(200, (), FileBody(str(tmp_path / "f"), 0, len(data)))
        whole: list[bytes] = []
        await request.body.into(lambda view: whole.append(bytes(view)))
        return Response(201, (), b"same" if b"".join(whole) == data else b"other")

    with serving(handler, loop, tls=server_context(certs)) as server:
        with Raw(server.port, context=client_context(certs)) as client:
            assert client.sock.selected_alpn_protocol() == "http/1.1"
            for _ in range(2):
                client.get("/")
                assert client.answer().body == data
                client.get("/", f"Content-Length: {len(data)}", method="PUT").send(data)
                assert client.answer().body == b"same"
                client.get("/", "Transfer-Encoding: chunked", method="PUT")
                for start in range(0, len(data), 32768):
                    piece = data[start : start + 32768]
                    client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
                client.send(b"0\r\n\r\n")
                assert client.answer().body == b"same"


@LOOPS
def test_a_client_that_vanishes_in_an_upload_over_tls_is_gone(certs, loop):
    ends: list[str] = []

    async def handler(request: Request) -> Response:
        try:
            await request.body.into(lambda _: None)
        except ClientGone:
            ends.append("gone")
            raise
        ends.append("whole")
        return Response(201)

    with serving(handler, loop, tls=server_context(certs)) as server:
        for abrupt in (True, False):
            with Raw(server.port, context=client_context(certs)) as client:
                client.get("/", "Content-Length: 9000000", method="PUT").send(b"x" * 3_000_000)
                if not abrupt:
                    client.sock.unwrap()
        with Raw(server.port, context=client_context(certs)) as client:
            client.get("/", "Content-Length: 0", method="PUT")
            assert client.answer().status == 201
    assert sorted(ends) == ["gone", "gone", "whole"]


def test_a_body_that_trickles_over_tls_is_given_up(certs):
    over = threading.Event()

    async def handler(request: Request) -> Response:
        try:
            await request.body.into(lambda _: None)
        except ClientGone:
            over.set()
            raise
        return Response(201)

    options = {"transfer_timeout": 0.4, "least_progress": 5000}
    with (
        serving(handler, tls=server_context(certs), **options) as server,
        Raw(server.port, context=client_context(certs)) as client,
    ):
        client.get("/", "Content-Length: 40000", method="PUT")
        with pytest.raises((ssl.SSLError, OSError)):
            for _ in range(100):
                client.send(b"x" * 20)
                time.sleep(0.03)
        assert over.wait(5)


def test_a_stalled_reader_over_tls_is_cut_off(certs, tmp_path):
    (tmp_path / "f").write_bytes(b"x" * 20_000_000)

    async def handler(request: Request) -> Response:
        return Response(200, (), FileBody(str(tmp_path / "f"), 0, 20_000_000))

    with serving(handler, tls=server_context(certs), transfer_timeout=0.3) as server:
        with Raw(server.port, context=client_context(certs), rcvbuf=4096) as client:
            client.get("/")
            client.until(b"\r\n\r\n")
            time.sleep(1)
            with pytest.raises((ssl.SSLError, OSError, EOFError)):
                client.exactly(20_000_000)


@LOOPS
def test_with_a_client_authority_only_its_clients_get_in(certs, loop):
    async def handler(request: Request) -> Response:
        assert request.certificate is not None
        names = dict(pair for entry in request.certificate["subject"] for pair in entry)
        return Response(200, (), names["commonName"].encode())

    context = server_context(certs, client_ca=str(certs / "ca.pem"))
    with serving(handler, loop, tls=context) as server:
        with Raw(server.port, context=client_context(certs, certificate=True)) as client:
            assert client.get("/").answer().body == b"pusher"
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
            with Raw(server.port, context=client_context(certs)) as client:
                client.get("/").answer()


def test_plain_http_to_a_tls_port_is_cut_off_without_harm(certs):
    async def handler(request: Request) -> Response:
        return Response(200)

    with serving(handler, tls=server_context(certs)) as server:
        with Raw(server.port) as client:
            client.get("/")
            client.rest()
        with Raw(server.port, context=client_context(certs)) as client:
            assert client.get("/").answer().status == 200


def test_a_handshake_that_never_comes_is_given_up(certs):
    async def handler(request: Request) -> Response:
        return Response(200)

    with serving(handler, tls=server_context(certs), head_timeout=0.3) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            assert client.recv(100) == b""


@pytest.mark.parametrize("broken", ["cert", "key", "ca"])
def test_a_file_that_cannot_be_used_is_named(certs, tmp_path, broken):
    bad = tmp_path / "bad.pem"
    bad.write_text("no pem")
    files = {"cert": certs / "server.pem", "key": certs / "server.key", "ca": certs / "ca.pem"}
    files[broken] = bad
    with pytest.raises(ConfigError, match=r"bad\.pem") as refused:
        tls_context(str(files["cert"]), str(files["key"]), client_ca=str(files["ca"]))
    assert refused.value.remedy
