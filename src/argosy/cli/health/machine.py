"""The doctor on this machine: room on the disk, a runtime, emulators."""

import os
import shutil
from collections.abc import Awaitable, Callable

from argosy.cli.health.finding import Finding, State
from argosy.cli.terminal.units import human_size
from argosy.concurrency import in_thread
from argosy.settings import Settings

_ROOM_WARN, _ROOM_FAIL = 5 << 30, 512 << 20  # bytes; one build of a common image needs 2 to 4 GB
_INODES_WARN = 100_000  # a Debian base image has some 10 000 files


async def disk(settings: Settings, _fix: bool) -> Finding:
    """Room where images, build cache and snapshots are kept."""
    return await in_thread(_disk, settings.home)


def _disk(home: str) -> Finding:
    place = home
    while not os.path.exists(place):
        place = os.path.dirname(place)
    room = shutil.disk_usage(place)
    inodes = os.statvfs(place).f_favail
    few = 0 < inodes < _INODES_WARN
    state: State = (
        "fail" if room.free < _ROOM_FAIL else "warn" if room.free < _ROOM_WARN or few else "ok"
    )
    evidence = (
        f"{human_size(room.free)} of {human_size(room.total)} free",
        f"{inodes} inodes free",
    )
    if not os.access(place, os.W_OK):
        return Finding(
            check="disk",
            state="fail",
            summary=f"{place} cannot be written to",
            evidence=(f"local images and build cache go to {home}",),
            next="run as its owner, or set ARGOSY_HOME to a directory of your own",
        )
    return Finding(
        check="disk",
        state=state,
        summary=f"{home}: {evidence[0]}",
        evidence=evidence[1:] if state != "ok" else (),
        next="" if state == "ok" else "make room, or set ARGOSY_HOME to a larger disk",
    )


CHECKS: dict[str, Callable[[Settings, bool], Awaitable[Finding]]] = {"disk": disk}
