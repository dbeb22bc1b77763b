"""Uploads in files that several processes share: whose turn it is, and the hash of what came.

The lock is the kernel's (flock), so it goes with a process that is killed. Beside an
upload lies the state of its hash, as the process of the last turn left it. It counts for
a file of that length and date, and until this machine is started anew: what came after
may have been lost by a power cut, and who takes the state's word would vouch for it.
"""

import contextlib
import fcntl
import json
import os
from functools import cache
from typing import Final

from argosy.stores import hashing
from argosy.stores.hashing import RunningHash

STATE: Final = ".state"
"""What the name of the file beside an upload ends in."""

_BOOT: Final = "/proc/sys/kernel/random/boot_id"


def hold(path: str) -> int | None:
    """The upload's file, held until it is closed; None if another request has it.

    FileNotFoundError if it has become a blob, or is gone.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(path).st_ino == os.fstat(fd).st_ino:
            return fd
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    raise FileNotFoundError(path)


def remember(path: str, fd: int, state: RunningHash | None) -> None:
    """Leave the hash of what is in the file for the process of the next turn."""
    left = state.state() if state is not None else b""
    if not left or not _boot():
        forget(path)
        return
    found = os.fstat(fd)
    text = json.dumps(
        {
            "boot": _boot(),
            "size": found.st_size,
            "changed": found.st_mtime_ns,
            "made_by": hashing.tag(),
            "state": left.hex(),
        }
    )
    with contextlib.suppress(OSError):  # then the next one reads what is there
        out = os.open(path + STATE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            os.write(out, text.encode())
        finally:
            os.close(out)


def recall(path: str, fd: int, algorithm: str) -> RunningHash | None:
    """The hash of what is in the file; None if it has to be read."""
    found = os.fstat(fd)
    if not found.st_size:
        return hashing.begin(algorithm)
    try:
        with open(path + STATE, "rb") as file:
            left = json.loads(file.read())
        as_left = (left["boot"], left["size"], left["changed"])
        if as_left != (_boot(), found.st_size, found.st_mtime_ns):
            return None
        return hashing.resume(algorithm, bytes.fromhex(left["state"]), left["made_by"])
    except (OSError, ValueError, KeyError, TypeError):  # none, or cut short
        return None


def forget(path: str) -> None:
    """Remove what lies beside an upload."""
    with contextlib.suppress(OSError):
        os.unlink(path + STATE)


def is_left(path: str, before: float) -> bool:
    """Whether nobody has written to it since, nor holds it now; if so, it is removed."""
    try:
        if os.stat(path).st_mtime > before or (fd := hold(path)) is None:
            return False
    except FileNotFoundError:
        return False
    try:
        os.unlink(path)
        forget(path)
    finally:
        os.close(fd)
    return True


@cache
def _boot() -> str:
    """What names the time since this machine was started."""
    try:
        with open(_BOOT, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
