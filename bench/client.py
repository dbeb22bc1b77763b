"""aiohttp against pyreqwest as the HTTP client of `argosy.stores.remote` (docs/adr/0002).

Both talk to one bare server on loopback that keeps nothing: small requests one after
another and 16 at once, 100 MB down and up, and what `import` costs. Uploads stream
from an async iterator in pieces of 256 KiB, downloads are read in pieces of up to
1 MiB. CPU is user plus system time of the client process, its threads included.
"""

import argparse
import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from typing import Any, Self

import aiohttp
import uvloop
from pyreqwest.client import ClientBuilder

from bench.harness import Metric, Samples, interleaved, machine, table, write

_BIG = 100 << 20
_PIECE = 256 << 10
_SMALL = b'{"schemaVersion":2,"manifests":[' + b'"x",' * 250 + b'""]}'
_REQUESTS = 2000
_IMPORTS = {"aiohttp": "import aiohttp", "pyreqwest": "import asyncio, pyreqwest.client"}

METRICS = [
    Metric(name="import", unit="ms CPU", more_is_better=False),
    Metric(name="small GET, 1 at a time", unit="req/s"),
    Metric(name="small GET, 16 at once", unit="req/s"),
    Metric(name="small GET, 16 at once, CPU", unit="us/req", more_is_better=False),
    Metric(name="100 MB down", unit="MB/s"),
    Metric(name="100 MB down, CPU", unit="ms/100 MB", more_is_better=False),
    Metric(name="100 MB up", unit="MB/s"),
    Metric(name="100 MB up, CPU", unit="ms/100 MB", more_is_better=False),
]


class Sink(asyncio.BufferedProtocol):
    """A server that answers GET /small, GET /big and any PUT, and keeps nothing."""

    def __init__(self) -> None:
        self._buffer = bytearray(1 << 20)
        self._head = b""
        self._left = 0
        self._writing = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._writing.set()

    def pause_writing(self) -> None:
        self._writing.clear()

    def resume_writing(self) -> None:
        self._writing.set()

    def connection_lost(self, _error: Exception | None) -> None:
        for task in self._tasks:
            task.cancel()

    def get_buffer(self, _hint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, count: int) -> None:
        if self._left:
            self._left -= count
            if self._left == 0:
                self._transport.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
            return
        self._head += self._buffer[:count]
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if end:
            self._head = b""
            self._answer(head, len(rest))

    def _answer(self, head: bytes, came: int) -> None:
        if head.startswith(b"PUT"):
            self._left = _BIG - came
            return
        body = _BIG if b"/big" in head else len(_SMALL)
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % body)
        if body == _BIG:
            task = asyncio.get_running_loop().create_task(self._pour())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._transport.write(_SMALL)

    async def _pour(self) -> None:
        piece = bytes(1 << 20)
        for _ in range(_BIG >> 20):
            await self._writing.wait()
            self._transport.write(piece)


async def serve(port: int) -> None:
    """Run the server until killed."""
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port)
    print("ready", flush=True)
    await server.serve_forever()


