"""Mounting, by system call: overlayfs, and a mount namespace of our own.

Source: mount(2), unshare(2), Linux Documentation/filesystems/overlayfs.rst.
"""

import ctypes
import errno
import os
import threading
from collections.abc import Callable

from argosy.build.rootless.mapping import in_user_namespace
from argosy.errors import BuildError, StorageError
from argosy.values import frozen

_libc = ctypes.CDLL(None, use_errno=True)

_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_MS_BIND, _MS_MOVE, _MS_REC, _MS_SLAVE = 4096, 8192, 16384, 1 << 19
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_CLONE_FS, _CLONE_NEWNS = 0x200, 0x20000
_CLONE_NEWUSER, _CLONE_NEWPID = 0x10000000, 0x20000000
_HYBRID = b"/sys/fs/cgroup/unified"
_PERMITTED = (
    "Linux 5.11 or newer lets users do it; otherwise run argosy build as root (sudo), and in"
    " a container give it what mounting needs"
)
_SPARE = b"/sys"  # any directory there always is: a mount of ours covers it for a moment only
_PAGE = 4096  # bytes the kernel takes as mount options

# As root the host's defaults may be on; each would put things into the upper
# directory that a layer cannot say (overlayfs.rst, "redirect_dir", "metacopy", "index").
_ALWAYS = "index=off,redirect_dir=off,metacopy=off"


@frozen(kw_only=True)
class Overlay:
    """An overlay mount; all paths relative to `top`, so that many layers fit into one page."""

    top: str
    lowers: tuple[str, ...]  # the top one first
    upper: str
    work: str
    target: str


def mount_overlay(overlay: Overlay) -> None:
    """Mount it (blocking). BuildError says what to do where overlayfs does not work.

    Volatile where the kernel can (5.10): it then never waits for the disk, not even
    when a package manager asks it to. What survives a power cut is decided later, by
    `OverlaySnapshotter.settle`.
    """
    options = (
        f"lowerdir={':'.join(overlay.lowers)},upperdir={overlay.upper},workdir={overlay.work},"
        f"{_settings()}"
    )
    if len(options) + len(",volatile") >= _PAGE:
        raise BuildError(
            f"{len(overlay.lowers)} layers are too many for one image",
            why=f"overlayfs takes at most {_PAGE} bytes of options",
            remedy="join RUN steps, or start from a base image with fewer layers",
        )

    def mount() -> int:
        code = _mount(overlay.target, "overlay", options + ",volatile")
        return _mount(overlay.target, "overlay", options) if code == errno.EINVAL else code

    if code := _within(overlay.top, mount):
        raise _no_overlay(code, overlay.top)


def _settings() -> str:
    # In a user namespace nobody may set trusted.*: overlayfs keeps its marks in user.* (Linux
    # 5.11; overlayfs.rst, "userxattr"), which by itself turns off the other two.
    return "index=off,userxattr" if in_user_namespace() else _ALWAYS


def _mount(target: str, kind: str, options: str) -> int:
    failed = _libc.mount(b"overlay", os.fsencode(target), kind.encode(), 0, options.encode())
    return ctypes.get_errno() if failed else 0


def _within(folder: str, action: Callable[[], int]) -> int:
    """Run `action` with `folder` as the current directory, of a thread of its own only."""
    result = [errno.EIO]

    def run() -> None:
        if _libc.unshare(_CLONE_FS):
            result[0] = ctypes.get_errno()
            return
        try:
            os.chdir(folder)
        except OSError as e:
            result[0] = e.errno or errno.EIO
            return
        result[0] = action()

    thread = threading.Thread(target=run, name="argosy-mount")
    thread.start()
    thread.join()
    return result[0]


def _no_overlay(code: int, top: str) -> BuildError:
    why = os.strerror(code)
    if code == errno.EPERM:
        return BuildError("cannot mount the layers", why=why, remedy=_PERMITTED)
    if code == errno.ENODEV:
        return BuildError(
            "cannot mount the layers",
            why="this kernel has no overlayfs",
            remedy="load it with: modprobe overlay",
        )
    return BuildError(
        f"cannot mount the layers below {top}",
        why=f"overlayfs says: {why}",
        remedy="set ARGOSY_HOME to a directory on ext4, xfs, btrfs or tmpfs: overlayfs cannot"
        " lie on another overlayfs (inside a container: on a volume) or on a network file system",
    )


def unmount(target: str) -> None:
    """Unmount (blocking); a busy mount is taken out of sight at once and ends with its last user."""
    path = os.fsencode(target)
    if not _libc.umount2(path, _UMOUNT_NOFOLLOW):
        return
    if _libc.umount2(path, _UMOUNT_NOFOLLOW | _MNT_DETACH):
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOENT):  # it is not mounted (any more)
            raise StorageError(f"cannot unmount {target}", why=os.strerror(code))


def enter_private_mounts() -> bool:
    """Give this process a mount namespace of its own: no mount outlives it, not even after kill -9.

    Mounts of the host still come in; ours stay inside, so whatever the host is to
    see must be mounted before. False if it was not possible: without root, or once
    there is another thread, which would stay behind in the old namespace.
    """
    if os.geteuid() != 0 or len(os.listdir("/proc/self/task")) > 1:
        return False
    return not (_libc.unshare(_CLONE_NEWNS) or detach())


def unshare_user() -> int:
    """Leave for new user, mount and process id namespaces; an errno, or 0.

    This process itself keeps its id: its next child is the first of the new namespace.
    """
    flags = _CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWPID
    return ctypes.get_errno() if _libc.unshare(flags) else 0


def detach() -> int:
    """Let nothing mounted in this mount namespace be seen outside; an errno, or 0."""
    if _libc.mount(b"none", b"/", None, _MS_REC | _MS_SLAVE, None):
        return ctypes.get_errno()
    # crun before 1.9 refuses hybrid cgroup trees. Out of its sight, the tree is a plain
    # v1 one, and steps start in half the time that runc takes. Only in here, of course.
    # In a user namespace the mounts of the host cannot be taken away, but covered.
    _libc.umount2(_HYBRID, _UMOUNT_NOFOLLOW | _MNT_DETACH)
    if os.path.ismount(_HYBRID):
        _libc.mount(b"none", _HYBRID, b"tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, b"size=4k")
    return 0


def remount_proc() -> bool:
    """Mount /proc of this process id namespace; False where the kernel does not allow it.

    It does not where parts of /proc are hidden, as in containers: what is hidden is
    not to be had by mounting it again.
    """
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    # /proc/sys/fs/binfmt_misc says what is emulated; it is a mount of its own.
    if _libc.mount(b"proc", _SPARE, b"proc", flags, None):
        return False
    emulators = b"/sys/fs/binfmt_misc"
    if os.path.ismount(b"/proc" + emulators):
        _libc.mount(b"/proc" + emulators, _SPARE + emulators, None, _MS_BIND, None)
    return not _libc.mount(_SPARE, b"/proc", None, _MS_MOVE, None)


def sync_file_system(path: str) -> None:
    """Wait until everything written to the file system of `path` is on the disk (blocking)."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(fd):
            code = ctypes.get_errno()
            raise StorageError(f"cannot write back {path}", why=os.strerror(code))
    finally:
        os.close(fd)
