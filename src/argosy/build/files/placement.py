"""Putting files into a workspace by the rules of COPY.

A directory gives its content, not itself; a file goes into the destination if that
is a directory (by a trailing slash, because it exists, or because there are several
sources). The destination itself keeps its mode and owner, or is made 0755 like any
parent that is missing; directories below it take the source's, even if they are there.
Modes, times, links (hard ones among what is copied), xattrs and devices are kept.
Source: Dockerfile reference, COPY; what BuildKit does.
"""

import contextlib
import errno
import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from argosy.build.files.owners import Mode, Owner
from argosy.build.files.tree import (
    DIRECTORY,
    FILE,
    Choice,
    Entry,
    Found,
    Stop,
    Tree,
    resolve,
    xattrs,
)
from argosy.errors import BuildError
from argosy.values import frozen

if TYPE_CHECKING:
    from hashlib import _Hash

_PIECE = 1 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@frozen(kw_only=True)
class Manner:
    """How files are to arrive. `owner` None keeps the source's, and makes missing parents root's."""

    owner: Owner | None = None
    mode: Mode | None = None
    parents: bool = False  # keep the source's directories (COPY --parents)
    devices: bool = True  # off: device nodes are left out


@frozen
class _Filling:
    """A directory that is being filled; its metadata comes last, since content changes its times."""

    entry: Entry
    fd: int
    xattrs: list[tuple[str, bytes]]
    keep: bool  # it is the destination itself, and keeps the metadata it has


