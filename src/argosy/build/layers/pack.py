"""Packing a directory into a tar archive: a layer from an overlay's upper directory, or plain files.

Deterministic: names in byte order, owners as numbers, times in whole seconds. With
`overlay`, overlayfs's whiteouts and opaque directories become those of a layer.
Source: OCI image-spec layer.md; Linux Documentation/filesystems/overlayfs.rst.
"""

import errno
import os
import stat
import sys
from collections.abc import Callable

from argosy.build.layers.header import BLOCK, END, Entry, pack_header
from argosy.build.layers.unpack import OPAQUE, WHITEOUT
from argosy.errors import BuildError, StorageError
from argosy.values import frozen

PIECE = 1 << 20
_ZEROS = bytes(PIECE)
_OVERLAY = (b"trusted.overlay.", b"user.overlay.")
_KEPT = (b"user.", b"security.capability", b"system.posix_acl_")
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


@frozen(kw_only=True)
class PackOptions:
    """How to pack.

    `epoch`: no time is later than this (SOURCE_DATE_EPOCH); with `timeless`, every time is
    it. `under`: what names begin with.
    """

    overlay: bool = False
    epoch: int | None = None
    timeless: bool = False
    under: bytes = b""


@frozen
class Packed:
    """What went in: the number of entries."""

    entries: int


def pack(top: str, write: Callable[[bytes], object], options: PackOptions) -> Packed:
    """Write the tar of everything below `top` (itself left out) in pieces of about 1 MiB (blocking).

    Sockets are left out, as in every layer. BuildError, if a file changes meanwhile.
    """
    packer = _Packer(write, options)
    try:
        fd = os.open(top, _OPEN | os.O_DIRECTORY)
        try:
            packer.directory(fd, options.under)
        finally:
            os.close(fd)
    except RecursionError as e:
        raise BuildError(f"cannot pack {top}", why="its directories nest too deep") from e
    except OSError as e:
        reason = f"{e.strerror}: {os.fsdecode(packer.current)}"
        raise StorageError(f"cannot pack {top}", why=reason) from e
    packer.end()
    return Packed(packer.entries)


def _data_from(file: int, at: int) -> int:
    """Where data comes next; the largest offset if there is none."""
    try:
        return os.lseek(file, at, os.SEEK_DATA)
    except OSError as e:
        if e.errno != errno.ENXIO:
            raise
        return sys.maxsize


