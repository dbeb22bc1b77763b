"""Directories that belong to one process, and go with it: how kill -9 leaves nothing behind.

Each process has a directory with a lock that the kernel drops when the process ends,
however it ends. Whoever comes next removes the directories whose lock is free.
"""

import fcntl
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from argosy.errors import StorageError

_NAME = re.compile("[0-9a-f]{8}")


class Session:
    """One process's directory in `folder` (blocking). Opening it sweeps what dead processes left.

    `discard` removes such a directory, and whatever hangs on it.
    """

    def __init__(self, folder: str, discard: Callable[[str], None]) -> None:
        self.name = secrets.token_hex(4)
        self.path = os.path.join(folder, self.name)
        self._folder = folder
        self._discard = discard
        with storage_errors(f"use {folder}"):
            os.makedirs(folder, mode=0o700, exist_ok=True)
            with self._alone():
                self._sweep()
                os.mkdir(self.path, 0o700)
                self._lock: int | None = _locked(os.path.join(self.path, "lock"))

    def close(self) -> None:
        """Leave: nothing of this session stays."""
        with storage_errors(f"clean up {self._folder}"), self._alone():
            if self._lock is not None:
                self._discard(self.path)
                os.close(self._lock)
                self._lock = None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        fd = _locked(os.path.join(self._folder, ".lock"))
        try:
            yield
        finally:
            os.close(fd)

    def _sweep(self) -> None:
        for name in filter(_NAME.fullmatch, os.listdir(self._folder)):
            path = os.path.join(self._folder, name)
            if (fd := _abandoned(os.path.join(path, "lock"))) is not None:
                self._discard(path)
                os.close(fd)


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Translate OSError inside into StorageError."""
    try:
        yield
    except OSError as e:
        where = f": {os.fsdecode(e.filename)}" if e.filename else ""
        raise StorageError(
            f"cannot {what}",
            why=f"{e.strerror or e}{where}",
            remedy="look at its rights and at the space on its disk",
        ) from e


def _locked(path: str) -> int:
    """A descriptor that holds the lock, as soon as nobody else does."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _abandoned(path: str) -> int | None:
    """A descriptor that holds the lock if nobody does: its process is gone."""
    try:
        # Sessions begin with their lock, so a directory without one is what a runtime that
        # ended late made again.
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
