"""Unpacking a tar archive into a directory, safe against whatever it says.

Nothing outside of the directory is ever touched: see `confine`. With `overlay` the
archive is a layer, and its whiteouts become those of overlayfs (0:0 character
devices, opaque directories). Source: OCI image-spec layer.md, "Applying Changesets";
Linux Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
"""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager

from argosy.build.layers.ahead import ahead
from argosy.build.layers.compression import decompressed
from argosy.build.layers.confine import Root, clean
from argosy.build.layers.header import Entry, Kind
from argosy.build.layers.leftovers import Leftovers, LinkBelow, complete_in, no_target
from argosy.build.layers.reader import TarReader
from argosy.build.rootless.mapping import in_user_namespace, mapped, unmapped
from argosy.errors import ContentError, DigestMismatch, NoSpace, StorageError, UnsafeLayer
from argosy.model.digest import Digest
from argosy.values import frozen

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_REFUSED_XATTRS = (b"trusted.overlay.", b"user.overlay.", b"security.selinux")
_TAKEN_XATTRS = (b"user.", b"security.capability", b"system.posix_acl_")
_MAX_ID = 0xFFFFFFFE
_UNSOUND = (  # what only the names in an archive can be to blame for
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENOTDIR,
    errno.EINVAL,
    errno.EMLINK,
)


@frozen(kw_only=True)
class Limits:
    """What an archive may hold at most; beyond it is UnsafeLayer. Bytes are those of the files, unpacked."""

    entries: int = 5_000_000
    bytes: int = 1 << 42


@frozen(kw_only=True)
class UnpackOptions:
    """How to unpack.

    `overlay`: it is a layer. `lowers`: the layer directories below it, top first:
    where the archive leaves out a parent directory, its attributes come from there, and
    so do the targets of hard links that it does not hold. None: they are not there yet,
    and `complete` does that later.
    `owner`: (uid, gid) of everything, instead of what the archive says.
    `diff_id`: what the archive must hash to uncompressed.
    """

    overlay: bool = False
    lowers: tuple[str, ...] | None = ()
    owner: tuple[int, int] | None = None
    diff_id: Digest | None = None
    limits: Limits = Limits()


@frozen
class Unpacked:
    """What came out: the number of entries, the bytes of the files, and what `complete` is to do."""

    entries: int
    bytes: int
    left: Leftovers = Leftovers()


def unpack(pieces: Iterable[bytes], top: str | int, options: UnpackOptions) -> Unpacked:
    """Unpack an archive (compressed or not) into the directory `top` (blocking).

    ContentError: it is damaged. DigestMismatch: it is not `diff_id`. UnsafeLayer: it
    tries to leave `top`, or is beyond the limits. StorageError, NoSpace: it cannot be
    written. What was unpacked until then stays, for the caller to remove.
    """
    with _translated(), Root(top) as root:
        unpacker = _Unpacker(root, options)
        with closing(_plain(pieces, options.diff_id)) as plain:
            try:
                done = unpacker.run(TarReader(plain))
            finally:
                unpacker.close()
        if options.lowers is not None:
            complete_in(root, done.left, options.lowers)
        return done


def _plain(pieces: Iterable[bytes], wanted: Digest | None) -> Generator[bytes, None, None]:
    plain = decompressed(pieces)
    return ahead(_hashed(plain, wanted) if wanted else plain)


def _hashed(pieces: Iterator[bytes], wanted: Digest) -> Iterator[bytes]:
    """The same pieces; DigestMismatch at their end if that is not what was wanted."""
    state = wanted.hasher()
    for piece in pieces:
        state.update(piece)
        yield piece
    found = Digest.from_hash(state)
    if found != wanted:
        raise DigestMismatch(
            "the layer, uncompressed",
            expected=wanted,
            actual=found,
            why="the image's config names a diffID that its layer does not have",
            remedy="the image was built wrongly, or to deceive: do not use it",
        )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise _as_ours(e, "the archive") from e


def _as_ours(e: OSError, what: str) -> StorageError | ContentError:
    reason = e.strerror or str(e)
    if e.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(f"cannot unpack {what}", why=reason, remedy="free some space there")
    if e.errno in _UNSOUND:
        return UnsafeLayer(f"cannot unpack {what}", why=reason, remedy="the archive is not sound")
    remedy = "run as root: owners and devices need it" if e.errno == errno.EPERM else ""
    return StorageError(f"cannot unpack {what}", why=reason, remedy=remedy)


