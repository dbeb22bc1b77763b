"""The OCI layout directory: an image store that every tool of the field reads.

Source: OCI image-spec, image-layout.md. Several processes may use one layout at
once: blobs appear whole or not at all (temporary file, fsync, rename), and
index.json is replaced under a lock. Nothing needs repair after a crash; what an
interrupted put left behind is removed by a later one.

index.json lists what has a name, what was pinned, and every manifest with a
subject, so that referrers are found; manifests below an index are found by their
digest.
"""

import errno
import fcntl
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress

from argosy.claims import Claims
from argosy.concurrency import in_thread
from argosy.content.store import Body, Spare, Swapped
from argosy.errors import ManifestInvalid, NotFound, StorageError
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import HEX_LENGTH, Digest, is_digest
from argosy.model.manifest import dump, parse_manifest
from argosy.stores.incoming import INCOMING, receive, sweep, sync_directory, write_whole
from argosy.stores.layout_index import (
    LARGEST_MANIFEST,
    LayoutIndex,
    ManifestView,
    describe,
    find_referrers,
    view_manifest,
)
from argosy.stores.local_file import FilePieces, open_range, storage_errors

_HEADER_MAX = 4096  # bytes
_HEADER = dump({"imageLayoutVersion": "1.0.0"})
_STALE = 3600.0  # seconds without a byte after which an unfinished blob belongs to nobody


