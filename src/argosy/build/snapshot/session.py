"""The snapshots' directory on the disk: who works in it, and what nobody works on any more.

<root>/lock            held for a moment while sessions are made or swept
<root>/boot            the boot in which half-known snapshots were last looked for
<root>/<id>/fs         a snapshot: its layer directory
<root>/<id>/durable    it is on the disk; without it, it is only valid in boot …
<root>/<id>/boot       … of this id
<root>/work/<session>/ one process; its `lock` is held as long as the process lives
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from argosy.build.snapshot.mounts import unmount
from argosy.errors import StorageError

MERGED = "root"  # the mount point in a workspace


class Session:
    """One process's part of the directory (blocking). Opening it sweeps what dead ones left."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.name = secrets.token_hex(4)
        self.path = os.path.join(root, "work", self.name)
        self.boot = _boot_id()
        with storage_errors(f"use {root} for snapshots"):
            os.makedirs(os.path.join(root, "work"), mode=0o700, exist_ok=True)
            with self._alone():
                self._sweep_sessions()
                self._sweep_after_boot()
                os.mkdir(self.path, 0o700)
                self._lock: int | None = _locked(os.path.join(self.path, "lock"))

    def close(self) -> None:
        """Leave: nothing of this session stays."""
        with storage_errors(f"clean up {self.root}"), self._alone():
            _discard(self.path)
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        fd = _locked(os.path.join(self.root, "lock"))
        try:
            yield
        finally:
            os.close(fd)

    def _sweep_sessions(self) -> None:
        work = os.path.join(self.root, "work")
        for name in os.listdir(work):
            path = os.path.join(work, name)
            if (fd := _abandoned(os.path.join(path, "lock"))) is not None:
                _discard(path)
                os.close(fd)

    def _sweep_after_boot(self) -> None:
        """After a restart of the machine, forget the snapshots that may be only half on the disk."""
        marker = os.path.join(self.root, "boot")
        if _read(marker) == self.boot:
            return
        for name in os.listdir(self.root):
            path = os.path.join(self.root, name)
            if not os.path.isdir(os.path.join(path, "fs")) or os.path.exists(
                os.path.join(path, "durable")
            ):
                continue
            if _read(os.path.join(path, "boot")) != self.boot:
                _discard(path)
        write(marker, self.boot)


def storage_errors(what: str) -> "_StorageErrors":
    """Translate OSError inside into StorageError."""
    return _StorageErrors(what)


class _StorageErrors:
    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return

    def __exit__(self, _type: object, error: BaseException | None, _tb: object) -> None:
        if isinstance(error, OSError):
            where = f": {os.fsdecode(error.filename)}" if error.filename else ""
            raise StorageError(
                f"cannot {self._what}",
                why=f"{error.strerror or error}{where}",
                remedy="look at its rights and at the space on its disk",
            ) from error


def _boot_id() -> str:
    return _read("/proc/sys/kernel/random/boot_id") or "unknown"


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def write(path: str, text: str) -> None:
    """A small file, whole or not at all (blocking); not flushed."""
    temporary = f"{path}.{secrets.token_hex(4)}"
    with open(temporary, "w", encoding="ascii") as file:
        file.write(text)
    os.rename(temporary, path)


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
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _discard(path: str) -> None:
    """Remove a session or snapshot directory, mounts in it first."""
    with suppress(FileNotFoundError):
        for name in os.listdir(path):
            merged = os.path.join(path, name, MERGED)
            if os.path.ismount(merged):
                unmount(merged)
    remove_tree(path)


def remove_tree(path: str) -> None:
    """Remove a directory however deep it is (blocking); nothing to do if it is not there."""
    with suppress(FileNotFoundError):
        try:
            shutil.rmtree(path)
        except RecursionError:
            _flatten(path)
            shutil.rmtree(path)


def _flatten(top: str) -> None:
    """Move every directory up to `top`, so that none is deep."""
    number = 0
    pending = [name for name in os.listdir(top) if _is_folder(top, name)]
    while pending:
        folder = os.path.join(top, pending.pop())
        for name in os.listdir(folder):
            if _is_folder(folder, name):
                number += 1
                up = f".deep-{secrets.token_hex(4)}-{number}"
                os.rename(os.path.join(folder, name), os.path.join(top, up))
                pending.append(up)


def _is_folder(top: str, name: str) -> bool:
    path = os.path.join(top, name)
    return os.path.isdir(path) and not os.path.islink(path)
