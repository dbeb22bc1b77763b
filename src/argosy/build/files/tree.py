"""A directory tree that COPY takes from: find what patterns mean, walk it, name its content.

The tree is read in place and never left: symbolic links on the way to a source are
resolved inside the root, and everything below is opened by directory file descriptor
without following links, so a link that is swapped in during the walk cannot lead out.

Names are text as the os module gives it (surrogateescape), so any bytes will do.
"""

import hashlib
import os
import re
import stat
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from argosy.build.files import glob
from argosy.errors import BuildError
from argosy.model.digest import Digest
from argosy.values import frozen

_MAX_LINKS = 255
_PIECE = 1 << 20
_PLAIN = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
_WILD = re.compile(r"[*?\[\\]")
# What a copy keeps; other namespaces (SELinux, overlay's own) belong to the machine.
_XATTRS = ("user.", "security.capability")
_OVERLAY = "user.overlay."

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a fifo that took a file's place must not hang.
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

# What a file holds: its extended attributes and a digest of its bytes. Both are the same as
# long as stat says the same, so a table may know them (see sources.local).
FileDigest = Callable[[int, str, os.stat_result], bytes]


class Ignore(Protocol):
    """What a .dockerignore or --exclude says about paths (see dockerfile.ignore.Matcher)."""

    def ignores(self, path: str) -> bool:
        """Whether the path is left out, by itself or because of a directory above it."""
        ...

    def may_skip(self, directory: str) -> bool:
        """Whether nothing below an ignored directory can be kept."""
        ...


@frozen
class Found:
    """A source that a pattern stands for: `path` as matched; `real` with symbolic links resolved."""

    path: str
    real: str


@dataclass(slots=True, eq=False)
class Entry:
    """One thing met on a walk; `dir_fd` and `name` open it while the walk stands there."""

    path: str  # relative to the source; `` is the source itself
    dir_fd: int
    name: str
    stat: os.stat_result
    kind: int = field(init=False)  # the file type bits of the mode; asked for often

    def __post_init__(self) -> None:
        self.kind = stat.S_IFMT(self.stat.st_mode)

    @property
    def stamp(self) -> bytes:
        """What changes when a file does; a directory's times change with files that do not count."""
        s = self.stat
        times = () if self.kind == stat.S_IFDIR else (s.st_size, s.st_mtime_ns, s.st_ctime_ns)
        return b"%s\0%s\0" % (os.fsencode(self.path), repr((s.st_ino, *times)).encode())


class Stop:
    """Tells a thread that works on files to give up: `check` raises once `set` was called."""

    def __init__(self) -> None:
        self._flag = threading.Event()

    def set(self) -> None:
        """Ask it to end."""
        self._flag.set()

    def check(self) -> None:
        """Raise InterruptedError if it was asked to end."""
        if self._flag.is_set():
            raise InterruptedError


def resolve(root: str, path: str, *, last: bool = True) -> str:
    """`path` inside `root` with symbolic links resolved as chroot would; relative, `` is the root.

    What does not exist stays as written. With `last` off a link at the very end stays.
    """
    pending = _parts(path)[::-1]
    done: list[str] = []
    links = 0
    while pending:
        part = pending.pop()
        if part == "..":
            del done[-1:]
            continue
        done.append(part)
        if not pending and not last:
            break
        try:
            target = os.readlink(os.path.join(root, *done))
        except OSError:  # no link, or nothing there
            continue
        links += 1
        if links > _MAX_LINKS:
            raise BuildError(f"{path}: too many symbolic links", why="they lead in a circle")
        done = [] if target.startswith("/") else done[:-1]
        pending += _parts(target)[::-1]
    return "/".join(done)


def _parts(path: str) -> list[str]:
    return [p for p in path.split("/") if p not in ("", ".")]


