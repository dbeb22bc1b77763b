"""A registry that follows a script, over a real loopback socket.

A test lists the requests it expects and the replies they get, in order; replies can
break off, lie about their length, stall, or come before the request's body was read.
Leaving the context fails the test if a request came that was not expected, or if one
that was did not come.

    async with Scripted([Step("GET", "/v2/", Reply(200))]) as registry:
        ... registry.host ...
    assert registry.seen[0].headers["accept"] == "*/*"
"""

import asyncio
import json
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it came in; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer. `cut`, `length`, `stall` and the read_* fields are how it goes wrong."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0  # seconds before the answer
    length: int | None = None  # the Content-Length to claim
    cut: int | None = None  # break the connection after this many bytes of the body
    stall: int | None = None  # send nothing more after this many bytes of the body
    read: int | None = None  # read only this much of the request's body
    hang_up: bool = False  # break the connection instead of answering


Answer = Reply | Callable[[Seen], Reply]


@dataclass(frozen=True, slots=True)
class Step:
    """An expected request, by method and path (a pattern when `pattern`), and its reply."""

    method: str
    path: str
    reply: Answer = Reply()
    pattern: bool = False

    def matches(self, method: str, target: str) -> bool:
        path = target if "?" in self.path else urlsplit(target).path
        wanted = re.fullmatch(self.path, path) if self.pattern else self.path == path
        return self.method == method and bool(wanted)


def refusal(status: int, code: str, message: str = "no", **headers: str) -> Reply:
    """An error reply with the body the distribution-spec prescribes."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    named = {k.replace("_", "-"): v for k, v in headers.items()}
    return Reply(status, body, {"Content-Type": "application/json", **named})


def as_json(value: Any, status: int = 200, **headers: str) -> Reply:
    """A JSON reply."""
    named = {k.replace("_", "-"): v for k, v in headers.items()}
    body = json.dumps(value).encode()
    return Reply(status, body, {"Content-Type": "application/json", **named})


class Scripted:
    """The server. `ordered=False` turns the steps into standing rules: the first that fits answers."""

    def __init__(
        self,
        steps: Sequence[Step] = (),
        *,
        ordered: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.steps = list(steps)
        self.seen: list[Seen] = []
        self.unexpected: list[str] = []
        self.broken = 0  # connections the client broke off amid a request
        self._ordered = ordered
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accepted, "127.0.0.1", 0, ssl=self._tls, limit=1 << 20
        )
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if self._tls else 'http'}://{self.host}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if error is None:
            assert not self.unexpected, f"unexpected requests: {self.unexpected}"
            if self._ordered:
                assert not self.steps, f"requests that did not come: {self.steps}"

    def requests(self) -> list[str]:
        """What came, as `METHOD /path`."""
        return [f"{s.method} {s.path}" for s in self.seen]

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            self.broken += 1
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return False  # closed between two requests: no offence
        first, *lines = head.rstrip().split("\r\n")
        method, target, _version = first.split(" ")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        reply = self._next(method, target)
        limit = reply.read if isinstance(reply, Reply) else None
        body = await _body(reader, headers, limit)
        seen = Seen(method, target, headers, body)
        self.seen.append(seen)
        if not isinstance(reply, Reply):
            reply = reply(seen)
        return await _send(writer, reply, head=method == "HEAD")

    def _next(self, method: str, target: str) -> Answer:
        candidates = self.steps[:1] if self._ordered else self.steps
        step = next((s for s in candidates if s.matches(method, target)), None)
        if step is None:
            self.unexpected.append(f"{method} {target}")
            return refusal(400, "UNEXPECTED", f"the script does not have {method} {target}")
        if self._ordered:
            self.steps.pop(0)
        return step.reply


async def _body(
    reader: asyncio.StreamReader, headers: Mapping[str, str], limit: int | None
) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        parts = []
        while size := int(await reader.readline(), 16):
            parts.append((await reader.readexactly(size + 2))[:-2])
        await reader.readline()
        return b"".join(parts)
    length = int(headers.get("content-length", "0"))
    return await reader.readexactly(length if limit is None else min(limit, length))


async def _send(writer: asyncio.StreamWriter, reply: Reply, *, head: bool) -> bool:
    if reply.delay:
        await asyncio.sleep(reply.delay)
    if reply.hang_up:
        return False
    headers = {**reply.headers}
    length = len(reply.body) if reply.length is None else reply.length
    if reply.status != 204 and "Content-Length" not in headers:
        headers["Content-Length"] = str(length)
    lines = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    writer.write(f"HTTP/1.1 {reply.status} Scripted\r\n{lines}\r\n".encode("latin-1"))
    stop = reply.cut if reply.stall is None else reply.stall
    if not head:
        writer.write(reply.body[:stop])
    await writer.drain()
    if reply.stall is not None:
        await asyncio.sleep(3600)
    whole = reply.read is None and reply.cut is None
    if not whole:
        await asyncio.sleep(0.02)  # an abort may not overtake what was sent
    return (whole and length == len(reply.body)) or head
