"""Blobs as files named by their digest, and the uploads on their way to become one.

    blobs/<algorithm>/<first two hex digits>/<hex>      immutable, complete, on disk
    uploads/<id>.<algorithm>.<owner>                    what has come of an upload so far

Bytes are hashed while they are written, so that a commit is O(1): compare, fsync,
rename, fsync of the directory. A blob that has its name is whole and survives a
power cut. An upload's state is its file; the running hash is only a cache of it,
so a restarted server continues an upload by reading what is there once. Processes that
share a directory take turns at an upload's file and hand the hash on (`file_turns.py`).
Traps: saving a hash's state across restarts of the machine would vouch for bytes that a
power cut took; and a client gives up 30 s after its PUT (moby #53700), so nothing
may be read a second time there.
"""

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Final, Protocol

from argosy.concurrency import between, in_thread, in_thread_to_end
from argosy.content.blob_storage import Stored, UploadBusy
from argosy.errors import (
    DigestMismatch,
    InvalidDigest,
    NoSpace,
    NotFound,
    StorageError,
)
from argosy.model.descriptor import Descriptor
from argosy.model.digest import HEX_LENGTH, Digest
from argosy.stores import file_turns, hashing
from argosy.stores.hashing import RunningHash

PIECE: Final = 1 << 20
PATIENCE = 10.0  # seconds to wait for another request on the same upload
_BLOCK: Final = 4096  # what O_DIRECT wants offsets and lengths to be multiples of
_WRITERS: Final = 8
_WRITEBACK: Final = 8 << 20  # bytes after which the kernel is asked to start writing them out
_SYNC_FILE_RANGE_WRITE: Final = 2
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_libc = ctypes.CDLL(None, use_errno=True)


