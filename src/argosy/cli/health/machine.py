"""The doctor on this machine: room on the disk, a runtime, emulators."""

import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace

from argosy.cli.health.finding import Finding, State, failed
from argosy.cli.terminal.units import human_size
from argosy.concurrency import in_thread
from argosy.errors import ArgosyError
from argosy.settings import Settings, invoker
from argosy.values import frozen

_ROOM_WARN, _ROOM_FAIL = 5 << 30, 512 << 20  # bytes; one build of a common image needs 2 to 4 GB
_ARCHITECTURES = ("amd64", "arm64")  # what nearly everybody builds for
_INODES_WARN = 100_000  # a Debian base image has some 10 000 files


async def disk(settings: Settings, _fixed: "Repair | None") -> Finding:
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


async def runtime(settings: Settings, _fixed: "Repair | None") -> Finding:
    """An OCI runtime that really runs a container."""
    from argosy.build.execute.choice import choose

    folder = os.path.join(settings.home, "build", "runtime")
    try:
        await in_thread(os.makedirs, folder, exist_ok=True)
        chosen = await choose(folder)
    except ArgosyError as e:
        # Who is not root may only want to copy: that builds do not work is no defect.
        return (
            failed("runtime", e) if invoker() == 0 else replace(failed("runtime", e), state="warn")
        )
    except OSError as e:
        return Finding(
            check="runtime",
            state="skip",
            summary=f"cannot try: {e.strerror}: {e.filename}",
            next="set ARGOSY_HOME to a directory of your own",
        )
    flags = f" with {' '.join(chosen.flags)}" if chosen.flags else ""
    return Finding(
        check="runtime", state="ok", summary=f"{chosen.path}{flags} runs containers here"
    )


@frozen
class Repair:
    """What `--fix` did, and what it could not do."""

    done: tuple[str, ...] = ()
    problem: ArgosyError | None = None


def repair() -> Repair:
    """Turn emulation on (blocking)."""
    from argosy.build.execute.emulation import ensure_binfmt

    try:
        return Repair(tuple(ensure_binfmt()))
    except ArgosyError as e:
        return Repair(problem=e)


async def binfmt(_settings: Settings, fixed: Repair | None) -> Finding:
    """Emulation of the architectures people build for, tried with a tiny program of each."""
    from argosy.build.execute.emulation import emulation
    from argosy.model.platform import Platform

    found = [await in_thread(emulation, Platform.of("linux", arch)) for arch in _ARCHITECTURES]
    fixed = fixed or Repair()
    if fixed.problem is not None and not all(f.works for f in found):
        return failed("binfmt", fixed.problem)
    works = ", ".join(f"{f.platform} ({f.how})" for f in found if f.works)
    missing = [f for f in found if not f.works]
    return Finding(
        check="binfmt",
        state="warn" if missing else "ok",
        summary=f"runs here: {works}",
        evidence=(
            *(f"did: {step}" for step in fixed.done),
            *(f"{f.platform}: {f.why}" for f in missing),
        ),
        next=missing[0].remedy if missing else "",
    )


CHECKS: dict[str, Callable[[Settings, "Repair | None"], Awaitable[Finding]]] = {
    "disk": disk,
    "runtime": runtime,
    "binfmt": binfmt,
}
