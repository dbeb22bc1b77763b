"""Load clients that cost little: wrk for small requests, bare sockets for HEAD and for bulk."""

import hashlib
import os
import re
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Rate:
    """What wrk saw."""

    per_second: float
    p99_ms: float


def wrk(url: str, connections: int, seconds: int, authorization: str = "") -> Rate:
    """GET `url` over and over; every answer must be a success."""
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("wrk is not installed: apt-get install wrk")
    accept = "Accept: application/vnd.oci.image.manifest.v1+json"
    argv = [program, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-H", accept]
    if authorization:
        argv += ["-H", f"Authorization: {authorization}"]
    argv.append(url)
    text = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(f"{url}: {text}")
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", text)
    p99 = re.search(r"99%\s+([0-9.]+)(us|ms|s)", text)
    assert rate, text
    assert p99, text
    scale = {"us": 1e-3, "ms": 1.0, "s": 1e3}[p99[2]]
    return Rate(float(rate[1]), float(p99[1]) * scale)


class Client:
    """One kept-alive connection, without a library in between."""

    def __init__(self, port: int, authorization: str = "") -> None:
        self._known = {"Authorization": authorization} if authorization else {}
        self._socket = socket.create_connection(("127.0.0.1", port))
        # Not settimeout: it makes the descriptor non-blocking, and sendfile is to block.
        limit = struct.pack("ll", 120, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = memoryview(bytearray(_PIECE))

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def request(
        self, method: str, target: str, body: bytes = b"", **fields: str
    ) -> tuple[int, dict[str, str]]:
        """Send one request with a small body; the answer's body is read and dropped."""
        self._socket.sendall(_head(method, target, len(body), self._known | fields) + body)
        return self._answer(method)

    def send_file(
        self, method: str, target: str, path: Path, start: int, length: int, **fields: str
    ) -> tuple[int, dict[str, str]]:
        """The same with a part of a file as body."""
        self._socket.sendall(_head(method, target, length, self._known | fields))
        with path.open("rb") as file:
            end = start + length
            while start < end:
                start += os.sendfile(self._socket.fileno(), file.fileno(), start, end - start)
        return self._answer(method)

    def _answer(self, method: str) -> tuple[int, dict[str, str]]:
        seen = b""
        while b"\r\n\r\n" not in seen:
            piece = self._socket.recv(65536)
            if not piece:
                raise SystemExit(f"the server closed the connection: {seen!r}")
            seen += piece
        head, _, rest = seen.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        fields = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        if fields.get("transfer-encoding") == "chunked":  # docker-registry's lists; they are JSON
            while not rest.endswith(b"0\r\n\r\n"):
                rest = rest[-5:] + self._socket.recv(65536)
        elif method != "HEAD":
            left = int(fields.get("content-length", "0")) - len(rest)
            while left > 0:
                left -= self._socket.recv_into(self._buffer, min(left, _PIECE))
        return status, fields


def _head(method: str, target: str, length: int, fields: dict[str, str]) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: bench"]
    if method not in {"GET", "HEAD"}:
        lines.append(f"Content-Length: {length}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def expect(answer: tuple[int, dict[str, str]], status: int) -> dict[str, str]:
    """The fields of an answer of that status."""
    if answer[0] != status:
        raise SystemExit(f"expected {status}, got {answer}")
    return answer[1]


def head_rate(
    port: int, target: str, connections: int, seconds: float, authorization: str = ""
) -> float:
    """HEAD requests per second over that many connections, sent and read in batches."""
    known = f"Authorization: {authorization}\r\n" if authorization else ""
    request = f"HEAD {target} HTTP/1.1\r\nHost: bench\r\n{known}\r\n".encode()
    sockets = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(connections)]
    count = 0
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        for sock in sockets:
            sock.send(request)
        for sock in sockets:
            answer = sock.recv(4096)
            if not (answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n\r\n")):
                raise SystemExit(f"HEAD {target}: {answer!r}")
        count += connections
    for sock in sockets:
        sock.close()
    return count / took


@dataclass(frozen=True, slots=True)
class Blob:
    """A file that can be pushed: its name is its content's digest."""

    path: Path
    size: int
    digest: str


def fresh(blob: Path, size: int) -> Blob:
    """Change the file's first bytes, so that no server has seen it before."""
    blob.touch()
    with blob.open("r+b", buffering=0) as file:
        if os.fstat(file.fileno()).st_size != size:
            file.write(os.urandom(size))
        file.seek(0)
        file.write(os.urandom(32))
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Blob(blob, size, f"sha256:{digest}")


def begin_upload(client: Client, repository: str) -> str:
    """POST; the target to send the bytes to."""
    fields = expect(client.request("POST", f"/v2/{repository}/blobs/uploads/"), 202)
    return relative(fields["location"])


def relative(location: str) -> str:
    """A Location without host."""
    parts = urlsplit(location)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def with_digest(target: str, digest: str) -> str:
    """The target of the PUT that ends an upload."""
    return f"{target}{'&' if '?' in target else '?'}digest={digest.replace(':', '%3A')}"


def push_whole(client: Client, repository: str, blob: Blob) -> None:
    """POST, then everything in one PUT."""
    target = with_digest(begin_upload(client, repository), blob.digest)
    expect(
        client.send_file(
            "PUT", target, blob.path, 0, blob.size, Content_Type="application/octet-stream"
        ),
        201,
    )


def push_chunks(client: Client, repository: str, blob: Blob, chunk: int) -> None:
    """POST, a PATCH per chunk, then an empty PUT."""
    target = begin_upload(client, repository)
    for start in range(0, blob.size, chunk):
        length = min(chunk, blob.size - start)
        answer = client.send_file(
            "PATCH",
            target,
            blob.path,
            start,
            length,
            Content_Range=f"{start}-{start + length - 1}",
            Content_Type="application/octet-stream",
        )
        target = relative(expect(answer, 202)["location"])
    expect(client.request("PUT", with_digest(target, blob.digest)), 201)


def at_once(port: int, jobs: Sequence[Callable[[Client], None]], authorization: str = "") -> float:
    """Run the jobs side by side, each on its own connection; the seconds until the last one ends."""
    clients = [Client(port, authorization) for _ in jobs]
    try:
        with ThreadPoolExecutor(len(jobs)) as pool:
            began = time.perf_counter()
            for running in [
                pool.submit(job, client) for job, client in zip(jobs, clients, strict=True)
            ]:
                running.result()
            return time.perf_counter() - began
    finally:
        for client in clients:
            client.close()