class Upload:
    """The bytes of one blob as they arrive; `offset` is how many are here.

    Whoever writes holds `turn()`. `write` and what it calls run in a worker
    thread; nothing else touches the file then.
    """

    def __init__(self, store: "BlobStore", id: str, path: str, algorithm: str) -> None:  # noqa: A002
        self.id: Final = id
        self.offset = 0
        self.touched = time.monotonic()
        self._store = store
        self._path = path
        self._algorithm = algorithm
        self._hash: RunningHash | None = hashing.begin(algorithm)
        self._held = -1  # the file, locked against other processes
        self._fd = -1
        self._direct = False
        self._started = 0  # bytes whose write-out has been started
        self._lock = asyncio.Lock()  # one request at a time
        self._io = threading.Lock()  # held by the thread that uses the file

    @classmethod
    def found(cls, store: "BlobStore", id: str, path: str, algorithm: str) -> "Upload":  # noqa: A002
        """The upload that an earlier process began; FileNotFoundError if there is none."""
        upload = cls(store, id, path, algorithm)
        upload.offset = upload._started = os.stat(path).st_size
        if upload.offset:
            upload._hash = None
        return upload

    @asynccontextmanager
    async def turn(self) -> AsyncIterator["Upload"]:
        """Hold the upload for one request; UploadBusy when another one keeps it too long.

        NotFound if that other one has committed or cancelled it meanwhile.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                await self._lock.acquire()
        except TimeoutError as e:
            raise _busy(self.id) from e
        try:
            if self._store.shared:
                await self._take_turn()
            elif self._store._open.get(self.id) is not self:  # noqa: SLF001 - its other half
                raise _unknown_upload(self.id)
            yield self
        finally:
            self.touched = time.monotonic()
            try:
                # A cancelled request may leave its thread writing: never close under it.
                busy = self._io.locked() or self._held >= 0
                await in_thread(self._close) if busy else self._close()
            finally:
                self._lock.release()

    async def _take_turn(self) -> None:
        """Hold the file against other processes, and see what they have made of it."""
        until = time.monotonic() + PATIENCE
        # Who goes away meanwhile waits for the end, and so lets go of what he was given.
        while not await in_thread_to_end(self._hold):
            if time.monotonic() > until:
                raise _busy(self.id)
            await asyncio.sleep(between(0.01, 0.05))
        self._store._open[self.id] = self  # noqa: SLF001 - its other half

    def _hold(self) -> bool:
        try:
            fd = file_turns.hold(self._path)
        except FileNotFoundError as e:
            raise _unknown_upload(self.id) from e
        if fd is None:
            return False
        self._held = fd
        self.offset = self._started = os.fstat(fd).st_size
        self._hash = file_turns.recall(self._path, fd, self._algorithm)
        return True

    def write(self, piece: bytes | memoryview) -> None:
        """Append (in a worker thread). NoSpace or StorageError: the upload is then gone."""
        with self._io, _translated(f"cannot write upload {self.id}", self._discard):
            if self._fd < 0:
                if self._store.shared and self._held < 0:  # its request was cancelled
                    raise StorageError("the upload was broken off", remedy="send it again")
                self._open(direct=len(piece) >= PIECE)
            if self._direct:
                # The disk takes its time, and reads the piece itself: hash it meanwhile.
                written = self._store.disk.submit(self._append, piece)
                self._running().update(piece)
                written.result()
            else:
                self._running().update(piece)
                self._append(piece)
            self.offset += len(piece)
            if self._direct:
                self._started = self.offset
            elif self.offset - self._started >= _WRITEBACK:
                # The disk works while the network does: the fsync at the end finds little to do.
                _start_writeback(self._fd, self._started, self.offset - self._started)
                self._started = self.offset

    def _open(self, *, direct: bool) -> None:
        """Open the file at `offset`; for big pieces past the page cache, where that is possible.

        The bytes have to be on disk before the commit is answered anyway; a copy in
        the page cache costs as much CPU as the hash, and pushes out what is being pulled.
        """
        flags = os.O_WRONLY | os.O_CLOEXEC
        self._direct = direct and self.offset % _BLOCK == 0
        if self._direct:
            try:
                self._fd = os.open(self._path, flags | os.O_DIRECT)
            except OSError as e:
                if e.errno != errno.EINVAL:  # the file system has no O_DIRECT
                    raise
                self._direct = False
        if not self._direct:
            self._fd = os.open(self._path, flags)
        os.lseek(self._fd, self.offset, os.SEEK_SET)

    def _append(self, piece: bytes | memoryview) -> None:
        done = 0
        if self._direct:
            if len(piece) % _BLOCK == 0:
                try:
                    done = os.write(self._fd, piece)
                except OSError as e:
                    if e.errno != errno.EINVAL:  # its memory is not aligned
                        raise
            if done < len(piece):  # the tail of the blob: the page cache takes it from here
                flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
                fcntl.fcntl(self._fd, fcntl.F_SETFL, flags & ~os.O_DIRECT)
                self._direct = False
        _write_all(self._fd, memoryview(piece)[done:])

    async def commit(self, digest: Digest) -> Stored:
        """Make it the blob `digest`, on disk for good. DigestMismatch keeps nothing."""
        return Stored(await in_thread(self._commit, digest))

    async def settle(self, kept: Stored) -> None:
        """Nothing to do: a digest has one file, whoever wrote it."""

    async def cancel(self) -> None:
        """Forget the upload and its bytes."""
        await in_thread(self._discard)

    def _running(self) -> RunningHash:
        if self._hash is None:  # begun by an earlier process: read once what it left
            self._hash = _hash_file(self._path, self._algorithm, self.offset)
        return self._hash

    def _commit(self, digest: Digest) -> int:
        with self._io, _translated(f"cannot commit upload {self.id}", self._discard):
            state = self._running()
            if state.algorithm != digest.algorithm:
                # The client did not announce its algorithm (OCI digest-algorithm): read again.
                state = _hash_file(self._path, digest.algorithm, self.offset)
            if (actual := state.digest()) != digest:
                self._discard()
                raise DigestMismatch("the uploaded blob", expected=digest, actual=actual)
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            os.fdatasync(self._fd)
            _move_durably(self._path, self._store.path(digest))
            self._store.forget(self.id)  # here: its request may have been cancelled
            if self._held >= 0:
                file_turns.forget(self._path)
        return self.offset

    def _close(self) -> None:
        with self._io:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            if self._held >= 0:
                if self.id in self._store._open:  # noqa: SLF001 - neither a blob now nor gone
                    file_turns.remember(self._path, self._held, self._hash)
                self._store.forget(self.id)
                os.close(self._held)  # and with it, the lock
                self._held = -1

    def _discard(self) -> None:
        self._store.forget(self.id)
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        if self._store.shared:
            file_turns.forget(self._path)


class BlobStore:
    """The blobs and uploads below one directory. Knows nothing of repositories but an owner's name."""

    def __init__(self, root: str, *, shared: bool = False) -> None:
        self.root: Final = os.path.abspath(root)
        self.shared: Final = shared
        self._uploads = os.path.join(self.root, "uploads")
        self._open: dict[str, Upload] = {}
        self.disk: Final = ThreadPoolExecutor(_WRITERS, thread_name_prefix="argosy-disk")
        with _translated(f"cannot use {self.root}"):
            for algorithm in HEX_LENGTH:
                os.makedirs(os.path.join(self.root, "blobs", algorithm), exist_ok=True)
            os.makedirs(self._uploads, exist_ok=True)
            # A blob is only as durable as the directories on the way to it.
            _sync_folder(os.path.join(self.root, "blobs"))
            _sync_folder(self.root)

    @property
    def uploads(self) -> int:
        """How many uploads this process has under way."""
        return len(self._open)

    def path(self, digest: Digest) -> str:
        """Where the blob is, or would be."""
        return f"{self.root}/blobs/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}"

    async def exists(self, desc: Descriptor) -> bool:
        """Whether the blob is here."""
        return await in_thread(os.path.exists, self.path(desc.digest))

    @asynccontextmanager
    async def open(
        self,
        desc: Descriptor,
        *,
        start: int = 0,
        key: str = "",  # noqa: ARG002 - files need none
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes from offset `start`; NotFound if absent."""
        with _translated(f"cannot read blob {desc.digest}"):
            try:
                fd: int = await in_thread(os.open, self.path(desc.digest), os.O_RDONLY)
            except FileNotFoundError as e:
                raise NotFound(f"no blob {desc.digest} in {self.root}") from e
        try:
            yield _pieces(fd, start)
        finally:
            os.close(fd)

    async def read(self, digest: Digest) -> bytes:
        """A whole small blob; StorageError if it cannot be read."""
        with _translated(f"cannot read blob {digest}"):
            return await in_thread(_read_file, self.path(digest))

    async def begin(self, owner: str, algorithm: str = "sha256") -> Upload:
        """A new upload for `owner`, hashed with `algorithm` as it comes."""
        if algorithm not in HEX_LENGTH:
            raise InvalidDigest(
                f"{algorithm!r} is not a digest algorithm known here",
                remedy="use " + " or ".join(HEX_LENGTH),
            )
        name = str(uuid.uuid4())
        path = self._upload_path(name, algorithm, owner)
        with _translated("cannot begin an upload"):
            await in_thread(_create, path)
        upload = Upload(self, name, path, algorithm)
        if not self.shared:
            self._open[name] = upload
        return upload

    async def resume(self, owner: str, id: str) -> Upload:  # noqa: A002
        """The upload of that name and owner, even of an earlier process; NotFound if there is none."""
        found = None if self.shared else self._open.get(id)
        if found is None and _is_id(id):
            found = await in_thread(self._find, owner, id)
            # While the thread looked, another request may have found it too: there is one of it.
            if found is not None and not self.shared:
                found = self._open.setdefault(id, found)
        if found is None or not found._path.endswith(_owner_suffix(owner)):  # noqa: SLF001
            raise _unknown_upload(id)
        return found

    def _find(self, owner: str, name: str) -> Upload | None:
        for algorithm in HEX_LENGTH:
            path = self._upload_path(name, algorithm, owner)
            with contextlib.suppress(FileNotFoundError):
                return Upload.found(self, name, path, algorithm)
        return None

    def forget(self, id: str) -> None:  # noqa: A002
        """Drop an upload that has ended from the table of those under way."""
        self._open.pop(id, None)

    async def sweep(self, max_age: float) -> int:
        """Remove uploads nobody has written to for `max_age` seconds; how many. Lists only uploads."""
        oldest = time.monotonic() - max_age
        busy = {u.id for u in self._open.values() if u.touched > oldest or u._lock.locked()}  # noqa: SLF001
        gone = await in_thread(self._sweep, time.time() - max_age, busy)
        for name in gone:
            self.forget(name)
        return len(gone)

    def _sweep(self, before: float, busy: set[str]) -> list[str]:
        gone = []
        with os.scandir(self._uploads) as entries:
            for entry in entries:
                name = entry.name.partition(".")[0]
                if entry.name.endswith(file_turns.STATE):
                    continue  # it goes with its upload
                if name not in busy and file_turns.is_left(entry.path, before):
                    gone.append(name)
        return gone

    def _upload_path(self, name: str, algorithm: str, owner: str) -> str:
        return f"{self._uploads}/{name}.{algorithm}{_owner_suffix(owner)}"


def _busy(id: str) -> UploadBusy:  # noqa: A002
    """The error of not getting one's turn at an upload."""
    return UploadBusy(
        f"upload {id} is being written by another request",
        remedy="send the parts of a blob one after the other",
    )


def _unknown_upload(id: str) -> NotFound:  # noqa: A002
    """The error of asking for an upload that is not, or is no more, under way."""
    return NotFound(f"no upload {id!r}", why="it was never begun, or has ended or expired")


def _owner_suffix(owner: str) -> str:
    # An upload belongs to one repository; its name may be longer than a file's may be.
    return "." + hashlib.sha256(owner.encode()).hexdigest()[:16]


def _is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _create(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))


