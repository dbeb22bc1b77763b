"""Loading an image into a running Docker engine through its API; no archive on disk.

What `docker load` reads is sent as it is made. An image that the engine has is only
named. Of an image that shares its lower layers with what the name stood for so far,
only the layers above are sent: the engine looks a layer up by its chain before it
opens the file (moby image/tarexport/load.go). An engine that wants them all the same
(one with containerd's store) is sent everything.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import quote, urlsplit

from argosy.build.layers.header import BLOCK, END, Entry, pack_header
from argosy.content.store import Source
from argosy.content.verify import read, verified
from argosy.errors import BuildError, UsageError
from argosy.model.config import parse_config
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.manifest import Manifest, parse_manifest
from argosy.model.reference import Reference
from argosy.values import frozen

_DEFAULT = "unix:///var/run/docker.sock"
_LARGEST_ANSWER = 4 << 20


@frozen(kw_only=True)
class Loadable:
    """An image of one platform, to be loaded: its manifest's descriptor, and where its parts are."""

    manifest: Descriptor
    source: Source
    names: Sequence[Reference]


@frozen
class DockerEngine:
    """The engine at an address: `unix://PATH` or `tcp://HOST:PORT`, as DOCKER_HOST has it."""

    address: str

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "DockerEngine":
        """The one that the docker command would talk to by DOCKER_HOST; UsageError for ssh and TLS."""
        address = environ.get("DOCKER_HOST") or _DEFAULT
        if not address.startswith(("unix://", "tcp://")) or environ.get("DOCKER_TLS_VERIFY"):
            raise UsageError(
                f"cannot load into the Docker engine at {address}",
                why="only unix:// and plain tcp:// are spoken here",
                remedy="write -o type=docker,dest=- and pipe it into `docker load`",
            )
        return cls(address)

    async def load(self, image: Loadable) -> int:
        """Load and name it; how many layers were sent. BuildError says what the engine said."""
        manifest = parse_manifest(await read(image.source, image.manifest))
        if not isinstance(manifest, Manifest):
            raise BuildError("only the image of one platform can be loaded into Docker")
        config = await read(image.source, manifest.config)
        diff_ids = parse_config(config).diff_ids
        sent = 0
        if await self._diff_ids(str(manifest.config.digest)) is None:
            shared = await self._shared(image.names, diff_ids)
            parts = _Parts(image.source, manifest, config, diff_ids)
            sent = await self._send(parts, shared)
        for name in image.names:
            await self._name(str(manifest.config.digest), name)
        return sent

    async def _send(self, parts: "_Parts", shared: int) -> int:
        problem = await self._load(parts, shared)
        if problem and shared:
            shared, problem = 0, await self._load(parts, 0)
        if problem:
            raise BuildError("the Docker engine did not load the image", why=problem)
        return len(parts.diff_ids) - shared

    async def _load(self, parts: "_Parts", shared: int) -> str:
        status, body = await self._ask("POST", "/images/load?quiet=1", parts.tar(shared))
        if status != 200:
            return _message(body)
        errors = [found["error"] for line in body.splitlines() if "error" in (found := _json(line))]
        return str(errors[0]) if errors else ""

    async def _shared(self, names: Sequence[Reference], wanted: Sequence[Digest]) -> int:
        """How many layers from the bottom an image under one of the names has already."""
        best = 0
        for name in names:
            have = await self._diff_ids(_short(name)) or []
            same = [a == b for a, b in zip(have, wanted, strict=False)]
            best = max(best, [*same, False].index(False))
        return best

    async def _diff_ids(self, image: str) -> list[str] | None:
        status, body = await self._ask("GET", f"/images/{quote(image)}/json")
        if status == 404:
            return None
        if status != 200:
            raise BuildError("the Docker engine did not answer", why=_message(body))
        layers = (_json(body).get("RootFS") or {}).get("Layers")
        return list(layers or [])

    async def _name(self, image: str, name: Reference) -> None:
        query = f"repo={quote(_repository(name), safe='')}&tag={quote(name.tag)}"
        status, body = await self._ask("POST", f"/images/{image}/tag?{query}")
        if status != 201:
            raise BuildError(f"the Docker engine did not name the image {name}", why=_message(body))

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        where = urlsplit(self.address)
        try:
            if where.scheme == "unix":
                reader, writer = await asyncio.open_unix_connection(where.path)
            else:
                host, port = where.hostname or "127.0.0.1", where.port or 2375
                reader, writer = await asyncio.open_connection(host, port)
        except OSError as e:
            raise BuildError(
                f"no Docker engine answers at {self.address}",
                why=os.strerror(e.errno) if e.errno else str(e),
                remedy="start it, set DOCKER_HOST, or keep the image here with --load",
            ) from e
        try:
            yield reader, writer
        finally:
            writer.close()

    async def _ask(
        self, method: str, path: str, body: AsyncIterator[bytes] | None = None
    ) -> tuple[int, bytes]:
        """One request on a connection of its own, closed by the engine: HTTP/1.1, chunked."""
        async with self._connected() as (reader, writer):
            head = f"{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n"
            if body is None:
                head += "Content-Length: 0\r\n\r\n"
            else:
                head += "Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n"
            writer.write(head.encode())
            with suppress(BrokenPipeError, ConnectionResetError):  # it answered early and says why
                await _send(writer, body)
            return await _answer(reader)


