"""A real S3 service for tests (SeaweedFS), and a proxy before it that can be made to fail.

`seaweed` is the service, one per worker of the suite; `s3_options` a place in it that no
other test uses, as the registry's options; `s3_faults` the same behind the proxy.
"""

import itertools
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from argosy.stores.s3.options import S3Options
from tests.peers import PATH, free_port

ACCESS, SECRET = "argosy-tests", "not-to-be-shown-3b91"
BUCKET = "blobs"
DOMAIN = "s3.test"  # buckets are hosts below it; nobody resolves it, a proxy knows where it is
_names = itertools.count()


def weed() -> str:
    """The path of SeaweedFS; skips, or fails under CI."""
    beside = Path(sys.executable).parent / "weed"
    if beside.exists():
        return str(beside)
    if found := shutil.which("weed"):
        return found
    reason = "SeaweedFS is not installed: it comes with the development requirements"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass
class Seaweed:
    """A server with everything in it, in a folder of its own."""

    folder: Path
    port: int = 0
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, or start it again; returns when it stores objects."""
        ports = [free_port() for _ in range(8)]
        self.port = self.port or ports[0]
        config = self.folder / "s3.json"
        key = {"accessKey": ACCESS, "secretKey": SECRET}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": "tests", "credentials": [key], "actions": actions}
        config.write_text(json.dumps({"identities": [identity]}))
        words = [weed(), "server", "-s3", "-filer", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        words += [f"-dir={self.folder}", f"-s3.config={config}", "-volume.max=64"]
        words += ["-master.volumeSizeLimitMB=128", "-volume.minFreeSpace=0", "-s3.iam=false"]
        words += [f"-s3.domainName={DOMAIN}"]
        words += ["-s3.port.iceberg=0", "-s3.port.lance=0"]  # fixed ports otherwise
        words += [f"-s3.port={self.port}", f"-s3.port.grpc={ports[1]}"]
        words += [f"-master.port={ports[2]}", f"-master.port.grpc={ports[3]}"]
        words += [f"-volume.port={ports[4]}", f"-volume.port.grpc={ports[5]}"]
        words += [f"-filer.port={ports[6]}", f"-filer.port.grpc={ports[7]}"]
        with (self.folder / "log").open("ab") as out:
            self._process = subprocess.Popen(
                words, stdout=out, stderr=out, cwd=self.folder, env={**os.environ, "PATH": PATH}
            )
        self._wait()

    def _wait(self) -> None:
        until = time.monotonic() + 60
        while not self._stores():
            dead = self._process is None or self._process.poll() is not None
            if dead or time.monotonic() > until:
                pytest.fail("SeaweedFS did not start: " + (self.folder / "log").read_text()[-3000:])
            time.sleep(0.1)

    def _stores(self) -> bool:
        """Whether a bucket can be made and an object put; signed by the code under test."""
        from datetime import UTC, datetime
        from hashlib import sha256

        from argosy.stores.s3.signing import Credentials, Signer

        signer = Signer(
            credentials=Credentials(access_key=ACCESS, secret_key=SECRET), region="us-east-1"
        )
        for path, body in ((f"/{BUCKET}", b""), (f"/{BUCKET}/ready", b"ready")):
            url = self.endpoint + path
            digest = sha256(body).hexdigest()
            headers = signer.headers("PUT", url, {}, digest, datetime.now(UTC))
            request = urllib.request.Request(url, body, headers, method="PUT")
            try:
                urllib.request.urlopen(request, timeout=5).close()
            except urllib.error.HTTPError as e:
                with e:
                    if e.code != 409:  # the bucket is there
                        return False
            except OSError:
                return False
        return True

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def options(self, **more: object) -> S3Options:
        """A place in the bucket that nobody else uses."""
        values: dict[str, object] = {
            "endpoint": self.endpoint,
            "bucket": BUCKET,
            "prefix": f"t{os.getpid()}-{next(_names)}/",
            "access_key": ACCESS,
            "secret_key": SECRET,
        }
        return S3Options(**{**values, **more})  # type: ignore[arg-type]


@contextmanager
def running_seaweed() -> Iterator[Seaweed]:
    """A server without objects, removed on exit."""
    with tempfile.TemporaryDirectory(prefix="argosy-seaweed-") as folder:
        server = Seaweed(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def seaweed() -> Iterator[Seaweed]:
    """The service of this worker of the suite."""
    with running_seaweed() as server:
        yield server


@pytest.fixture
def s3_options(seaweed: Seaweed) -> S3Options:
    """A place in it that no other test uses."""
    return seaweed.options()


Fault = Callable[[str, str], str]
"""From the method and the target of a request to what becomes of it.

"" passes it on; "503" answers SlowDown; "500" fails; "cut" breaks the connection off at
once; "lose" passes it on and breaks off instead of the answer; "half" breaks off in the
middle of the answer's body.
"""


class FaultProxy:
    """A proxy before an S3 service, one request after the other on each connection."""

    def __init__(
        self, target: int, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self._target = target
        self._tls = tls
        self.fault: Fault = lambda _method, _target: ""
        self.gate = threading.Event()  # closed: requests wait
        self.gate.set()
        self.seen: list[tuple[str, str]] = []
        self.heads: list[str] = []  # of the same requests
        self._listener = socket.create_server((host, 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.gate.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(client)
            threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError, ValueError), self._secured(client) as secured:
            reader = secured.makefile("rb")
            while (first := reader.readline()) and self._exchange(secured, reader, first):
                pass
        self._open.discard(client)

    def _secured(self, client: socket.socket) -> socket.socket:
        return self._tls.wrap_socket(client, server_side=True) if self._tls else client

    def _exchange(self, client: socket.socket, reader: object, first: bytes) -> bool:
        head, length = _head(reader)
        body = reader.read(length)  # type: ignore[attr-defined]
        method, target = first.decode().split()[:2]
        self.seen.append((method, target))
        self.heads.append(head.decode("latin-1"))
        fault = self.fault(method, target)
        self.gate.wait()
        if fault == "cut":
            return False
        if fault in ("503", "500"):
            client.sendall(_refusal(fault))
            return True
        with socket.create_connection(("127.0.0.1", self._target), 30) as server:
            server.sendall(
                first + head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + body
            )
            answer = b"".join(iter(lambda: server.recv(1 << 20), b""))
        if fault == "lose":
            return False
        if fault == "half":
            start = answer.index(b"\r\n\r\n") + 4
            client.sendall(answer[: start + (len(answer) - start) // 2])
            return False
        client.sendall(answer)
        return False  # the answer says that the connection closes


def _head(reader: object) -> tuple[bytes, int]:
    head, length = b"", 0
    while (line := reader.readline()) not in (b"\r\n", b""):  # type: ignore[attr-defined]
        head += line
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return head + b"\r\n", length


def _refusal(status: str) -> bytes:
    code = {"503": "SlowDown", "500": "InternalError"}[status]
    body = f"<Error><Code>{code}</Code><Message>Please reduce your request rate.</Message></Error>"
    head = f"HTTP/1.1 {status} No\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


@pytest.fixture
def s3_faults(seaweed: Seaweed) -> Iterator[FaultProxy]:
    """A proxy before the service; `seaweed.options(endpoint=s3_faults.endpoint)` goes through it."""
    proxy = FaultProxy(seaweed.port)
    try:
        yield proxy
    finally:
        proxy.close()
