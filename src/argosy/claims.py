"""What running processes use of a shared directory, so that nobody removes it under them.

Each process that uses something writes its name into a file of its own, whose lock the
kernel drops with the process, however it ends. Names are written under a shared lock
and read under an exclusive one, so: claim first, then look. What is there after `claim`
stays until `close`; what a remover has taken is not there.
"""

import fcntl
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

from argosy.errors import StorageError

_GATE = "gate"  # claims are written under its shared lock, and read under its exclusive one


class Claims:
    """The claims of one user in `folder` (blocking, from any thread). Nothing is made before the first."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._own = threading.Lock()  # one descriptor holds one lock for all threads
        self._names: set[str] = set()
        self._gate = -1
        self._file = -1
        self._path = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def claim(self, *names: str) -> None:
        """Let nothing by these names be removed until `close`, if it is still there."""
        if self._names.issuperset(names):
            return
        with self._own, _storage(self._folder):
            new = [name for name in names if name not in self._names]
            self._open()
            fcntl.flock(self._gate, fcntl.LOCK_SH)
            try:
                os.write(self._file, "".join(f"{name}\n" for name in new).encode())
            finally:
                fcntl.flock(self._gate, fcntl.LOCK_UN)
            self._names.update(new)

    def close(self) -> None:
        """Give up every claim; more may follow."""
        with self._own:
            if self._file >= 0:
                with suppress(OSError):
                    os.unlink(self._path)
                os.close(self._file)
                os.close(self._gate)
            self._file = self._gate = -1
            self._names.clear()

    @contextmanager
    def removing(self) -> Iterator[frozenset[str]]:
        """All names that anybody claims; nobody claims another while the block lasts.

        Keep it short: builds wait. Rename what is to go, and remove it afterwards.
        """
        with _storage(self._folder):
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            gate = self._gate_opened()
        try:
            with _storage(self._folder):
                fcntl.flock(gate, fcntl.LOCK_EX)
                claimed = frozenset(self._claimed())
            yield claimed
        finally:
            os.close(gate)

    def claimed(self) -> frozenset[str]:
        """All names that anybody claims at this moment."""
        if not os.path.isdir(self._folder):
            return frozenset()
        with self.removing() as names:
            return names

    def _open(self) -> None:
        if self._file >= 0:
            return
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        gate = self._gate_opened()
        try:
            fcntl.flock(gate, fcntl.LOCK_SH)  # a file without its lock would be swept
            self._path = os.path.join(self._folder, secrets.token_hex(8))
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX)
        except BaseException:
            os.close(gate)
            raise
        self._gate = gate

    def _gate_opened(self) -> int:
        return os.open(
            os.path.join(self._folder, _GATE), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )

    def _claimed(self) -> Iterator[str]:
        for name in os.listdir(self._folder):
            if name == _GATE:
                continue
            path = os.path.join(self._folder, name)
            with suppress(FileNotFoundError), open(path, "r+", encoding="utf-8") as file:
                if _is_free(file.fileno()):
                    os.unlink(path)  # its process is gone
                else:
                    yield from file.read().splitlines()


def _is_free(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _storage(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise StorageError(
            f"cannot use {folder}",
            why=e.strerror or str(e),
            remedy="look at its rights and at the space on its disk",
        ) from e