@contextmanager
def opened(root: str, path: str) -> Iterator[int]:
    """A descriptor of directory `path` (resolved, relative) below `root`; follows no links."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in _parts(path):
            below = os.open(part, DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


@dataclass(slots=True, eq=False)
class Tree:
    """A root, with what is to be left out of it."""

    root: str
    ignore: Ignore | None = None
    what: str = "the build context"
    file_digest: FileDigest | None = None
    special: bool = True  # off: fifos and devices are left out, as sockets always are
    _digests: dict[tuple[str, str, bool], Digest] = field(default_factory=dict)
    _stamps: dict[tuple[str, str, bool], bytes] = field(default_factory=dict)

    def find(self, pattern: str) -> list[Found]:
        """What a source pattern (Go's filepath.Match, no `**`) stands for, sorted.

        BuildError if a pattern without wildcards stands for nothing; with them it may.
        """
        if not _WILD.search(pattern):
            return [self._found("/".join(p for p in _parts(pattern) if p != ".."))]
        paths = [""]
        for part in _parts(pattern):
            paths = list(self._matching(paths, part))
        return [self._found(p) for p in sorted(paths) if not self._ignored(p)]

    def _matching(self, directories: list[str], part: str) -> Iterator[str]:
        if not _WILD.search(part):
            for path in directories:
                below = f"{path}/{part}" if path else part
                if os.path.lexists(os.path.join(self.root, resolve(self.root, below, last=False))):
                    yield below
            return
        expression = match_expression(part)
        for path in directories:
            real = os.path.join(self.root, resolve(self.root, path))
            with suppress(NotADirectoryError, FileNotFoundError):
                for name in os.listdir(real):
                    if expression.fullmatch(name):
                        yield f"{path}/{name}" if path else name

    def _found(self, path: str) -> Found:
        real = resolve(self.root, path)
        if not os.path.lexists(os.path.join(self.root, real)):
            raise BuildError(
                f"/{path} is not in {self.what}",
                why=f"there is no such file or directory in {self.root}",
                remedy="check the path: it is relative to the root of the context or stage",
            )
        if self._ignored(path) and not self._keeps_below(path):
            raise BuildError(
                f"/{path} is not in {self.what}",
                why="the ignore file (.dockerignore) leaves it out",
                remedy=f"add the line !{path} to the ignore file, or copy something else",
            )
        return Found(path, real)

    def _ignored(self, path: str) -> bool:
        return self.ignore is not None and bool(path) and self.ignore.ignores(path)

    def _keeps_below(self, path: str) -> bool:
        return self.ignore is not None and not self.ignore.may_skip(path)

    def walk(self, found: Found, exclude: Ignore | None = None) -> Generator[Entry, None, None]:
        """Everything of a source, parents before children, sorted by name at each level.

        A directory that is left out shows up only if something below it is kept.
        Sockets are left out, and what else is not `special`.
        """
        parent, _, name = found.real.rpartition("/")
        left_out = _LeftOut(self.ignore, found.real, exclude, special=self.special)
        with opened(self.root, parent) as fd:
            status = os.stat(name or ".", dir_fd=fd, follow_symlinks=False)
            top = Entry("", fd, name or ".", status)
            yield top
            if top.kind == stat.S_IFDIR:
                yield from _walk_below(top, left_out)

    def digest(self, choice: "Choice", stop: Stop) -> Digest:
        """A name for the content of a choice: paths, types, modes, links, xattrs, bytes.

        Times do not count; owners only if asked. Remembered for this tree's life.
        """
        if (known := self._digests.get(choice.key)) is not None:
            return known
        state, stamp = hashlib.sha256(), hashlib.sha256()
        read = self.file_digest or read_digest
        for found in self.find(choice.pattern):
            state.update(b"source\0" + os.fsencode(os.path.basename(found.path)) + b"\0")
            with _readable(found.path, self.what):
                for entry in self.walk(found, choice.exclude):
                    stop.check()
                    state.update(_header(entry, owners=choice.owners))
                    if entry.kind == stat.S_IFREG:
                        state.update(read(entry.dir_fd, entry.name, entry.stat))
                    else:
                        state.update(_attributes(entry.dir_fd, entry.name, entry.kind))
                    stamp.update(entry.stamp)
        self._digests[choice.key] = Digest.from_hash(state)
        self._stamps[choice.key] = stamp.digest()
        return self._digests[choice.key]

    def listing(self, choice: "Choice") -> Iterator[tuple[str, str]]:
        """Every path of a choice with its mode and a digest of the rest (blocking); for `explain`."""
        read = self.file_digest or read_digest
        for found in self.find(choice.pattern):
            with _readable(found.path, self.what):
                for entry in self.walk(found, choice.exclude):
                    content = b"%o" % entry.kind
                    if entry.kind == stat.S_IFREG:
                        content = read(entry.dir_fd, entry.name, entry.stat)
                    elif entry.kind == stat.S_IFLNK:
                        content = os.fsencode(os.readlink(entry.name, dir_fd=entry.dir_fd))
                    path = "/".join(p for p in (found.path, entry.path) if p) or "."
                    name = hashlib.sha256(content).hexdigest()[:16]
                    yield path, f"{entry.stat.st_mode & 0o7777:04o} {name}"

    def stayed(self, choice: "Choice", stamp: bytes) -> bool:
        """Whether a later walk with this stamp met what `digest` had met; True if it never looked."""
        return self._stamps.get(choice.key, stamp) == stamp


@frozen(kw_only=True)
class Choice:
    """What is taken of a tree: a source pattern, less what is excluded; with owners or without."""

    pattern: str
    exclude: Ignore | None = None
    owners: bool = False

    @property
    def key(self) -> tuple[str, str, bool]:
        """Equal choices have equal keys."""
        rules = getattr(self.exclude, "patterns", self.exclude)
        return self.pattern, repr(rules), self.owners


@frozen
class _LeftOut:
    """The ignore file (by paths of the tree) and --exclude (by paths of the source) as one."""

    ignore: Ignore | None
    prefix: str
    exclude: Ignore | None
    special: bool

    def says(self, path: str, kind: int) -> tuple[bool, bool]:
        """Whether the path is left out, and whether all below it is too."""
        if kind == stat.S_IFSOCK or (kind not in _PLAIN and not self.special):
            return True, True
        whole = f"{self.prefix}/{path}" if self.prefix else path
        out = skip = False
        for rules, name in ((self.ignore, whole), (self.exclude, path)):
            if rules is not None and rules.ignores(name):
                out = True
                skip = skip or rules.may_skip(name)
        return out, skip


def _walk_below(parent: Entry, left_out: _LeftOut) -> Iterator[Entry]:
    fd = os.open(parent.name, DIRECTORY, dir_fd=parent.dir_fd)
    try:
        with os.scandir(fd) as listing:
            found = sorted((e.name, e.stat(follow_symlinks=False)) for e in listing)
        for name, status in found:
            entry = Entry(f"{parent.path}/{name}" if parent.path else name, fd, name, status)
            out, skip = left_out.says(entry.path, entry.kind)
            if skip:
                continue
            below = _walk_below(entry, left_out) if entry.kind == stat.S_IFDIR else iter(())
            if out:
                first = next(below, None)
                if first is None:
                    continue
                yield entry
                yield first
            else:
                yield entry
            yield from below
    finally:
        os.close(fd)


def _header(entry: Entry, *, owners: bool) -> bytes:
    status = entry.stat
    fields = [os.fsencode(entry.path), b"%o" % status.st_mode]
    if owners:
        fields.append(b"%d:%d" % (status.st_uid, status.st_gid))
    if entry.kind == stat.S_IFLNK:
        fields.append(os.fsencode(os.readlink(entry.name, dir_fd=entry.dir_fd)))
    elif entry.kind in (stat.S_IFCHR, stat.S_IFBLK):
        fields.append(b"%d" % status.st_rdev)
    return _framed(fields)


def _attributes(dir_fd: int, name: str, kind: int) -> bytes:
    """The end of a header: the extended attributes, of files and directories only."""
    fields: list[bytes] = []
    if kind in (stat.S_IFREG, stat.S_IFDIR):
        for key, value in xattrs(f"/proc/self/fd/{dir_fd}/{name}"):
            fields += [os.fsencode(key), value]
    return _framed(fields) + b"\n"


def _framed(fields: list[bytes]) -> bytes:
    return b"".join([b"%d\0%s" % (len(f), f) for f in fields])


def xattrs(file: str | int) -> list[tuple[str, bytes]]:
    """The extended attributes that a copy keeps of a path (no link) or a descriptor, sorted."""
    follow = isinstance(file, int)  # a descriptor cannot but be followed
    try:
        names = os.listxattr(file, follow_symlinks=follow)
    except OSError:  # the file system has none
        return []
    kept = [n for n in sorted(names) if n.startswith(_XATTRS) and not n.startswith(_OVERLAY)]
    return [(n, os.getxattr(file, n, follow_symlinks=follow)) for n in kept]


@contextmanager
def _readable(path: str, what: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as e:
        raise BuildError(
            f"{path or '.'} changed during the build",
            why=f"{e.filename} went away while it was looked at",
            remedy="build again when nothing writes to the context",
        ) from e
    except PermissionError as e:
        raise BuildError(
            f"a file of {what} cannot be read",
            why=f"{e.filename} (in {path or '.'}): {e.strerror}",
            remedy="make it readable, or leave it out by a line in .dockerignore",
        ) from e


def read_digest(dir_fd: int, name: str, _status: os.stat_result) -> bytes:
    """A file's extended attributes, and the SHA-256 of its bytes."""
    fd = os.open(name, FILE, dir_fd=dir_fd)
    try:
        piece = os.read(fd, _PIECE)
        state = hashlib.sha256(piece)
        while len(piece := os.read(fd, _PIECE)) > 0:
            state.update(piece)
    finally:
        os.close(fd)
    return _attributes(dir_fd, name, stat.S_IFREG) + state.digest()


def match_expression(pattern: str) -> re.Pattern[str]:
    """One path element of Go's filepath.Match as a regular expression; BuildError if it is malformed."""
    try:
        return glob.element(pattern)
    except glob.BadPattern as e:
        raise BuildError(str(e), why=e.why, remedy=e.remedy) from e