async def pieces() -> AsyncIterator[bytes]:
    """100 MB."""
    piece = bytes(_PIECE)
    for _ in range(_BIG // _PIECE):
        yield piece


class Aiohttp:
    """The three deeds with aiohttp, set up as well as we know."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(auto_decompress=False, read_bufsize=1 << 20)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._session.close()

    async def small(self) -> int:
        async with self._session.get(f"{self.url}/small", allow_redirects=False) as answer:
            return len(await answer.read())

    async def down(self) -> int:
        async with self._session.get(f"{self.url}/big") as answer:
            return sum([len(p) async for p in answer.content.iter_chunked(1 << 20)])

    async def up(self) -> int:
        headers = {"Content-Length": str(_BIG)}
        async with self._session.put(f"{self.url}/up", data=pieces(), headers=headers) as answer:
            return answer.status


class Pyreqwest:
    """The three deeds with pyreqwest, as `stores/remote/transport.py` sets it up."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def __aenter__(self) -> Self:
        plain = ClientBuilder().http1_only().follow_redirects(False).no_proxy()
        plain = plain.gzip(False).brotli(False).zstd(False).deflate(False)
        self._client = plain.build()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._client.close()

    async def small(self) -> int:
        request = self._client.get(f"{self.url}/small").streamed_read_buffer_limit(0)
        async with request.build_streamed() as answer:
            return len(bytes(await answer.body_reader.read(64 << 10) or b""))

    async def down(self) -> int:
        request = self._client.get(f"{self.url}/big").streamed_read_buffer_limit(0)
        count = 0
        async with request.build_streamed() as answer:
            while (piece := await answer.body_reader.read(1 << 20)) is not None:
                count += len(bytes(piece))
        return count

    async def up(self) -> int:
        request = self._client.put(f"{self.url}/up").header("Content-Length", str(_BIG))
        async with request.body_stream(pieces()).build_streamed() as answer:
            return answer.status


async def timed(deed: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Wall and CPU seconds of a deed."""
    wall, cpu = time.perf_counter(), time.process_time()
    await deed()
    return time.perf_counter() - wall, time.process_time() - cpu


async def measure(name: str, client: Any, samples: Samples) -> None:
    """One round of one library."""

    async def in_a_row() -> None:
        for _ in range(_REQUESTS):
            assert await client.small() == len(_SMALL)

    async def at_once() -> None:
        async def some() -> None:
            for _ in range(_REQUESTS // 16):
                await client.small()

        async with asyncio.TaskGroup() as group:
            for _ in range(16):
                group.create_task(some())

    opened: AbstractAsyncContextManager[Any] = client
    async with opened:
        await client.small()
        wall, _ = await timed(in_a_row)
        samples.add(name, "small GET, 1 at a time", _REQUESTS / wall)
        wall, cpu = await timed(at_once)
        samples.add(name, "small GET, 16 at once", _REQUESTS / wall)
        samples.add(name, "small GET, 16 at once, CPU", cpu / _REQUESTS * 1e6)
        for deed, label, expected in (
            (client.down, "100 MB down", _BIG),
            (client.up, "100 MB up", 201),
        ):
            assert await deed() == expected
            wall, cpu = await timed(deed)
            samples.add(name, label, _BIG / 1e6 / wall)
            samples.add(name, f"{label}, CPU", cpu * 1e3)


def import_cost(statement: str) -> float:
    """Milliseconds of CPU that a fresh interpreter spends on an import."""
    code = f"import time; t = time.process_time(); {statement}; print(time.process_time() - t)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(run.stdout) * 1e3


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and write bench/results/client.md."""
    parser = argparse.ArgumentParser(prog="bench.client", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", type=int, default=0, help=argparse.SUPPRESS)
    options, _others = parser.parse_known_args(argv)
    if options.serve:
        uvloop.run(serve(options.serve))
        return 0
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    facts, samples = machine(), Samples()
    command = [sys.executable, "-m", "bench.client", "--serve", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        url = f"http://127.0.0.1:{port}"
        try:
            interleaved(
                {
                    "aiohttp": lambda: one_round("aiohttp", Aiohttp(url), samples),
                    "pyreqwest": lambda: one_round("pyreqwest", Pyreqwest(url), samples),
                },
                options.rounds,
            )
        finally:
            server.kill()
    versions = {name: version(name) for name in ("aiohttp", "pyreqwest")}
    parts = [table(samples, METRICS, "pyreqwest", "aiohttp")]
    page = write("client", "HTTP clients", parts, {**facts, **versions}, samples)
    print(page.read_text())
    return 0


def one_round(name: str, client: Any, samples: Samples) -> None:
    """Import in a fresh process, then everything else."""
    samples.add(name, "import", import_cost(_IMPORTS[name]))
    asyncio.run(measure(name, client, samples))


if __name__ == "__main__":
    sys.exit(main())