def _read_file(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()


def _write_all(fd: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(fd, piece) :]


def _start_writeback(fd: int, start: int, length: int) -> None:
    if (call := getattr(_libc, "sync_file_range", None)) is not None:  # Linux only
        call(fd, ctypes.c_int64(start), ctypes.c_int64(length), _SYNC_FILE_RANGE_WRITE)


def _move_durably(source: str, target: str) -> None:
    folder = os.path.dirname(target)
    try:
        os.rename(source, target)
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
        _sync_folder(os.path.dirname(folder))
        os.rename(source, target)
    _sync_folder(folder)


def _sync_folder(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _hash_file(path: str, algorithm: str, size: int) -> RunningHash:
    state = hashing.begin(algorithm)
    with open(path, "rb", buffering=0) as file:
        while size and (piece := file.read(min(PIECE, size))):
            state.update(piece)
            size -= len(piece)
    return state


async def _pieces(fd: int, start: int) -> AsyncIterator[bytes]:
    while piece := await in_thread(os.pread, fd, PIECE, start):
        start += len(piece)
        yield piece


class _Undo(Protocol):
    def __call__(self) -> None: ...


@contextmanager
def _translated(what: str, undo: _Undo | None = None) -> Iterator[None]:
    """OSError as NoSpace or StorageError, after undoing what was half written."""
    try:
        yield
    except OSError as e:
        full = e.errno in _FULL
        if undo is not None:
            undo()
        kind = NoSpace if full else StorageError
        raise kind(
            f"{what}: {e.strerror or e}",
            why="the disk that holds the data directory is full" if full else "",
            remedy="free some space, then try again" if full else "look at the disk and its rights",
            evidence={"errno": errno.errorcode.get(e.errno or 0, ""), "path": e.filename},
        ) from e