@dataclass(slots=True, eq=False)
class Placement:
    """One COPY into `root`: `place` each source, `write` each inline file. For a worker thread."""

    root: str
    dest: str  # absolute; a trailing slash says that it is a directory
    manner: Manner
    several: bool = False
    stop: Stop = field(default_factory=Stop)
    target: str = field(init=False, default="")  # the destination without links, relative to root
    _links: dict[tuple[int, int], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.target = resolve(self.root, self.dest)

    @property
    def into(self) -> bool:
        """Whether a file goes into the destination instead of becoming it."""
        path = os.path.join(self.root, self.target)
        return self.several or self.dest.endswith("/") or os.path.isdir(path)

    def place(self, tree: Tree, choice: Choice) -> None:
        """Copy what a choice stands for; BuildError if it is no more what its digest was made of."""
        stamp = hashlib.sha256()
        found = tree.find(choice.pattern)
        self.several = self.several or len(found) > 1
        for one in found:
            self._place(tree, one, choice, stamp)
        if not tree.stayed(choice, stamp.digest()):
            raise _changed(choice.pattern, "what was copied is not what was looked at first")

    def _place(self, tree: Tree, found: Found, choice: Choice, stamp: "_Hash") -> None:
        with contextlib.closing(tree.walk(found, choice.exclude)) as walk:
            entries = _stamped(walk, stamp)
            try:
                top = next(entries)
                target = self._destination(found, choice, directory=top.kind == stat.S_IFDIR)
                if top.kind == stat.S_IFDIR:
                    self._place_directory(top, entries, target)
                else:
                    parent, _, name = target.rpartition("/")
                    with self.directory(parent) as fd:
                        self._place_one(top, fd, name, target)
            except FileNotFoundError as e:
                raise _changed(found.path, f"{e.filename} went away while it was copied") from e

    def write(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Create a file from bytes (a here-document)."""
        target = _joined(self.target, name) if self.into else self.target
        parent, _, last = target.rpartition("/")
        change = self.manner.mode
        chosen = self.manner.owner or Owner()
        with self.directory(parent) as fd:
            _make_way(fd, last, target)
            file = os.open(last, _NEW, 0o600, dir_fd=fd)
            try:
                _write_all(file, data)
                os.fchown(file, chosen.uid, chosen.gid)
                os.fchmod(file, change(mode, False) if change else mode)
            finally:
                os.close(file)

    @contextmanager
    def directory(self, path: str) -> Iterator[int]:
        """A descriptor of a directory in the root; what is missing is made, 0755, the owner's."""
        owner = self.manner.owner or Owner()
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in [p for p in path.split("/") if p]:
                below = _enter(fd, part, path, owner)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)

    def _destination(self, found: Found, choice: Choice, *, directory: bool) -> str:
        if self.manner.parents:
            return _joined(self.target, _below_pivot(choice.pattern, found.path))
        if directory or not self.into:
            return self.target
        return _joined(self.target, os.path.basename(found.path))

    def _place_directory(self, top: Entry, entries: Iterator[Entry], target: str) -> None:
        filling: list[_Filling] = []
        with self.directory(target) as fd:
            filling.append(_Filling(top, os.dup(fd), [], keep=True))
            try:
                for entry in entries:
                    self.stop.check()
                    above = entry.path.rpartition("/")[0]
                    while filling[-1].entry.path != above:
                        self._finish(filling.pop())
                    parent = filling[-1].fd
                    if entry.kind == stat.S_IFDIR:
                        made = _make_directory(parent, entry)
                        attributes = xattrs(f"/proc/self/fd/{entry.dir_fd}/{entry.name}")
                        filling.append(_Filling(entry, made, attributes, keep=False))
                    else:
                        self._place_one(entry, parent, entry.name, _joined(target, entry.path))
            finally:
                while filling:
                    self._finish(filling.pop())

    def _finish(self, done: _Filling) -> None:
        try:
            if not done.keep:
                self._dress(done.fd, done.entry, done.xattrs)
        finally:
            os.close(done.fd)

    def _place_one(self, entry: Entry, fd: int, name: str, target: str) -> None:
        if entry.kind in (stat.S_IFCHR, stat.S_IFBLK) and not self.manner.devices:
            return
        if entry.kind == stat.S_IFREG:
            self._place_file(entry, fd, name, target)
            return
        _make_way(fd, name, target)
        if entry.kind == stat.S_IFLNK:
            os.symlink(os.readlink(entry.name, dir_fd=entry.dir_fd), name, dir_fd=fd)
        else:
            os.mknod(name, entry.stat.st_mode, entry.stat.st_rdev, dir_fd=fd)
        chosen = self._owner(entry)
        os.chown(name, chosen.uid, chosen.gid, dir_fd=fd, follow_symlinks=False)
        if entry.kind != stat.S_IFLNK:
            os.chmod(name, self._mode(entry), dir_fd=fd)
        os.utime(name, ns=_times(entry), dir_fd=fd, follow_symlinks=False)

    def _place_file(self, entry: Entry, fd: int, name: str, target: str) -> None:
        identity = (entry.stat.st_dev, entry.stat.st_ino)
        linked = entry.stat.st_nlink > 1
        if linked and (first := self._links.get(identity)) is not None:
            _make_way(fd, name, target)
            os.link(os.path.join(self.root, first), name, dst_dir_fd=fd, follow_symlinks=False)
            return
        with _reading(entry) as source:
            file = _create(fd, name, target)
            try:
                self._copy_data(source, file, entry.stat)
                # After the copy: what was written to meanwhile is half old, half new.
                if not _same(os.fstat(source), entry.stat):
                    raise _changed(entry.path or entry.name, "its content or metadata changed")
                self._dress(file, entry, xattrs(source))
            finally:
                os.close(file)
        if linked:
            self._links[identity] = target

    def _copy_data(self, source: int, target: int, found: os.stat_result) -> None:
        if found.st_blocks * 512 >= found.st_size:
            self._copy_range(source, target, found.st_size)
            return
        # Holes stay holes, so that a sparse file costs what it holds.
        at, size = 0, found.st_size
        while (start := _data_from(source, at)) < size:
            end = min(size, _hole_from(source, start))
            os.lseek(source, start, os.SEEK_SET)
            os.lseek(target, start, os.SEEK_SET)
            self._copy_range(source, target, end - start)
            at = end
        os.ftruncate(target, size)

    def _copy_range(self, source: int, target: int, size: int) -> None:
        while size > 0:
            self.stop.check()
            try:
                count = os.sendfile(target, source, None, min(size, 64 * _PIECE))
            except OSError as e:
                if e.errno not in (errno.EINVAL, errno.ENOSYS):
                    raise
                count = _write_all(target, os.read(source, _PIECE))
            if count == 0:
                return
            size -= count

    def _dress(self, fd: int, entry: Entry, attributes: list[tuple[str, bytes]]) -> None:
        chosen = self._owner(entry)
        os.fchown(fd, chosen.uid, chosen.gid)
        os.fchmod(fd, self._mode(entry))  # after chown, which clears setuid
        for name, value in attributes:
            os.setxattr(fd, name, value)
        os.utime(fd, ns=_times(entry))

    def _owner(self, entry: Entry) -> Owner:
        return self.manner.owner or Owner(entry.stat.st_uid, entry.stat.st_gid)

    def _mode(self, entry: Entry) -> int:
        mode = stat.S_IMODE(entry.stat.st_mode)
        change = self.manner.mode
        return change(mode, entry.kind == stat.S_IFDIR) if change else mode


def _stamped(entries: Iterator[Entry], stamp: "_Hash") -> Iterator[Entry]:
    for entry in entries:
        stamp.update(entry.stamp)
        yield entry


def _enter(fd: int, name: str, path: str, owner: Owner) -> int:
    try:
        return os.open(name, DIRECTORY, dir_fd=fd)
    except FileNotFoundError:
        os.mkdir(name, 0o700, dir_fd=fd)
        made = os.open(name, DIRECTORY, dir_fd=fd)
        os.fchown(made, owner.uid, owner.gid)
        os.fchmod(made, 0o755)
        return made
    except NotADirectoryError as e:
        raise _in_the_way(path, f"{name!r} on the way is not a directory") from e


def _make_directory(parent: int, entry: Entry) -> int:
    try:
        os.mkdir(entry.name, 0o700, dir_fd=parent)
    except FileExistsError as e:
        found = os.stat(entry.name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            raise _in_the_way(entry.path, "there is a file or link where a directory goes") from e
    return os.open(entry.name, DIRECTORY, dir_fd=parent)


def _create(fd: int, name: str, target: str) -> int:
    """A new file in the place of what is there; mostly nothing is, so that is looked at second."""
    with suppress(FileExistsError):
        if name:
            return os.open(name, _NEW, 0o600, dir_fd=fd)
    _make_way(fd, name, target)
    return os.open(name, _NEW, 0o600, dir_fd=fd)


def _make_way(fd: int, name: str, target: str) -> None:
    """Remove what a file replaces; a directory is never replaced."""
    if not name:
        raise _in_the_way(target or "/", "it is a directory")
    try:
        os.unlink(name, dir_fd=fd)
    except FileNotFoundError:
        return
    except IsADirectoryError as e:
        raise _in_the_way(target, "there is a directory where a file goes") from e


@contextmanager
def _reading(entry: Entry) -> Iterator[int]:
    try:
        fd = os.open(entry.name, FILE, dir_fd=entry.dir_fd)
    except OSError as e:
        if e.errno in (errno.ELOOP, errno.ENXIO):
            raise _changed(entry.path or entry.name, "it is no file any more") from e
        raise
    try:
        yield fd
    finally:
        os.close(fd)


def _data_from(fd: int, at: int) -> int:
    """Where the next data is; beyond every file if there is none."""
    try:
        return os.lseek(fd, at, os.SEEK_DATA)
    except OSError as e:
        if e.errno == errno.ENXIO:
            return sys.maxsize
        return at  # a file system that does not know: all is data


def _hole_from(fd: int, at: int) -> int:
    try:
        return os.lseek(fd, at, os.SEEK_HOLE)
    except OSError:
        return sys.maxsize


def _write_all(fd: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    return len(data)


def _same(now: os.stat_result, then: os.stat_result) -> bool:
    return (now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns) == (
        then.st_ino,
        then.st_size,
        then.st_mtime_ns,
        then.st_ctime_ns,
    )


def _times(entry: Entry) -> tuple[int, int]:
    return entry.stat.st_mtime_ns, entry.stat.st_mtime_ns


def _below_pivot(pattern: str, path: str) -> str:
    """What `--parents` keeps of a path: all of it, or what comes after `/./` in the pattern."""
    before, pivot, _ = pattern.partition("/./")
    parts = path.split("/")
    return "/".join(parts[len([p for p in before.split("/") if p]) :] if pivot else parts)


def _joined(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory and name else directory or name


def _in_the_way(path: str, why: str) -> BuildError:
    return BuildError(
        f"cannot copy to /{path.lstrip('/')}",
        why=why,
        remedy="choose another destination, or remove what is there in an earlier RUN",
    )


def _changed(path: str, why: str) -> BuildError:
    return BuildError(
        f"{path} changed during the build",
        why=why,
        remedy="build again when nothing writes to the context",
    )
