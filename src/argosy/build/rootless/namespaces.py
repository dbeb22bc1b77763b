"""Working without root: a user namespace in which this user is root, and has ids to give away.

`enter` is called first thing, before any thread starts. For root it is a mount namespace
of its own, no more. For everybody else the process becomes two: the one that was started
waits, passes signals on, and ends as the other ends; the other goes on as root of new
user, mount and process id namespaces. Whatever happens to the first, the kernel then
kills the second with every process it has, and its mounts go with it.

Source: user_namespaces(7), pid_namespaces(7), newuidmap(1), mount_namespaces(7).
"""

import errno
import os

from argosy.build.rootless.guard import stand_by
from argosy.build.rootless.mapping import Kind, in_user_namespace
from argosy.build.rootless.subids import Rights, program, rights
from argosy.build.snapshot import mounts
from argosy.errors import RuntimeUnavailable
from argosy.settings import INVOKER
from argosy.values import frozen

_SYSCTLS = (  # what forbids user namespaces: the file, the value that does, the one that does not
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("user.max_user_namespaces", "0", "15000"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
)


@frozen(kw_only=True)
class Entered:
    """Where a process is now; `warning` is what will not work there, and `remedy` what helps."""

    rootless: bool = False
    warning: str = ""
    remedy: str = ""


def enter() -> Entered:
    """Go where builds can be done, as root or not; RuntimeUnavailable says what forbids it.

    Once there are threads it is too late, and nothing is done.
    """
    if os.geteuid() == 0:
        mounts.enter_private_mounts()
        return Entered(rootless=in_user_namespace())
    if len(os.listdir("/proc/self/task")) > 1:
        return Entered()
    found = rights()
    _unshare(found)
    if code := mounts.detach():
        raise _forbidden(code)
    os.environ[INVOKER] = str(found.user.uid)
    stand_by()
    mounts.remount_proc()
    if not found.problem:
        return Entered(rootless=True)
    why = f"{found.problem}: steps and images with files of anybody but root will fail"
    return Entered(rootless=True, warning=why, remedy=found.remedy)


def try_entering() -> Entered | RuntimeUnavailable:
    """Enter, and take what forbids it as a value."""
    try:
        return enter()
    except RuntimeUnavailable as e:
        return e


# Getting there


def _unshare(found: Rights) -> None:
    """Leave for new namespaces, with all ids the user may have, or with his own only."""
    if found.problem:
        if code := mounts.unshare_user():
            raise _forbidden(code)
        _map_own(found)
        return
    # newuidmap has to be told this process from outside: it waits until we have left.
    waiting, leaving = os.pipe()
    kinds: tuple[Kind, ...] = ("uid", "gid")
    children = [_mapper(found, kind, waiting, leaving) for kind in kinds]
    os.close(waiting)
    code = mounts.unshare_user()
    if not code:
        os.write(leaving, b"..")
    os.close(leaving)
    said = [_ended(pid, output) for pid, output in children]
    if code:
        raise _forbidden(code)
    if problem := "; ".join(filter(None, said)):
        raise RuntimeUnavailable(
            f"cannot give {found.user.name} the ids of /etc/subuid and /etc/subgid",
            why=problem,
            remedy="look at these two files; if newuidmap lacks its rights, run:"
            " sudo apt-get install --reinstall --yes uidmap",
        )


def _mapper(found: Rights, kind: Kind, waiting: int, leaving: int) -> tuple[int, int]:
    """A child that maps one kind of ids once it reads a byte; its pid, and what it says."""
    words = [program(f"new{kind}map"), str(os.getpid()), *found.map_words(kind)]
    output, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        _exec_when_told(words, waiting, leaving, into)
    os.close(into)
    return pid, output


def _exec_when_told(words: list[str], waiting: int, leaving: int, into: int) -> None:
    try:
        os.close(leaving)
        if os.read(waiting, 1):
            os.dup2(into, 1)
            os.dup2(into, 2)
            os.execv(words[0], words)  # noqa: S606 - that is what it is for
    finally:
        os._exit(126)


def _ended(pid: int, output: int) -> str:
    """What a mapper has to complain of, or nothing."""
    with os.fdopen(output, encoding="utf-8", errors="replace") as file:
        said = file.read().strip()
    _, status = os.waitpid(pid, 0)
    return "" if status == 0 else said or f"exit code {os.waitstatus_to_exitcode(status)}"


def _map_own(found: Rights) -> None:
    _write("/proc/self/setgroups", "deny")  # without it the kernel takes no group map
    _write("/proc/self/uid_map", f"0 {found.user.uid} 1")
    _write("/proc/self/gid_map", f"0 {found.user.gid} 1")


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    except OSError as e:
        raise _forbidden(e.errno or errno.EPERM) from e


def _forbidden(code: int) -> RuntimeUnavailable:
    why = os.strerror(code)
    remedy = "run as root (sudo), or, in a container, allow it unshare(2) and mount(2)"
    for name, bad, good in _SYSCTLS:
        if _sysctl(name) == bad:
            why, remedy = f"{name} is {bad}", f"run: sudo sysctl --write {name}={good}"
            break
    else:
        if code == errno.ENOSPC:
            why, remedy = "too many user namespaces are in use", "raise user.max_user_namespaces"
    return RuntimeUnavailable(
        "cannot build without root: user namespaces are forbidden here", why=why, remedy=remedy
    )


def _sysctl(name: str) -> str:
    try:
        with open(f"/proc/sys/{name.replace('.', '/')}", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