async def _send(writer: asyncio.StreamWriter, body: AsyncIterator[bytes] | None) -> None:
    if body is not None:
        async for piece in body:
            writer.write(b"%x\r\n" % len(piece))
            writer.write(piece)
            writer.write(b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")
    await writer.drain()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        body = await reader.read(_LARGEST_ANSWER)
        while piece := await reader.read(_LARGEST_ANSWER):
            body += piece
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as e:
        raise BuildError("the Docker engine broke off its answer", why=str(e)) from e
    status = int(head.split(" ", 2)[1])
    return status, _unchunked(body) if "transfer-encoding: chunked" in head else body


def _unchunked(body: bytes) -> bytes:
    out = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        count = int(size.split(b";")[0] or b"0", 16)
        if not count:
            break
        out, body = out + rest[:count], rest[count + 2 :]
    return out


@frozen
class _Parts:
    """What an archive of `docker save` is made of."""

    source: Source
    manifest: Manifest
    config: bytes
    diff_ids: Sequence[Digest]

    async def tar(self, shared: int) -> AsyncIterator[bytes]:
        """The archive without the files of the lowest `shared` layers."""
        for n, (layer, diff_id) in enumerate(zip(self.manifest.layers, self.diff_ids, strict=True)):
            if n < shared or diff_id in self.diff_ids[:n]:
                continue
            yield pack_header(_entry(_file(diff_id), layer.size))
            async with self.source.open(layer) as body:
                async for piece in verified(layer, body):
                    if piece:
                        yield bytes(piece)
            if rest := -layer.size % BLOCK:
                yield bytes(rest)
        name = f"{self.manifest.config.digest.hex}.json"
        layers = [_file(d) for d in self.diff_ids]
        told = [{"Config": name, "RepoTags": None, "Layers": layers}]
        for path, content in ((name, self.config), ("manifest.json", json.dumps(told).encode())):
            yield pack_header(_entry(path, len(content))) + content + bytes(-len(content) % BLOCK)
        yield END


def _entry(name: str, size: int) -> Entry:
    return Entry(name=name.encode(), kind="file", mode=0o644, size=size, stored=size)


def _file(diff_id: Digest) -> str:
    return f"{diff_id.hex}/layer.tar"


def _short(name: Reference) -> str:
    return f"{_repository(name)}:{name.tag}"


def _repository(name: Reference) -> str:
    return name.locator.removeprefix("docker.io/library/").removeprefix("docker.io/")


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _message(body: bytes) -> str:
    return str(_json(body).get("message") or body.decode(errors="replace")[:300])
