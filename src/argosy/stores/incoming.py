"""Bytes that arrive for a local store: checked while they are written, visible only when right."""

import asyncio
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from argosy.concurrency import first_error, in_thread, in_thread_to_end
from argosy.content.store import Body, SelfChecking
from argosy.content.verify import Verifier
from argosy.model.descriptor import Descriptor
from argosy.stores.local_file import PIECE, storage_errors

INCOMING = ".incoming-"  # how the names of unfinished files begin
_WRITEBACK = 8 << 20  # bytes after which the kernel is asked to start writing them out
_SYNC_FILE_RANGE_WRITE = 2  # <linux/fs.h>: start, do not wait


class _Incoming:
    """A file being written: pieces in, then commit or discard. Blocking.

    A cancelled task leaves its thread running, so every method takes the lock:
    else a late write could hit a descriptor that somebody else has by then.
    """

    def __init__(self, desc: Descriptor, within: str, *, durable: bool) -> None:
        self._lock = threading.Lock()
        self._durable = durable
        self._started = 0  # bytes the disk was already told to write
        self._verifier = Verifier(desc)
        self._fd, self._path = tempfile.mkstemp(prefix=INCOMING, dir=within)

    def write(self, pieces: Sequence[bytes]) -> None:
        """Write and hash; SizeMismatch as soon as there are too many bytes."""
        with self._lock:
            for piece in pieces if self._fd >= 0 else ():
                self._verifier.update(piece)
                _write_all(self._fd, piece)
            if self._durable and self._fd >= 0:
                self._hurry()

    def _hurry(self) -> None:
        # The disk works while the network does: the fsync at the end finds little to do.
        fresh = self._verifier.count - self._started
        if fresh >= _WRITEBACK:
            _start_writeback(self._fd, self._started, fresh)
            self._started += fresh

    def commit(self, path: str) -> None:
        """Check what came, then let it appear at `path`."""
        self._verifier.close()
        with self._lock:
            if self._fd < 0:
                return
            os.fchmod(self._fd, 0o644)
            if self._durable:
                os.fsync(self._fd)
            os.rename(self._path, path)
            self._close()

    def discard(self) -> None:
        """Leave nothing behind; nothing to do after commit."""
        with self._lock:
            if self._fd >= 0:
                with suppress(FileNotFoundError):
                    os.unlink(self._path)
                self._close()

    def _close(self) -> None:
        os.close(self._fd)
        self._fd = -1


async def receive(desc: Descriptor, body: Body, path: str, *, within: str, durable: bool) -> None:
    """Let `body` appear as the file `path` if it is exactly the descriptor's bytes.

    DigestMismatch, SizeMismatch and StorageError leave nothing. `within` is a
    directory of the same file system. While one batch is hashed and written in a
    thread the next one is awaited.
    """
    what = f"write {path}"
    begun: list[_Incoming] = []  # filled in the thread: a cancelled caller never gets its result
    try:
        with storage_errors(what):
            await in_thread_to_end(lambda: begun.append(_Incoming(desc, within, durable=durable)))
            await _fill(begun[0], body.bare() if isinstance(body, SelfChecking) else body)
            await in_thread(begun[0].commit, path)
    finally:
        for incoming in begun:
            await in_thread_to_end(incoming.discard)


async def _fill(incoming: _Incoming, body: Body) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            writing: asyncio.Task[None] | None = None
            async for batch in _batches(body):
                if writing is not None:
                    await writing
                writing = group.create_task(in_thread(incoming.write, batch))
    except BaseExceptionGroup as problems:
        raise first_error(problems) from problems


async def _batches(body: Body) -> AsyncIterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    async for piece in body:
        batch.append(piece)
        size += len(piece)
        if size >= PIECE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _start_writeback(fd: int, start: int, length: int) -> None:
    call = getattr(_libc(), "sync_file_range", None)  # Linux only; it is but a hint
    if call is not None:
        import ctypes  # noqa: PLC0415 - only for large blobs

        call(fd, ctypes.c_int64(start), ctypes.c_int64(length), _SYNC_FILE_RANGE_WRITE)


@cache
def _libc() -> Any:
    import ctypes  # noqa: PLC0415

    return ctypes.CDLL(None)


def write_whole(path: str, body: bytes, *, durable: bool, replace: bool) -> None:
    """Let `body` appear at `path` at once (blocking); without `replace` what is there stays."""
    fd, temporary = tempfile.mkstemp(prefix=INCOMING, dir=os.path.dirname(path))
    try:
        _write_all(fd, body)
        os.fchmod(fd, 0o644)
        if durable:
            os.fsync(fd)
        if replace:
            os.rename(temporary, path)
        else:
            with suppress(FileExistsError):
                os.link(temporary, path)
    finally:
        os.close(fd)
        with suppress(FileNotFoundError):
            os.unlink(temporary)
    if durable:
        sync_directory(os.path.dirname(path))


def sweep(directory: str, *, older_than: float) -> None:
    """Remove what interrupted writers left in a directory (blocking): nobody wrote to it since then."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(INCOMING):
                with suppress(FileNotFoundError):
                    if entry.stat().st_mtime < older_than:
                        os.unlink(entry.path)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_directory(path: str) -> None:
    """Make the names in a directory survive a power cut (blocking)."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
