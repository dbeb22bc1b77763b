"""Image archives: a tar that holds an OCI layout (`oci-archive`) or what `docker save` writes.

Reading is random access into the tar; nothing is unpacked. Writing collects the
blobs in a directory beside the target and packs them when the context ends well,
so that the archive appears whole or not at all, with the same bytes for the same
content.
"""

import io
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, BinaryIO, cast

from argosy.concurrency import in_thread, in_thread_to_end
from argosy.errors import ArchiveInvalid, NotFound
from argosy.model.descriptor import Descriptor
from argosy.model.digest import HEX_LENGTH, Digest, is_digest
from argosy.stores.docker_archive import docker_manifest, read_docker_images
from argosy.stores.layout import OCILayout, check_header
from argosy.stores.layout_index import (
    LARGEST_MANIFEST,
    LayoutIndex,
    ManifestView,
    describe,
    find_referrers,
    view_manifest,
)
from argosy.stores.local_file import FilePieces, storage_errors
from argosy.stores.tarball import Extent, TarMembers, TarWriter

_GZIP = b"\x1f\x8b"
_SMALL = 16 << 20  # bytes; index.json and manifest.json of real archives are far below


class Archive:
    """An open archive as a Source. `read_archive` makes it."""

    def __init__(self, path: str, file: BinaryIO) -> None:
        """Read the table of contents (blocking)."""
        self.path = path
        self._file = file
        self._members = TarMembers.scan(file, path)
        self._held: dict[Digest, bytes] = {}  # manifests made up for archives that have none
        self._extents = self._blobs()
        self._index = self._read_index()
        self._views: dict[Digest, ManifestView | None] = {}

    # Source

    async def resolve(self, ref: str) -> Descriptor:
        """The manifest a name or digest stands for; an empty ref is the only image."""
        found = self._index.find(ref)
        if found is None and is_digest(ref):
            digest = Digest.parse(ref)
            body = await in_thread(self._read_small, digest)
            found = describe(digest, body) if body else None
        if found is None:
            names = ", ".join(self._index.names()[:10])
            raise NotFound(
                f"no image {ref!r} in {self.path}",
                why="it has: " + (names or "no named image"),
            )
        return found

    async def exists(self, desc: Descriptor) -> bool:
        """Whether the bytes are in the archive, in the right number."""
        held = self._held.get(desc.digest)
        extent = self._extents.get(desc.digest)
        size = len(held) if held is not None else extent.size if extent is not None else -1
        return size == desc.size

    @asynccontextmanager
    async def open(
        self, desc: Descriptor, *, start: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes from offset `start`; those from the tar are also a LocalFile."""
        if (held := self._held.get(desc.digest)) is not None:
            yield _once(held[start:])
        elif (extent := self._extents.get(desc.digest)) is not None:
            end = extent.offset + extent.size
            fd = self._file.fileno()
            yield FilePieces(f"/proc/self/fd/{fd}", fd, min(extent.offset + start, end), end)
        else:
            raise NotFound(f"no blob {desc.digest} in {self.path}")

    # Abilities

    async def tags(self) -> AsyncIterator[str]:
        """Every name, in lexical order."""
        for name in self._index.names():
            yield name

    async def referrers(self, digest: Digest, artifact_type: str = "") -> Sequence[Descriptor]:
        """The manifests listed, or below a listed index, whose subject is `digest`."""
        return await in_thread(
            find_referrers, self._index.listed(), digest, artifact_type, self._view
        )

    # What follows blocks: it runs in threads.

    def _blobs(self) -> dict[Digest, Extent]:
        found = {}
        for algorithm, length in HEX_LENGTH.items():
            for name, extent in self._members.under(f"blobs/{algorithm}"):
                if len(name) == length:
                    found[Digest(f"{algorithm}:{name}")] = extent
        return found

    def _read_index(self) -> LayoutIndex:
        layout = self._small("index.json")
        docker = self._small("manifest.json")
        if layout is None and docker is None:
            raise ArchiveInvalid(
                f"{self.path} holds no image",
                why="it has neither an index.json (OCI) nor a manifest.json (docker save)",
                remedy="use an archive of docker save, podman save, skopeo or argosy save",
            )
        if (header := self._small("oci-layout")) is not None:
            check_header(header, self.path)
        index = LayoutIndex.parse(layout, self.path) if layout else LayoutIndex.empty(self.path)
        if docker is None:
            return index
        images = read_docker_images(docker, self._members, self._file, self.path)
        for image in images:
            index = image.listed_in(index, self._read_small)
            self._held |= image.made
            self._extents |= image.blobs
        return index

    def _small(self, name: str) -> bytes | None:
        extent = self._members.find(name)
        return _read(self._file, extent, _SMALL, name) if extent is not None else None

    def _read_small(self, digest: Digest) -> bytes:
        if (held := self._held.get(digest)) is not None:
            return held
        extent = self._extents.get(digest)
        if extent is None or extent.size > LARGEST_MANIFEST:
            return b""
        return _read(self._file, extent, LARGEST_MANIFEST, str(digest))

    def _view(self, desc: Descriptor) -> ManifestView | None:
        if desc.digest not in self._views:
            self._views[desc.digest] = view_manifest(desc, self._read_small(desc.digest))
        return self._views[desc.digest]


def _read(file: BinaryIO, extent: Extent, limit: int, name: str) -> bytes:
    if extent.size > limit:
        raise ArchiveInvalid(f"{name} in the archive has {extent.size} bytes: too many")
    return os.pread(file.fileno(), extent.size, extent.offset)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


@asynccontextmanager
async def read_archive(path: str) -> AsyncIterator[Archive]:
    """An archive of either kind as a Source; gzip and pipes are unrolled into a temporary file.

    NotFound if there is no such file, ArchiveInvalid if it is damaged or no image archive.
    """
    async with AsyncExitStack() as stack:
        with storage_errors(f"read {path}"):
            try:
                file = await in_thread_to_end(partial(_seekable, path))
            except FileNotFoundError as e:
                remedy = "check the path"
                raise NotFound(f"there is no archive {path}", remedy=remedy) from e
            stack.callback(file.close)
            archive = await in_thread(Archive, path, file)
        yield archive


def _seekable(path: str) -> BinaryIO:
    file = open(path, "rb", buffering=0)  # noqa: SIM115 - the caller closes it
    try:
        regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        if regular and os.pread(file.fileno(), 2, 0) != _GZIP:
            return file
        with file:
            return _unrolled(file, path, beside=os.path.dirname(path) if regular else None)
    except BaseException:
        file.close()
        raise


def _unrolled(file: BinaryIO, path: str, *, beside: str | None) -> BinaryIO:
    import isal.igzip  # noqa: PLC0415 - only what is used is loaded

    igzip: Any = isal.igzip  # its stubs are partial
    spool = cast("BinaryIO", tempfile.TemporaryFile(dir=_writable(beside)))  # noqa: SIM115
    try:
        with io.BufferedReader(cast("io.RawIOBase", file)) as buffered:
            packed = buffered.peek(2)[:2] == _GZIP
            plain: Any = igzip.IGzipFile(fileobj=buffered) if packed else buffered
            with plain:
                shutil.copyfileobj(plain, spool, 1 << 20)
        spool.flush()
    except (EOFError, igzip.BadGzipFile, igzip.isal_zlib.error) as e:
        spool.close()
        raise ArchiveInvalid(f"{path} is a damaged gzip file", why=str(e)) from e
    except BaseException:
        spool.close()
        raise
    return spool


def _writable(folder: str | None) -> str | None:
    folder = folder or None
    return folder if folder and os.access(folder, os.W_OK) else None


@asynccontextmanager
async def write_archive(path: str, *, docker: bool = False) -> AsyncIterator[OCILayout]:
    """A Store that becomes the archive `path` when the context ends well; replaces what was there.

    With `docker` also `docker load` of any version and `podman load` take it: an
    index is then loaded as its image for this machine. Nothing put, nothing written.
    """
    target = os.path.abspath(path)
    special = os.path.exists(target) and not os.path.isfile(target)
    with storage_errors(f"write {path}"):
        staging = await in_thread(
            tempfile.mkdtemp,
            prefix=f".{os.path.basename(target)}.",
            dir=None if special else os.path.dirname(target),
        )
    try:
        store = OCILayout(os.path.join(staging, "layout"), durable=False)
        yield store
        with storage_errors(f"write {path}"):
            packed = await in_thread_to_end(
                partial(_pack, store, os.path.join(staging, "tar"), docker=docker)
            )
            if packed and special:
                await in_thread_to_end(partial(_pour, packed, target))
            elif packed:
                await in_thread(os.rename, packed, target)
    finally:
        await in_thread(shutil.rmtree, staging, ignore_errors=True)


def _pack(store: OCILayout, path: str, *, docker: bool) -> str:
    """Write the archive; its path, or empty if there is nothing to write."""
    index = store.index().ordered()
    if not index.listed():
        return ""
    with open(path, "wb") as file:
        tar = TarWriter(file)
        tar.content("oci-layout", _header(store))
        tar.content("index.json", (index.with_full_names() if docker else index).dump())
        if docker:
            tar.content("manifest.json", docker_manifest(store, index))
        tar.folder("blobs")
        for algorithm in HEX_LENGTH:
            folder = os.path.join(store.path, "blobs", algorithm)
            names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
            if names:
                tar.folder(f"blobs/{algorithm}")
            for name in names:
                tar.file(f"blobs/{algorithm}/{name}", os.path.join(folder, name))
        tar.close()
        os.fsync(file.fileno())
    return path


def _header(store: OCILayout) -> bytes:
    with open(os.path.join(store.path, "oci-layout"), "rb") as file:
        return file.read()


def _pour(source: str, target: str) -> None:
    with open(source, "rb") as file, open(target, "wb") as out:
        shutil.copyfileobj(file, out, 1 << 20)
