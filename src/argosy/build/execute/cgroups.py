"""What a runtime that was killed itself leaves in the cgroup tree: processes, and the groups."""

import glob
import os
import signal
import time
from contextlib import suppress

_TREE = "/sys/fs/cgroup"
_PATIENCE = 2.0  # seconds for killed processes to be gone


def cgroup_of(container: str, parent: str = "") -> str:
    """The path of a container's cgroup in each hierarchy: at its top, or below `parent`."""
    return os.path.join(parent.strip("/"), f"argosy-{container}")


def clear(container: str, parent: str = "", tree: str = _TREE) -> None:
    """Kill whatever is in a container's cgroup, and remove it from every hierarchy (blocking)."""
    name = glob.escape(cgroup_of(container, parent))
    deadline = time.monotonic() + _PATIENCE
    while groups := [*glob.glob(f"{tree}/{name}"), *glob.glob(f"{tree}/*/{name}")]:
        for group in groups:
            _kill(group)
            _remove(group)
        if time.monotonic() > deadline:
            return  # a process that cannot die yet; it is dead all the same
        time.sleep(0.01)


def _kill(group: str) -> None:
    with suppress(OSError), open(os.path.join(group, "cgroup.procs"), encoding="ascii") as file:
        for pid in file.read().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def _remove(group: str) -> None:
    with suppress(OSError):
        for inner in os.listdir(group):
            if os.path.isdir(path := os.path.join(group, inner)):
                _kill(path)
                with suppress(OSError):
                    os.rmdir(path)
        os.rmdir(group)
