"""What the kernel says of this process."""

import os
import resource
from functools import cache
from typing import Final

from argosy.meters import declared as meters
from argosy.meters.kinds import Labels, Metric

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def read() -> dict[Metric, dict[Labels, list[float]]]:
    """CPU time, memory, files and start; what /proc does not tell is left out."""
    times = os.times()
    found = {
        meters.CPU: times.user + times.system,
        meters.FILES_MOST: float(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    }
    try:
        found[meters.FILES] = float(len(os.listdir("/proc/self/fd")) - 1)  # one is the listing's
        found[meters.MEMORY] = float(_first("/proc/self/statm", 1)) * _PAGE
        found[meters.STARTED] = _started()
    except OSError:
        pass
    return {metric: {(): [value]} for metric, value in found.items()}


@cache
def _started() -> float:
    # proc_pid_stat(5): the name may hold blanks, so what follows is counted from its end.
    with open("/proc/self/stat") as file:
        after = file.read().rpartition(") ")[2].split()
    with open("/proc/stat") as file:
        boot = next(line for line in file if line.startswith("btime ")).split()[1]
    return float(boot) + float(after[19]) / _TICKS


def _first(path: str, place: int) -> str:
    with open(path) as file:
        return file.read().split()[place]
