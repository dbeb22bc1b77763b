"""Ranges of local files as bodies, and what goes wrong with files as our errors."""

import errno
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from argosy.concurrency import in_thread
from argosy.errors import NoSpace, NotFound, StorageError

PIECE = 1 << 20  # bytes; large enough that a hop to a thread costs less than a tenth of the work


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Translate OSError inside into StorageError (NoSpace when the disk or quota is full)."""
    try:
        yield
    except OSError as e:
        kind = NoSpace if e.errno in (errno.ENOSPC, errno.EDQUOT) else StorageError
        raise kind(f"cannot {what}", why=_reason(e), remedy=_remedy(e)) from e


def _reason(error: OSError) -> str:
    place = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or type(error).__name__}{place}"


def _remedy(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space there, or choose another place"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "check who may write there"
    return ""


class FilePieces:
    """The bytes of a range of a local file, read off the loop; also a LocalFile."""

    __slots__ = ("_at", "_end", "_fd", "_first", "path", "start")

    def __init__(self, path: str, fd: int, start: int, end: int) -> None:
        self.path = path
        self.start = start
        self._fd = fd
        self._at = start
        self._end = end
        self._first = b""

    def prefetch(self) -> None:
        """Read the first piece already (blocking): small bodies then need one hop only."""
        self._first = self._read()

    def __aiter__(self) -> "FilePieces":
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            piece, self._first = self._first, b""
        elif self._at < self._end:
            with storage_errors(f"read {self.path}"):
                piece = await in_thread(self._read)
        else:
            raise StopAsyncIteration
        if not piece:  # the file is shorter than it was: the reader's size check tells
            raise StopAsyncIteration
        return piece

    def _read(self) -> bytes:
        piece = os.pread(self._fd, min(PIECE, self._end - self._at), self._at)
        self._at += len(piece)
        return piece


@asynccontextmanager
async def open_range(
    path: str, what: str, *, start: int = 0, length: int | None = None
) -> AsyncIterator[FilePieces]:
    """`length` bytes (None: all) of a file from offset `start`; NotFound (of `what`) if it is not there."""
    with storage_errors(f"open {path}"):
        try:
            pieces, fd = await in_thread(_open, path, start, length)
        except (FileNotFoundError, NotADirectoryError) as e:
            raise NotFound(f"no {what} in {os.path.dirname(path)}") from e
    try:
        yield pieces
    finally:
        os.close(fd)


def _open(path: str, start: int, length: int | None) -> tuple[FilePieces, int]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        end = size if length is None else min(size, start + length)
        pieces = FilePieces(path, fd, start, end)
        pieces.prefetch()
    except BaseException:
        os.close(fd)
        raise
    return pieces, fd