@frozen
class _Late:
    """Attributes of a directory, set at the end: filling it changes its time."""

    entry: Entry
    inode: tuple[int, int]


class _Unpacker:
    """One archive being unpacked."""

    def __init__(self, root: Root, options: UnpackOptions) -> None:
        self._root = root
        self._options = options
        self._parent: tuple[tuple[bytes, ...] | None, int] = (None, -1)
        self._late: dict[tuple[bytes, ...], _Late] = {}
        self._implied_there: dict[tuple[bytes, ...], tuple[int, int]] = {}
        self._links_below: list[LinkBelow] = []
        self._bytes = 0
        self._ids = (mapped("uid"), mapped("gid"))
        self._reader: TarReader
        self._makers: dict[Kind, Callable[[Entry, int, bytes], None]] = {
            "file": self._file,
            "link": self._link,
            "symlink": self._symlink,
            "char": self._device,
            "block": self._device,
            "fifo": self._fifo,
        }

    def run(self, reader: TarReader) -> Unpacked:
        """Every entry, then what has to come last."""
        self._reader = reader
        count = 0
        for entry in reader:
            count += 1
            self._bytes += entry.size
            self._check_limits(count)
            try:
                self._entry(entry)
            except (OSError, OverflowError, ValueError) as e:
                name = repr(os.fsdecode(entry.name))[:300]
                if isinstance(e, OSError):
                    raise _as_ours(e, name) from e
                raise ContentError(f"cannot unpack {name}", why=str(e)) from e
        self._finish()
        return Unpacked(count, self._bytes, self._left() if self._options.overlay else Leftovers())

    def _left(self) -> Leftovers:
        implied = tuple((p, i) for p, i in self._implied_there.items() if p not in self._late)
        return Leftovers(implied, tuple(self._links_below), bare_top=() not in self._late)

    def close(self) -> None:
        """Let go of the open directory."""
        self._forget_parent()

    def _check_limits(self, count: int) -> None:
        limits = self._options.limits
        if count > limits.entries or self._bytes > limits.bytes:
            raise UnsafeLayer(
                "the archive unpacks to more than is accepted",
                why=f"the limits are {limits.entries} entries and {limits.bytes} bytes",
            )

    def _entry(self, entry: Entry) -> None:
        parts = clean(entry.name)
        if not parts:
            if entry.kind != "dir":
                raise UnsafeLayer("an entry would replace the root of the layer by something else")
            self._note((), entry, self._folder(()))
            return
        folder, name = self._folder(parts[:-1]), parts[-1]
        if self._options.overlay and name.startswith(WHITEOUT):
            self._whiteout(folder, name)
        elif entry.kind == "dir":
            self._directory(folder, name)
            self._note(parts, entry, folder, name)
        else:
            self._check_id(entry)
            self._makers[entry.kind](entry, folder, name)

    # Directories

    def _folder(self, parts: tuple[bytes, ...]) -> int:
        """The directory an entry goes to. Entries of one directory follow one another, so it stays open.

        It cannot go stale: whatever replaces it is an entry of another directory.
        """
        known, fd = self._parent
        if known == parts:
            return fd
        self._forget_parent()
        fd = self._root.directory(b"/".join(parts), self._implied)
        self._parent = (parts, fd)
        return fd

    def _forget_parent(self) -> None:
        if self._parent[1] >= 0:
            os.close(self._parent[1])
        self._parent = (None, -1)

    def _implied(self, folder: int, name: bytes, path: bytes) -> None:
        """A parent directory the archive has no entry for (yet)."""
        if self._there(folder, name) is not None:
            if not self._is_whiteout(folder, name):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            self._directory(folder, name)
            return
        os.mkdir(name, 0o755, dir_fd=folder)
        made = os.stat(name, dir_fd=folder, follow_symlinks=False)
        self._implied_there[clean(path)] = (made.st_dev, made.st_ino)

    def _directory(self, folder: int, name: bytes) -> None:
        try:
            os.mkdir(name, 0o755, dir_fd=folder)
        except FileExistsError:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                return
            hidden = self._is_whiteout(folder, name)
            self._remove(folder, name)
            os.mkdir(name, 0o755, dir_fd=folder)
            if hidden:
                # Removed and made anew in one layer: nothing of the old one may shine through.
                self._hide_below(folder, name)

    def _note(
        self, parts: tuple[bytes, ...], entry: Entry, folder: int, name: bytes = b"."
    ) -> None:
        self._check_id(entry)
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        self._late[parts] = _Late(entry, (found.st_dev, found.st_ino))

    def _finish(self) -> None:
        # Deepest first: setting a directory's attributes does not change its parent's time,
        # but without root a parent may be closed to us once its mode is set.
        self._forget_parent()
        for parts in sorted(self._late, key=len, reverse=True):
            late = self._late[parts]
            try:
                fd = self._root.directory(b"/".join(parts))
            except OSError:
                continue  # it was replaced later in the archive
            try:
                found = os.fstat(fd)
                if (found.st_dev, found.st_ino) == late.inode:
                    self._dress(late.entry, f"/proc/self/fd/{fd}".encode())
            finally:
                os.close(fd)

    def _dress(self, entry: Entry, path: bytes) -> None:
        os.chown(path, *self._owner(entry))
        os.chmod(path, entry.mode)
        self._set_xattrs(entry, path, follow=True)
        os.utime(path, ns=_times(entry))

    # What is not a directory

    def _file(self, entry: Entry, folder: int, name: bytes) -> None:
        try:
            fd = os.open(name, _CREATE, 0o600, dir_fd=folder)
        except FileExistsError:
            self._remove(folder, name)
            fd = os.open(name, _CREATE, 0o600, dir_fd=folder)
        try:
            if entry.sparse is None:
                for piece in self._reader.data():
                    _write_all(fd, piece)
            else:
                self._sparse(entry, fd)
            os.fchown(fd, *self._owner(entry))
            os.fchmod(fd, entry.mode)
            if entry.xattrs:
                self._set_xattrs(entry, fd, follow=True)
            os.utime(fd, ns=_times(entry))
        finally:
            os.close(fd)

    def _sparse(self, entry: Entry, fd: int) -> None:
        data = self._reader.data()
        rest = memoryview(b"")
        for offset, length in entry.sparse or ():
            os.lseek(fd, offset, os.SEEK_SET)
            missing = length
            while missing:
                rest = rest or next(data)
                _write_all(fd, rest[:missing])
                done = min(missing, len(rest))
                rest, missing = rest[done:], missing - done
        os.ftruncate(fd, entry.size)

    def _link(self, entry: Entry, folder: int, name: bytes) -> None:
        target = clean(entry.target)
        if not target:
            raise UnsafeLayer(f"{os.fsdecode(entry.name)!r} links to the root of the layer")
        try:
            there = self._root.directory(b"/".join(target[:-1]))
        except FileNotFoundError:
            self._link_below(entry, target)
            return
        try:
            found = self._there(there, target[-1])
            if found is None:
                self._link_below(entry, target)
                return
            if stat.S_ISDIR(found.st_mode) or self._is_whiteout(there, target[-1]):
                raise no_target(entry.name, entry.target)
            if self._same(folder, name, found):
                return
            self._make(
                folder,
                name,
                lambda: os.link(
                    target[-1], name, src_dir_fd=there, dst_dir_fd=folder, follow_symlinks=False
                ),
            )
        finally:
            os.close(there)

    def _link_below(self, entry: Entry, target: tuple[bytes, ...]) -> None:
        """The target may be in a lower layer: tools that unpack into a mounted overlay write such links."""
        if not self._options.overlay or self._options.lowers == ():
            raise no_target(entry.name, entry.target)
        self._links_below.append(LinkBelow(clean(entry.name), target))

    def _same(self, folder: int, name: bytes, other: os.stat_result) -> bool:
        here = self._there(folder, name)
        return here is not None and (here.st_dev, here.st_ino) == (other.st_dev, other.st_ino)

    def _symlink(self, entry: Entry, folder: int, name: bytes) -> None:
        self._make(folder, name, lambda: os.symlink(entry.target, name, dir_fd=folder))
        os.chown(name, *self._owner(entry), dir_fd=folder, follow_symlinks=False)
        os.utime(name, ns=_times(entry), dir_fd=folder, follow_symlinks=False)

    def _device(self, entry: Entry, folder: int, name: bytes) -> None:
        if entry.kind == "char" and entry.major == entry.minor == 0:
            raise UnsafeLayer(
                f"{os.fsdecode(entry.name)!r} is a character device 0:0",
                why="overlayfs takes it for a deleted file; a layer deletes with a .wh. file",
            )
        kind = stat.S_IFCHR if entry.kind == "char" else stat.S_IFBLK
        device = os.makedev(entry.major, entry.minor)
        try:
            self._make(folder, name, lambda: os.mknod(name, kind | 0o600, device, dir_fd=folder))
        except PermissionError:
            # Nobody makes devices in a user namespace. As with others without root, they are
            # left out: a step has its own /dev, and the layer itself stays as it is.
            if in_user_namespace():
                return
            raise
        self._dress_special(entry, folder, name)

    def _fifo(self, entry: Entry, folder: int, name: bytes) -> None:
        self._make(folder, name, lambda: os.mkfifo(name, 0o600, dir_fd=folder))
        self._dress_special(entry, folder, name)

    def _dress_special(self, entry: Entry, folder: int, name: bytes) -> None:
        os.chown(name, *self._owner(entry), dir_fd=folder, follow_symlinks=False)
        os.chmod(name, entry.mode, dir_fd=folder)
        os.utime(name, ns=_times(entry), dir_fd=folder, follow_symlinks=False)

    def _make(self, folder: int, name: bytes, make: Callable[[], None]) -> None:
        try:
            make()
        except FileExistsError:
            self._remove(folder, name)
            make()

    # Whiteouts

    def _whiteout(self, folder: int, name: bytes) -> None:
        if name == OPAQUE:
            _set_opaque(f"/proc/self/fd/{folder}".encode())
            return
        if name.startswith(WHITEOUT + WHITEOUT):
            return  # aufs's own bookkeeping, found in very old layers
        hidden = name[len(WHITEOUT) :]
        if hidden in (b"", b".", b".."):
            raise UnsafeLayer(f"{os.fsdecode(name)!r} is a whiteout of nothing")
        found = self._there(folder, hidden)
        if found is None:
            os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0), dir_fd=folder)
        elif stat.S_ISDIR(found.st_mode):
            # A whiteout is about lower layers only: what this layer has stays, bare.
            self._hide_below(folder, hidden)

    def _hide_below(self, folder: int, name: bytes) -> None:
        if self._options.overlay:
            _set_opaque(b"/proc/self/fd/%d/%s" % (folder, name))

    def _is_whiteout(self, folder: int, name: bytes) -> bool:
        found = self._there(folder, name)
        return (
            self._options.overlay
            and found is not None
            and stat.S_ISCHR(found.st_mode)
            and found.st_rdev == 0
        )

    # Small things

    def _there(self, folder: int, name: bytes) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _remove(self, folder: int, name: bytes) -> None:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            shutil.rmtree(name, dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)

    def _check_id(self, entry: Entry) -> None:
        if not (0 <= entry.uid <= _MAX_ID and 0 <= entry.gid <= _MAX_ID):
            raise ContentError(
                f"{os.fsdecode(entry.name)!r} has an owner that cannot be: {entry.uid}:{entry.gid}"
            )
        uids, gids = self._ids
        if not self._options.owner and (entry.uid >= uids or entry.gid >= gids):
            raise _unmapped(entry)

    def _owner(self, entry: Entry) -> tuple[int, int]:
        return self._options.owner or (entry.uid, entry.gid)

    def _set_xattrs(self, entry: Entry, path: bytes | int, *, follow: bool) -> None:
        for key, value in entry.xattrs.items():
            if key.startswith(_TAKEN_XATTRS) and not key.startswith(_REFUSED_XATTRS):
                try:
                    os.setxattr(path, key, value, follow_symlinks=follow)
                except OSError as e:
                    # As others do: a file system without them still gets the files.
                    if e.errno not in (errno.ENOTSUP, errno.EPERM):
                        raise


def _unmapped(entry: Entry) -> StorageError:
    """In a user namespace only the ids it was given can own files."""
    why, remedy = unmapped()
    return StorageError(
        f"cannot give {os.fsdecode(entry.name)!r} to its owner {entry.uid}:{entry.gid}",
        why=why,
        remedy=remedy,
    )


def _set_opaque(path: bytes) -> None:
    trusted = os.geteuid() == 0 and not in_user_namespace()
    key = "trusted.overlay.opaque" if trusted else "user.overlay.opaque"
    os.setxattr(path, key, b"y")


def _times(entry: Entry) -> tuple[int, int]:
    return (entry.mtime_ns, entry.mtime_ns)


def _write_all(fd: int, data: memoryview) -> None:
    done = os.write(fd, data)
    while done < len(data):
        done += os.write(fd, data[done:])
