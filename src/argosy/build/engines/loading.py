"""`--load=ENGINE`: into a container engine of this machine, without an archive on disk.

Docker by its API (`docker_engine`), podman by letting it read the local images, which
are an OCI layout: it takes over only the layers it has not. containerd reads an
archive that is made while it reads. What an engine has already is only named.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal, Protocol, Self, get_args, runtime_checkable

from argosy.build.engines.docker import DockerEngine, Loadable
from argosy.build.layers.header import BLOCK, END, Entry, pack_header
from argosy.content.graph import manifest
from argosy.content.store import Source
from argosy.errors import BuildError, UsageError
from argosy.model.descriptor import Descriptor
from argosy.model.manifest import Index, Manifest, dump
from argosy.model.platform import Platform, best_match
from argosy.model.reference import Reference
from argosy.values import frozen

Kind = Literal["docker", "podman", "containerd"]


@runtime_checkable
class _OnDisk(Protocol):
    path: str  # of an OCI layout


@frozen
class EngineName:
    """Which engine; for containerd in which namespace."""

    kind: Kind
    namespace: str = ""

    def __str__(self) -> str:
        """As `parse` reads it."""
        return f"{self.kind},namespace={self.namespace}" if self.namespace else self.kind

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `docker`, `podman`, `containerd` or `containerd,namespace=k8s.io`; UsageError."""
        name, *rest = text.split(",")
        for kind in get_args(Kind):
            if kind == name and not rest:
                return cls(kind)
            if kind == name == "containerd" and rest[0].startswith("namespace=") and len(rest) == 1:
                return cls(kind, rest[0].removeprefix("namespace="))
        raise UsageError(
            f"--load={text} names no container engine",
            remedy=f"use {', '.join(get_args(Kind))}, or containerd,namespace=NAME",
        )


@frozen(kw_only=True)
class Loading:
    """What is to be loaded: the local images have it under its names."""

    image: Descriptor
    names: Sequence[Reference]
    images: Source
    environ: Mapping[str, str]

    async def into(self, engine: EngineName) -> None:
        """Bring it into an engine. BuildError says what the engine said."""
        if engine.kind == "docker":
            image = Loadable(
                manifest=await one_platform(self.images, self.image),
                source=self.images,
                names=self.names,
            )
            await DockerEngine.of(self.environ).load(image)
        elif engine.kind == "podman":
            await self._into_podman()
        else:
            await self._into_containerd(engine.namespace or "default")

    async def _into_podman(self) -> None:
        if not isinstance(self.images, _OnDisk) or not self.names:
            raise UsageError("podman takes only named images", remedy="name the image with --tag")
        first = self.names[0]
        place = f"oci:{os.path.abspath(self.images.path)}:{first}"
        found = (await _run(self._podman("pull", "--quiet", place))).decode().split()
        await _run(self._podman("tag", found[-1], *map(str, self.names)))

    def _podman(self, *words: str) -> list[str]:
        return ["podman", *words]

    async def _into_containerd(self, namespace: str) -> None:
        if not self.names:
            raise UsageError("containerd takes only named images", remedy="add --tag")
        address = self.environ.get("CONTAINERD_ADDRESS", "")
        ctr = ["ctr", *(["-a", address] if address else []), "-n", namespace, "images"]
        listed = (await _run([*ctr, "ls", "-q"])).decode().split()
        digests = (await _run([*ctr, "ls"])).decode()
        if all(str(n) in listed for n in self.names) and str(self.image.digest) in digests:
            return  # it is there; naming is by digest, so nothing moves
        words = [*ctr, "import", "--all-platforms", "--digests=false", "-"]
        await _run(words, oci_tar(self.images, self.image, self.names))


async def one_platform(source: Source, root: Descriptor) -> Descriptor:
    """The image for this machine, else the only one; UsageError if the engine cannot choose."""
    view = await manifest(source, root)
    if not isinstance(view, Index):
        return root
    have = [(d.platform, d) for d in view.manifests if d.platform and d.platform.is_known]
    found = best_match(Platform.host(), have) or (have[0][1] if len(have) == 1 else None)
    if found is None:
        raise UsageError(
            f"none of the platforms is that of this machine, {Platform.host()}",
            remedy="load one with --platform",
        )
    return found


async def oci_tar(
    source: Source, root: Descriptor, names: Sequence[Reference]
) -> AsyncIterator[bytes]:
    """An OCI layout as a tar, made while it is read; each blob once."""
    entries = [
        {**root.to_json(), "annotations": {"io.containerd.image.name": str(n)}} for n in names
    ]
    index = dump({"schemaVersion": 2, "manifests": entries})
    for name, body in (("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", index)):
        yield _header(name, len(body)) + body + bytes(-len(body) % BLOCK)
    done = set()
    async for desc in _below(source, root):
        if desc.digest in done:
            continue
        done.add(desc.digest)
        yield _header(f"blobs/{desc.digest.algorithm}/{desc.digest.hex}", desc.size)
        async with source.open(desc) as pieces:
            async for piece in pieces:
                yield bytes(piece)
        yield bytes(-desc.size % BLOCK)
    yield END


async def _below(source: Source, root: Descriptor) -> AsyncIterator[Descriptor]:
    view = await manifest(source, root)
    yield root
    if isinstance(view, Index):
        for entry in view.manifests:
            async for desc in _below(source, entry):
                yield desc
    elif isinstance(view, Manifest):
        for desc in (view.config, *view.layers):
            yield desc


def _header(name: str, size: int) -> bytes:
    return pack_header(Entry(name=name.encode(), kind="file", size=size, stored=size))


async def _run(words: Sequence[str], body: AsyncIterator[bytes] | None = None) -> bytes:
    if shutil.which(words[0]) is None:
        raise BuildError(f"there is no {words[0]} to load the image with", remedy="install it")
    child = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE if body else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.TaskGroup() as group:
            said = group.create_task(_both(child))
            if body is not None:
                group.create_task(_feed(child, body))
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    out, problem = said.result()
    if child.returncode:
        raise BuildError(f"{words[0]} did not load the image", why=problem.decode()[-500:].strip())
    return out


async def _both(child: asyncio.subprocess.Process) -> tuple[bytes, bytes]:
    assert child.stdout is not None
    assert child.stderr is not None
    async with asyncio.TaskGroup() as group:
        out = group.create_task(child.stdout.read())
        problem = group.create_task(child.stderr.read())
    await child.wait()
    return out.result(), problem.result()


async def _feed(child: asyncio.subprocess.Process, body: AsyncIterator[bytes]) -> None:
    assert child.stdin is not None
    try:
        async for piece in body:
            child.stdin.write(piece)
            await child.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        pass  # what it says tells more
    child.stdin.close()
