"""Paths that cannot leave a directory: symbolic links and `..` end at its top, as in a chroot.

Each component is opened by itself without following links, and links are followed
here, so that neither a link, an absolute name nor a race leads outside.
"""

import errno
import os
import stat
from collections.abc import Callable
from typing import Self

from argosy.errors import UnsafeLayer

_MAX_LINKS = 40  # as the kernel
MAX_DEPTH = 256  # directories below one another; keeps recursion and open files bounded

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC

Make = Callable[[int, bytes, bytes], None]  # (directory, name, path): let there be a directory


class Root:
    """A directory as the root of paths; a context manager. Paths are bytes, a leading `/` is its top."""

    def __init__(self, top: str | bytes | int) -> None:
        self._fd = os.dup(top) if isinstance(top, int) else os.open(top, _LOOK & ~os.O_NOFOLLOW)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._fd)

    def directory(self, path: bytes, make: Make | None = None) -> int:
        """An O_PATH descriptor of a directory, links followed inside; the caller closes it.

        `make` is called for a component that is missing or is neither a directory nor
        a link. OSError as the kernel would say it.
        """
        walk = _Walk(self._fd, path)
        try:
            while walk.pending:
                walk.step(make)
            return walk.fds.pop()
        finally:
            for fd in walk.fds:
                os.close(fd)

    def resolve(self, path: bytes) -> bytes:
        """The path without links, from the top with a leading `/`; what is missing stays as it is written."""
        walk = _Walk(self._fd, path)
        try:
            while walk.pending:
                try:
                    walk.step(None, last_is_any=True)
                except (FileNotFoundError, NotADirectoryError):
                    rest = [walk.missing, *reversed(walk.pending)]
                    return os.path.normpath(b"/" + b"/".join([*walk.names, *rest]))
            return b"/" + b"/".join(walk.names)
        finally:
            for fd in walk.fds:
                os.close(fd)

    def read(self, path: bytes, limit: int) -> bytes:
        """The content of a regular file, at most `limit` bytes; nothing if it is not there."""
        folder, name = os.path.split(self.resolve(path))
        try:
            parent = self.directory(folder)
        except (FileNotFoundError, NotADirectoryError):
            return b""
        try:
            fd = os.open(
                name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent
            )
        except OSError:
            return b""
        finally:
            os.close(parent)
        try:
            return os.read(fd, limit) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
        finally:
            os.close(fd)


class _Walk:
    """Walking down one path, component by component."""

    def __init__(self, top: int, path: bytes) -> None:
        self.fds = [os.dup(top)]
        self.names: list[bytes] = []
        self.pending = path.split(b"/")[::-1]
        self.missing = b""
        self._links = 0

    def step(self, make: Make | None, *, last_is_any: bool = False) -> None:
        """Take the next component. `last_is_any`: a last one that is no directory is fine."""
        part = self.pending.pop()
        if part in (b"", b"."):
            return
        if part == b"..":
            self._up()
            return
        self.missing = part
        try:
            fd = os.open(part, _LOOK, dir_fd=self.fds[-1])
        except FileNotFoundError:
            fd = self._made(part, make)
        except NotADirectoryError:
            if self._followed(part):
                return
            if last_is_any and not self.pending:
                self.names.append(part)
                return
            fd = self._made(part, make)
        self._down(part, fd)

    def _down(self, part: bytes, fd: int) -> None:
        self.fds.append(fd)
        self.names.append(part)
        if len(self.names) > MAX_DEPTH:
            raise UnsafeLayer(f"a path nests deeper than {MAX_DEPTH} directories")

    def _up(self) -> None:
        if self.names:
            os.close(self.fds.pop())
            self.names.pop()

    def _made(self, part: bytes, make: Make | None) -> int:
        if make is not None:
            make(self.fds[-1], part, b"/".join([*self.names, part]))
        return os.open(part, _LOOK, dir_fd=self.fds[-1])

    def _followed(self, part: bytes) -> bool:
        """True if it is a link: what it says is walked next."""
        try:
            target = os.readlink(part, dir_fd=self.fds[-1])
        except OSError as e:
            if e.errno == errno.EINVAL:
                return False
            raise
        self._links += 1
        if self._links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), part)
        if target.startswith(b"/"):
            while self.names:
                self._up()
        self.pending.extend(target.split(b"/")[::-1])
        return True


def clean(name: bytes) -> tuple[bytes, ...]:
    """The components of a member's name below the top; UnsafeLayer if it climbs out of it."""
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise UnsafeLayer(
                    f"{os.fsdecode(name)!r} would be outside of the layer",
                    why="its name climbs above the root with `..`",
                    remedy="do not use this image: it was made to attack whoever unpacks it",
                )
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return tuple(parts)
