"""What a layer leaves to the layers below it, done once those are there.

A layer may leave out the entry of a parent directory: its attributes are then those
below. It may hold a hard link to a file of a lower layer, as tools write that unpack
into a mounted overlay: the file is copied up, as overlayfs does. So layers can be
unpacked in any order, or all at once, and are completed from the bottom up.
Source: Linux Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress

from argosy.build.layers.confine import Root
from argosy.errors import UnsafeLayer
from argosy.values import frozen

_XATTRS = (b"user.", b"security.capability", b"system.posix_acl_")
_OVERLAY_XATTRS = b"user.overlay."
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Path = tuple[bytes, ...]


@frozen
class LinkBelow:
    """A hard link to a file that the layer itself does not hold."""

    name: Path
    target: Path


@frozen
class Leftovers:
    """Directories without an entry of their own (with device and inode), and links to lower files."""

    implied: tuple[tuple[Path, tuple[int, int]], ...] = ()
    links: tuple[LinkBelow, ...] = ()
    bare_top: bool = False  # the layer says nothing of its root directory


def complete(top: str, left: Leftovers, lowers: Sequence[str]) -> None:
    """Finish a layer directory from those below it, the top one first (blocking).

    UnsafeLayer: a hard link leads to no file.
    """
    with Root(top) as root:
        complete_in(root, left, lowers)


def complete_in(root: Root, left: Leftovers, lowers: Sequence[str]) -> None:
    """As `complete`, in an open directory."""
    if left.bare_top and lowers:
        _dress_as(root, (), os.lstat(lowers[0]))
    for path, inode in left.implied:
        like = _below(path, lowers)
        if like is not None and stat.S_ISDIR(like.st_mode):
            _dress_as(root, path, like, inode)
    for link in left.links:
        _link(root, link, lowers)


def _dress_as(
    root: Root, path: Path, like: os.stat_result, inode: tuple[int, int] | None = None
) -> None:
    try:
        fd = root.directory(b"/".join(path))
    except OSError:
        return  # it was replaced later in the layer
    try:
        found = os.fstat(fd)
        if inode is None or inode == (found.st_dev, found.st_ino):
            here = f"/proc/self/fd/{fd}"
            os.chown(here, like.st_uid, like.st_gid)
            os.chmod(here, stat.S_IMODE(like.st_mode))
    finally:
        os.close(fd)


def _below(path: Path, lowers: Sequence[str]) -> os.stat_result | None:
    """The uppermost of what the lower layers have at a path; None if it is nothing or deleted."""
    found = _found(path, lowers)
    return os.lstat(found) if found is not None else None


def _found(path: Path, lowers: Sequence[str]) -> bytes | None:
    for lower in lowers:
        here = os.fsencode(lower)
        for step, last in _steps(path):
            here = os.path.join(here, step)
            try:
                status = os.lstat(here)
            except (FileNotFoundError, NotADirectoryError):
                break
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                return None  # deleted here; what is further below does not show
            if last:
                return here
            if not stat.S_ISDIR(status.st_mode):
                return None
            if _is_opaque(here):
                inside = os.path.join(os.fsencode(lower), *path)
                return inside if os.path.lexists(inside) else None
    return None


def _steps(path: Path) -> Iterator[tuple[bytes, bool]]:
    for number, step in enumerate(path, 1):
        yield step, number == len(path)


def _is_opaque(path: bytes) -> bool:
    for key in ("trusted.overlay.opaque", "user.overlay.opaque"):
        with suppress(OSError):
            if os.getxattr(path, key, follow_symlinks=False) == b"y":
                return True
    return False


def _link(root: Root, link: LinkBelow, lowers: Sequence[str]) -> None:
    target, name = b"/".join(link.target), b"/".join(link.name)

    def made(folder: int, part: bytes, path: bytes) -> None:
        os.mkdir(part, 0o755, dir_fd=folder)
        like = _below(tuple(path.split(b"/")), lowers)
        if like is not None and stat.S_ISDIR(like.st_mode):
            os.chown(part, like.st_uid, like.st_gid, dir_fd=folder, follow_symlinks=False)
            os.chmod(part, stat.S_IMODE(like.st_mode), dir_fd=folder)

    origin = _found(link.target, lowers)
    status = os.lstat(origin) if origin is not None else None
    if (
        origin is None
        or status is None
        or not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode))
    ):
        raise no_target(name, target)
    there, here = root.directory(b"/".join(link.target[:-1]), made), -1
    try:
        with suppress(FileExistsError):  # two links to one file
            _copy_up(origin, status, there, link.target[-1])
        here = root.directory(b"/".join(link.name[:-1]), made)
        with suppress(FileExistsError):  # something took its place later in the layer
            os.link(
                link.target[-1],
                link.name[-1],
                src_dir_fd=there,
                dst_dir_fd=here,
                follow_symlinks=False,
            )
    finally:
        os.close(there)
        if here >= 0:
            os.close(here)


def _copy_up(origin: bytes, status: os.stat_result, folder: int, name: bytes) -> None:
    times = (status.st_mtime_ns, status.st_mtime_ns)
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(origin), name, dir_fd=folder)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=folder, follow_symlinks=False)
        os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)
        return
    target = os.open(name, _NEW, 0o600, dir_fd=folder)
    source = -1
    try:
        source = os.open(origin, _READ)
        while os.sendfile(target, source, None, 64 << 20):
            pass
        os.fchown(target, status.st_uid, status.st_gid)
        os.fchmod(target, stat.S_IMODE(status.st_mode))
        for key in os.listxattr(source):
            named = os.fsencode(key)
            if named.startswith(_XATTRS) and not named.startswith(_OVERLAY_XATTRS):
                os.setxattr(target, key, os.getxattr(source, key))
        os.utime(target, ns=times)
    finally:
        os.close(target)
        if source >= 0:
            os.close(source)


def no_target(name: bytes, target: bytes) -> UnsafeLayer:
    """A hard link that leads nowhere."""
    return UnsafeLayer(
        f"{os.fsdecode(name)!r} is a hard link to {os.fsdecode(target)!r}",
        why="which is not a file of this archive, nor of a layer below it",
    )