class _Packer:
    """One archive being written; what is small is gathered before it is written."""

    def __init__(self, write: Callable[[bytes], object], options: PackOptions) -> None:
        self._write = write
        self._overlay = options.overlay
        self._epoch = options.epoch
        self._timeless = options.timeless
        self._buffer = bytearray()
        self._links: dict[tuple[int, int], bytes] = {}
        self.entries = 0
        self.current = b""

    def directory(self, fd: int, prefix: bytes) -> None:
        """Everything in an open directory, whose names begin with `prefix`."""
        with os.scandir(fd) as found:
            items = sorted(
                (os.fsencode(item.name), item.stat(follow_symlinks=False)) for item in found
            )
        for name, status in items:
            self.current = prefix + name
            self._item(fd, name, status)

    def end(self) -> None:
        """The two zero blocks, and what is still in the buffer."""
        self._buffer += END
        self._flush()

    def _item(self, fd: int, name: bytes, status: os.stat_result) -> None:
        mode = status.st_mode
        path = self.current
        if self._overlay and name.startswith(WHITEOUT):
            raise BuildError(
                f"{os.fsdecode(path)} cannot be in a layer",
                why="names that begin with .wh. mean deleted files there",
                remedy="remove or rename it in the step that makes it",
            )
        if stat.S_ISREG(mode):
            self._file(fd, name, status)
        elif stat.S_ISDIR(mode):
            self._folder(fd, name, path, status)
        elif self._overlay and stat.S_ISCHR(mode) and status.st_rdev == 0:
            self._whiteout(path)
        elif not stat.S_ISSOCK(mode) and not self._linked(path, status):
            self._put(self._special(fd, name, path, status))

    def _file(self, fd: int, name: bytes, status: os.stat_result) -> None:
        path = self.current
        if self._linked(path, status):
            return
        file = os.open(name, _OPEN | os.O_NONBLOCK, dir_fd=fd)
        try:
            entry = self._entry(path, status)
            if keys := os.listxattr(file):
                entry = entry._replace(xattrs=self._xattrs(keys, file, path))
            self._put(entry._replace(size=status.st_size))
            if status.st_blocks * 512 < status.st_size:
                self._sparse(file, status.st_size)
            else:
                self._content(file, status.st_size)
            self._buffer += bytes(-status.st_size % BLOCK)
        finally:
            os.close(file)

    def _content(self, file: int, size: int) -> None:
        left = size
        while left:
            data = os.read(file, min(left, PIECE))
            if not data:
                raise self._changed()
            left -= len(data)
            self._data(data)

    def _sparse(self, file: int, size: int) -> None:
        """A file with holes: written in full, as others do, but what is not there is not read."""
        at = 0
        while at < size:
            start = min(_data_from(file, at), size)
            for left in range(start - at, 0, -PIECE):
                self._data(_ZEROS[: min(left, PIECE)])
            at = min(os.lseek(file, start, os.SEEK_HOLE), size) if start < size else size
            os.lseek(file, start, os.SEEK_SET)
            self._content(file, at - start)

    def _data(self, data: bytes) -> None:
        if len(data) >= PIECE:
            self._flush()
            self._write(data)
            return
        self._buffer += data
        if len(self._buffer) >= PIECE:
            self._flush()

    def _changed(self) -> BuildError:
        return BuildError(
            f"{os.fsdecode(self.current)} became shorter while it was packed",
            remedy="let nothing write to it meanwhile",
        )

    def _linked(self, path: bytes, status: os.stat_result) -> bool:
        """True if another name of the same file is in the archive already: it is written as a link."""
        if status.st_nlink == 1:
            return False
        key = (status.st_dev, status.st_ino)
        first = self._links.setdefault(key, path)
        if first is path:
            return False
        entry = self._entry(path, status)
        self._put(entry._replace(kind="link", target=first, size=0))
        return True

    def _folder(self, fd: int, name: bytes, path: bytes, status: os.stat_result) -> None:
        inner = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=fd)
        try:
            keys = os.listxattr(inner)
            entry = self._entry(path + b"/", status)._replace(kind="dir")
            if keys:
                entry = entry._replace(xattrs=self._xattrs(keys, inner, path))
            self._put(entry)
            if keys and self._opaque(keys, inner):
                self._put(Entry(name=path + b"/" + OPAQUE, kind="file"))
            self.directory(inner, path + b"/")
        finally:
            os.close(inner)

    def _opaque(self, keys: list[str], fd: int) -> bool:
        wanted = ("trusted.overlay.opaque", "user.overlay.opaque")
        return self._overlay and any(key in keys and os.getxattr(fd, key) == b"y" for key in wanted)

    def _whiteout(self, path: bytes) -> None:
        # Without a time: when something was deleted is nobody's business, and differs each run.
        folder, _, name = path.rpartition(b"/")
        hidden = (folder + b"/" if folder else b"") + WHITEOUT + name
        self._put(Entry(name=hidden, kind="file"))

    def _special(self, fd: int, name: bytes, path: bytes, status: os.stat_result) -> Entry:
        entry, mode = self._entry(path, status), status.st_mode
        if stat.S_ISLNK(mode):
            return entry._replace(
                kind="symlink", mode=0o777, target=os.readlink(name, dir_fd=fd), size=0
            )
        if stat.S_ISFIFO(mode):
            return entry._replace(kind="fifo")
        return entry._replace(
            kind="char" if stat.S_ISCHR(mode) else "block",
            major=os.major(status.st_rdev),
            minor=os.minor(status.st_rdev),
        )

    def _entry(self, path: bytes, status: os.stat_result) -> Entry:
        return Entry(
            name=path,
            kind="file",
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            mtime_ns=self._time(status),
        )

    def _time(self, status: os.stat_result) -> int:
        seconds = status.st_mtime_ns // 1_000_000_000
        if self._epoch is not None:
            seconds = self._epoch if self._timeless else min(seconds, self._epoch)
        return seconds * 1_000_000_000

    def _xattrs(self, keys: list[str], fd: int, path: bytes) -> dict[bytes, bytes]:
        found = {}
        for key in map(os.fsencode, keys):
            if self._overlay and key.endswith((b"overlay.redirect", b"overlay.metacopy")):
                raise BuildError(
                    f"{os.fsdecode(path)} is only half in this layer",
                    why="overlayfs was mounted with redirect_dir or metacopy on",
                )
            if key.startswith(_KEPT) and not key.startswith(_OVERLAY):
                try:
                    found[key] = os.getxattr(fd, key)
                except OSError as e:
                    if e.errno != errno.ENODATA:
                        raise
        return found

    def _put(self, entry: Entry) -> None:
        self.entries += 1
        self._buffer += pack_header(entry)

    def _flush(self) -> None:
        if self._buffer:
            self._write(bytes(self._buffer))
            self._buffer.clear()
