"""What a runtime that was killed itself leaves in the cgroup tree: processes, and the groups."""

import ctypes
import glob
import os
import signal
import time
from contextlib import suppress

_TREE = "/sys/fs/cgroup"
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_PATIENCE = 2.0  # seconds for killed processes to be gone
_GRACE = 0.1  # seconds for the group of dead processes to be
_OLD = 3600.0  # seconds


def cgroup_of(container: str, parent: str = "") -> str:
    """The path of a container's cgroup in each hierarchy: at its top, or below `parent`."""
    return os.path.join(parent.strip("/"), f"argosy-{container}")


def adopt_orphans() -> None:
    """Be the parent of what a killed runtime leaves behind, so that it can be reaped at once.

    Another init may take seconds to do that, and a cgroup cannot go before.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def clear(container: str, parent: str = "", tree: str = _TREE) -> None:
    """Kill whatever is in a container's cgroup, and remove it from every hierarchy (blocking).

    The kernel may list the dead for seconds: then the group is left for `sweep`.
    """
    name = glob.escape(cgroup_of(container, parent))
    deadline = dead_since = time.monotonic()
    while groups := [*glob.glob(f"{tree}/{name}"), *glob.glob(f"{tree}/*/{name}")]:
        now = time.monotonic()
        killed = [_kill(group) for group in groups]
        if any(killed):
            dead_since = now
        for group in groups:
            _remove(group)
        if now - dead_since > _GRACE or now - deadline > _PATIENCE:
            return
        time.sleep(0.01)


def sweep(tree: str = _TREE) -> None:
    """Remove what `clear` had to leave: groups of an hour ago and more that are empty (blocking)."""
    for group in [*glob.glob(f"{tree}/argosy-*"), *glob.glob(f"{tree}/*/argosy-*")]:
        with suppress(OSError):
            if time.time() - os.stat(group).st_mtime > _OLD:
                os.rmdir(group)


def _kill(group: str) -> bool:
    """Whether there was something to kill."""
    alive = False
    with suppress(OSError), open(os.path.join(group, "cgroup.procs"), encoding="ascii") as file:
        for pid in file.read().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
                alive = True
            with suppress(ChildProcessError):
                os.waitpid(int(pid), os.WNOHANG)
    return alive


def _remove(group: str) -> None:
    with suppress(OSError):
        for inner in os.listdir(group):
            if os.path.isdir(path := os.path.join(group, inner)):
                _kill(path)
                with suppress(OSError):
                    os.rmdir(path)
        os.rmdir(group)