class OCILayout:
    """A directory as Source and Store. It is created by the first write.

    With `durable` False nothing is flushed to the disk: for directories that do
    not outlive the process. What is asked for or put is claimed in `claims`, so that
    `drop`, in whatever process, leaves it.
    """

    def __init__(self, path: str, *, durable: bool = True, claims: Claims | None = None) -> None:
        self.path = os.path.abspath(path)
        self._claims = claims
        self._durable = durable
        self._ready = False
        self._cached: tuple[tuple[int, int, int], LayoutIndex] | None = None
        self._views: dict[Digest, ManifestView | None] = {}

    # Source

    async def resolve(self, ref: str) -> Descriptor:
        """The manifest a name or digest stands for; an empty ref is the only image."""
        return await in_thread(self._resolve, ref)

    async def exists(self, desc: Descriptor) -> bool:
        """Whether the bytes are here, in the right number."""
        return await in_thread(self._has, desc)

    def open(self, desc: Descriptor, *, start: int = 0) -> AbstractAsyncContextManager[FilePieces]:
        """The bytes from offset `start`; also a LocalFile."""
        return open_range(self.blob_path(desc.digest), f"blob {desc.digest}", start=start)

    # Store

    async def put(self, desc: Descriptor, body: Body) -> None:
        """Keep the bytes if they are the descriptor's; what is here already is not read again."""
        if await in_thread(self._prepare_put, desc):
            return
        path = self.blob_path(desc.digest)
        await receive(desc, body, path, within=self._blobs, durable=self._durable)
        if media.is_manifest(desc.media_type):
            await in_thread(self._list_referrer, desc)

    async def tag(self, desc: Descriptor, ref: str) -> None:
        """Point a name at a manifest that is here; any text is a name, a full reference too."""
        await in_thread(self._list, desc, lambda index: index.named(desc, ref))

    # Abilities

    async def adopt(self, desc: Descriptor, path: str) -> bool:
        """Take over a file of the same file system, whose bytes were just hashed; else False."""
        return await in_thread(self._adopt, desc, path)

    async def forget_damage(self, digest: Digest) -> bool:
        """Remove a blob whose bytes are not its name's."""
        return await in_thread(self._forget_damage, digest)

    async def swap(self, desc: Descriptor, ref: str, expected: Digest | None) -> Swapped:
        """Point a name at a manifest, if it still stands for `expected`; under the layout's lock."""
        changed = False

        def change(index: LayoutIndex) -> LayoutIndex:
            nonlocal changed
            standing = index.find(ref)
            changed = (standing.digest if standing else None) != expected
            return index if changed else index.named(desc, ref)

        await in_thread(self._list, desc, change)
        return "changed" if changed else "done"

    async def pin(self, desc: Descriptor) -> None:
        """List a manifest without a name."""
        await in_thread(self._list, desc, lambda index: index.pinned(desc))

    async def tags(self) -> AsyncIterator[str]:
        """Every name, in lexical order."""
        for name in (await in_thread(self.index)).names():
            yield name

    async def referrers(self, digest: Digest, artifact_type: str = "") -> Sequence[Descriptor]:
        """The manifests listed, or below a listed index, whose subject is `digest`."""
        return await in_thread(self._referrers, digest, artifact_type)

    async def delete(self, ref: str) -> None:
        """Forget a name or, by digest, a manifest with its names. Its blobs stay."""
        await in_thread(self._delete, ref)

    async def collect(self) -> int:
        """Remove the blobs that nothing listed leads to; the number of them."""
        return await in_thread(self._collect)

    async def spare(self, roots: Collection[str] = ()) -> Sequence[Spare]:
        """The blobs that neither a listed manifest nor one of `roots` (digests) leads to."""
        return await in_thread(self._spare, roots)

    async def drop(self, digests: Collection[Digest], roots: Collection[str] = ()) -> int:
        """Remove those of these blobs that are spare still; the number of them."""
        return await in_thread(self._drop, digests, roots)

    # What follows blocks: it runs in threads.

    @property
    def _blobs(self) -> str:
        return os.path.join(self.path, "blobs")

    def blob_path(self, digest: Digest) -> str:
        """Where a blob is, or would be."""
        return os.path.join(self._blobs, digest.algorithm, digest.hex)

    def index(self) -> LayoutIndex:
        """index.json as it is now (blocking); parsed once as long as the file stays the same."""
        path = os.path.join(self.path, "index.json")
        with storage_errors(f"read {path}"):
            try:
                with open(path, "rb") as file:
                    found = os.fstat(file.fileno())
                    state = (found.st_mtime_ns, found.st_ino, found.st_size)
                    if self._cached is not None and self._cached[0] == state:
                        return self._cached[1]
                    body = file.read()
            except (FileNotFoundError, NotADirectoryError):
                return LayoutIndex.empty(self.path)
        self._check_version()
        index = LayoutIndex.parse(body, self.path)
        self._cached = (state, index)
        return index

    def _check_version(self) -> None:
        with suppress(FileNotFoundError), open(os.path.join(self.path, "oci-layout"), "rb") as file:
            check_header(file.read(_HEADER_MAX), self.path)

    def _resolve(self, ref: str) -> Descriptor:
        found = self.index().find(ref)
        if found is None and is_digest(ref):
            found = self._probe(Digest.parse(ref))
        if found is None or not self._has(found):
            raise self._nothing(ref, found)
        return found

    def _nothing(self, ref: str, listed: Descriptor | None) -> NotFound:
        if listed is not None:
            why = f"it is listed as {listed.digest}, but those bytes are missing"
        elif not os.path.isdir(self._blobs):
            why = "there is no OCI layout"
        else:
            names = self.index().names()
            why = "it has: " + (", ".join(names[:10]) or "no named image")
            why += f" and {len(names) - 10} more" if len(names) > 10 else ""
        return NotFound(f"no image {ref!r} in {self.path}", why=why)

    def _probe(self, digest: Digest) -> Descriptor | None:
        body = self.read_small(digest)
        return describe(digest, body) if body else None

    def read_small(self, digest: Digest) -> bytes:
        """The bytes of a blob that may be a manifest (blocking); none if it is absent or too large."""
        try:
            with open(self.blob_path(digest), "rb") as file:
                return file.read() if os.fstat(file.fileno()).st_size <= LARGEST_MANIFEST else b""
        except FileNotFoundError:
            return b""

    def _has(self, desc: Descriptor) -> bool:
        if self._claims is not None:
            with suppress(StorageError):  # who may not write there reads without
                self._claims.claim(desc.digest)
        try:
            return os.stat(self.blob_path(desc.digest)).st_size == desc.size
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _prepare_put(self, desc: Descriptor) -> bool:
        """True if the blob is here already; else its directory is."""
        if self._has(desc):
            return True
        with storage_errors(f"write to {self.path}"):
            self._create()
            os.makedirs(os.path.dirname(self.blob_path(desc.digest)), exist_ok=True)
        return False

    def _adopt(self, desc: Descriptor, path: str) -> bool:
        if media.is_manifest(desc.media_type):
            return False  # those are looked into
        if self._prepare_put(desc):
            return True
        with storage_errors(f"write to {self.path}"):
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(fd).st_size != desc.size:
                    return False
                os.fchmod(fd, 0o644)
                if self._durable:
                    os.fsync(fd)
                os.rename(path, self.blob_path(desc.digest))
            except OSError as e:
                if e.errno != errno.EXDEV:
                    raise
                return False
            finally:
                os.close(fd)
        return True

    def _forget_damage(self, digest: Digest) -> bool:
        path = self.blob_path(digest)
        with storage_errors(f"read {path}"):
            try:
                with open(path, "rb") as file:
                    state = digest.hasher()
                    while piece := file.read(1 << 20):
                        state.update(piece)
                if Digest.from_hash(state) == digest:
                    return False
                os.unlink(path)
            except FileNotFoundError:
                return False
        return True

    def _create(self) -> None:
        if self._ready:
            return
        os.makedirs(self._blobs, exist_ok=True)
        sweep(self._blobs, older_than=time.time() - _STALE)
        # The header goes last: where it is, everything is.
        for name, body in (("index.json", LayoutIndex.empty("").dump()), ("oci-layout", _HEADER)):
            path = os.path.join(self.path, name)
            if not os.path.exists(path):
                write_whole(path, body, durable=self._durable, replace=False)
        self._ready = True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # The header is made once and never replaced, so it is what everybody can lock.
        fd = os.open(os.path.join(self.path, "oci-layout"), os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _change(self, change: Callable[[LayoutIndex], LayoutIndex]) -> bool:
        """Replace index.json by what `change` makes of it; False if it makes nothing of it."""
        with storage_errors(f"write to {self.path}"):
            self._create()
            with self._locked():
                before = self.index()
                after = change(before)
                if after is before:
                    return False
                self._sync_blobs()
                path = os.path.join(self.path, "index.json")
                write_whole(path, after.dump(), durable=self._durable, replace=True)
                return True

    def _sync_blobs(self) -> None:
        # A name must not survive a power cut that the blobs it stands for did not.
        for algorithm in HEX_LENGTH if self._durable else ():
            with suppress(FileNotFoundError):
                sync_directory(os.path.join(self._blobs, algorithm))

    def _list(self, desc: Descriptor, change: Callable[[LayoutIndex], LayoutIndex]) -> None:
        if not self._has(desc):
            raise NotFound(f"no manifest {desc.digest} in {self.path} to list")
        if not media.is_manifest(desc.media_type):
            raise ManifestInvalid(
                f"{desc.digest} is {desc.media_type!r}: only manifests have names"
            )
        self._change(change)

    def _list_referrer(self, desc: Descriptor) -> None:
        view = self._view(desc)
        if view is not None and view.subject is not None:
            self._change(lambda index: index.pinned(desc))

    def _view(self, desc: Descriptor) -> ManifestView | None:
        if not os.path.exists(self.blob_path(desc.digest)):
            return None
        if desc.digest not in self._views:
            self._views[desc.digest] = view_manifest(desc, self.read_small(desc.digest))
        return self._views[desc.digest]

    def _referrers(self, digest: Digest, artifact_type: str) -> list[Descriptor]:
        return find_referrers(self.index().listed(), digest, artifact_type, self._view)

    def _delete(self, ref: str) -> None:
        gone = os.path.isdir(self.path) and self._change(lambda index: index.without(ref))
        if is_digest(ref) and (gone or self._probe(Digest.parse(ref)) is not None):
            with suppress(FileNotFoundError), storage_errors(f"delete {ref}"):
                os.unlink(self.blob_path(Digest.parse(ref)))
        elif not gone:
            raise self._nothing(ref, None)

    def _collect(self) -> int:
        with storage_errors(f"clean up {self.path}"), self._locked():
            needed = self._needed()
            spare = [digest for digest in self._digests() if digest not in needed]
            for digest in spare:
                os.unlink(self.blob_path(digest))
            return len(spare)

    def _digests(self) -> Iterator[Digest]:
        for algorithm, length in HEX_LENGTH.items():
            folder = os.path.join(self._blobs, algorithm)
            for name in os.listdir(folder) if os.path.isdir(folder) else ():
                if len(name) == length:
                    yield Digest(f"{algorithm}:{name}")

    def _spare(self, roots: Collection[str]) -> list[Spare]:
        with storage_errors(f"read {self.path}"):
            needed = self._needed(roots)
            found = []
            for digest in self._digests():
                if digest not in needed:
                    with suppress(FileNotFoundError):
                        state = os.stat(self.blob_path(digest))
                        found.append(Spare(digest, state.st_blocks * 512, state.st_mtime))
            return found

    def _drop(self, digests: Collection[Digest], roots: Collection[str]) -> int:
        gone = []
        with storage_errors(f"clean up {self.path}"):
            if not os.path.isfile(os.path.join(self.path, "oci-layout")):
                return 0
            with self._locked():
                needed = self._needed(roots)
                for digest in [*self._heads(needed), *(d for d in digests if d not in needed)]:
                    # A name that is swept, should this process end now: removing takes time.
                    away = os.path.join(self._blobs, f"{INCOMING}{digest.hex}")
                    with suppress(FileNotFoundError):
                        os.rename(self.blob_path(digest), away)
                        gone.append(away)
            for path in gone:
                with suppress(FileNotFoundError):
                    os.unlink(path)
        return len(gone)

    def _heads(self, needed: Collection[Digest]) -> list[Digest]:
        """The manifests among the spare blobs, indexes first.

        They go before anything else: a store that has a manifest has all below it.
        """
        found = [self._probe(digest) for digest in self._digests() if digest not in needed]
        heads = [desc for desc in found if desc is not None]
        heads.sort(key=lambda desc: not media.is_index(desc.media_type))
        return [desc.digest for desc in heads]

    def _needed(self, roots: Collection[str] = ()) -> set[Digest]:
        """Everything below what is listed; ManifestInvalid, and nothing is lost, if that cannot be told."""
        needed = {Digest(root) for root in roots if is_digest(root)}
        claimed = [self._probe(digest) for digest in needed]
        pending = [*self.index().listed(), *(desc for desc in claimed if desc is not None)]
        needed -= {desc.digest for desc in pending}
        while pending:
            desc = pending.pop()
            if desc.digest in needed:
                continue
            needed.add(desc.digest)
            if media.is_manifest(desc.media_type):
                body = self.read_small(desc.digest)
                pending += parse_manifest(body, desc.media_type).children if body else ()
        return needed


def check_header(body: bytes, where: str) -> None:
    """ManifestInvalid unless an `oci-layout` file says a version Argosy knows (1.x)."""
    try:
        version = str(json.loads(body)["imageLayoutVersion"])
    except (ValueError, TypeError, KeyError, RecursionError) as e:
        raise ManifestInvalid(f"oci-layout of {where} cannot be read", why=str(e)) from e
    if not version.startswith("1."):
        raise ManifestInvalid(f"{where} is an OCI layout of version {version!r}, not 1.0.0")
