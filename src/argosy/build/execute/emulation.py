"""Whether programs of an architecture run here, natively or by an emulator; and turning emulation on.

Found out by running one (see `elf`). For containers the kernel must have opened the
emulator when it was registered (flag F), since inside there is no emulator to open.
Source: Linux Documentation/admin-guide/binfmt-misc.rst.
"""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Literal

from argosy.build.execute.elf import ARCHITECTURES, exit_program
from argosy.errors import RuntimeUnavailable
from argosy.model.platform import Platform
from argosy.settings import invoker
from argosy.values import frozen

BINFMT = "/proc/sys/fs/binfmt_misc"
_PACKAGES = "apt-get install --yes qemu-user-static binfmt-support"
_MOUNT = f"mount -t binfmt_misc binfmt_misc {BINFMT}"
_ENABLE = "update-binfmts --enable"

How = Literal["native", "emulated", "missing", "broken"]


@frozen(kw_only=True)
class Emulation:
    """How programs of a platform run here; if they do not, why, and the commands that change it."""

    platform: Platform
    how: How
    interpreter: str = ""
    why: str = ""
    remedy: str = ""

    @property
    def works(self) -> bool:
        """Whether a step for the platform can be run."""
        return self.how in ("native", "emulated")

    def require(self) -> None:
        """RuntimeUnavailable, with the commands, unless it works."""
        if not self.works:
            raise RuntimeUnavailable(
                f"this machine cannot run programs for {self.platform}",
                why=self.why,
                remedy=self.remedy,
                evidence={"platform": str(self.platform), "interpreter": self.interpreter},
            )


def emulation(platform: Platform) -> Emulation:
    """Find out how programs of a platform run here (blocking; a few milliseconds)."""
    arch = platform.architecture
    if platform.os != "linux" or arch not in ARCHITECTURES:
        return Emulation(
            platform=platform,
            how="missing",
            why="Argosy runs steps for Linux only, on: " + ", ".join(sorted(ARCHITECTURES)),
            remedy="leave the platform out, or copy programs built elsewhere without RUN",
        )
    if arch == Platform.host().architecture:
        return Emulation(platform=platform, how="native")
    program = exit_program(arch)
    failed = _run(program)
    handler = _handler(program)
    if failed:
        return _broken(platform, handler, failed) if handler else _missing(platform, failed)
    if handler is None:
        # A 32-bit mode of this processor; or binfmt_misc is not mounted where we can look.
        own = any(arch == p.architecture for p in Platform.host().runnable())
        return Emulation(platform=platform, how="native" if own else "emulated")
    if "F" not in handler.flags:
        return _unfixed(platform, handler)
    return Emulation(platform=platform, how="emulated", interpreter=handler.interpreter)


def _run(program: bytes) -> str:
    """Run a program: what went wrong, or nothing."""
    # Not close-on-exec: an emulator opens the program anew, by this very path.
    fd = os.memfd_create("argosy-probe", 0)
    try:
        os.write(fd, program)
        done = subprocess.run(
            [f"/proc/self/fd/{fd}"], pass_fds=[fd], capture_output=True, timeout=20, check=False
        )
    except OSError as e:
        if e.errno == errno.ENOEXEC:
            return "the kernel does not know what to do with its programs"
        return e.strerror or str(e)
    except subprocess.TimeoutExpired:
        return "its emulator hangs"
    finally:
        os.close(fd)
    said = done.stderr.decode(errors="replace").strip()
    return "" if done.returncode == 0 else f"a program ended with {done.returncode}: {said}"


@frozen
class _Handler:
    """One registration in binfmt_misc."""

    name: str
    interpreter: str
    flags: str
    offset: int
    magic: bytes
    mask: bytes

    def takes(self, program: bytes) -> bool:
        """Whether the kernel would hand this program to it."""
        part = program[self.offset : self.offset + len(self.magic)]
        mask = self.mask or b"\xff" * len(self.magic)
        return len(part) == len(self.magic) and all(
            (a ^ b) & m == 0 for a, b, m in zip(part, self.magic, mask, strict=True)
        )


def _handler(program: bytes) -> _Handler | None:
    """The enabled registration for a program. The kernel asks the youngest first; they do not overlap."""
    return next((h for h in _handlers() if h.takes(program)), None)


def _handlers() -> Iterator[_Handler]:
    try:
        names = sorted(os.listdir(BINFMT))
    except OSError:
        return
    for name in names:
        if name in ("register", "status"):
            continue
        with open(os.path.join(BINFMT, name), encoding="ascii", errors="replace") as file:
            lines = file.read().splitlines()
        if lines and lines[0] == "enabled":
            words = dict(line.partition(" ")[::2] for line in lines[1:])
            if magic := words.get("magic"):
                yield _Handler(
                    name,
                    words.get("interpreter", ""),
                    words.get("flags:", ""),
                    int(words.get("offset", "0")),
                    bytes.fromhex(magic),
                    bytes.fromhex(words.get("mask", "")),
                )


def _missing(platform: Platform, why: str) -> Emulation:
    if not os.path.exists(os.path.join(BINFMT, "status")):
        # Without it mounted we cannot even see whether something is registered.
        why += f", and binfmt_misc is not mounted at {BINFMT}"
    commands = [_PACKAGES] if not _have_emulator() else []
    if not os.path.exists(os.path.join(BINFMT, "status")):
        commands.append(_MOUNT)
    commands.append(_ENABLE)
    return Emulation(platform=platform, how="missing", why=why, remedy=_as_root(commands))


def _broken(platform: Platform, handler: _Handler, why: str) -> Emulation:
    return Emulation(
        platform=platform,
        how="broken",
        interpreter=handler.interpreter,
        why=f"{handler.name} is registered, but {why}",
        remedy=_as_root([_PACKAGES.replace("install", "install --reinstall"), _ENABLE]),
    )


def _unfixed(platform: Platform, handler: _Handler) -> Emulation:
    again = f"update-binfmts --disable {handler.name}", f"update-binfmts --enable {handler.name}"
    return Emulation(
        platform=platform,
        how="broken",
        interpreter=handler.interpreter,
        why=f"{handler.name} is registered without the flag F (it has {handler.flags or 'none'}),"
        f" so containers would have to contain {handler.interpreter}",
        remedy=_as_root([_PACKAGES, *again]),
    )


def _have_emulator() -> bool:
    return bool(shutil.which("update-binfmts") and shutil.which("qemu-aarch64-static"))


def _as_root(commands: list[str]) -> str:
    sudo = "" if invoker() == 0 else "sudo "
    return "run: " + " && ".join(sudo + command for command in commands)


def ensure_binfmt() -> list[str]:
    """Turn emulation on where root can: mount binfmt_misc, register the emulators; what was done.

    Blocking. RuntimeUnavailable, with the command to run, if something is missing.
    Call it before `enter_private_mounts`, or the mount stays inside this process.
    """
    if not _have_emulator():
        raise RuntimeUnavailable(
            "there is no emulator on this machine",
            why="qemu-user-static and binfmt-support are not installed",
            remedy=_as_root([_PACKAGES]),
        )
    done = []
    if not os.path.exists(os.path.join(BINFMT, "status")):
        _command(_MOUNT)
        done.append(_MOUNT)
    before = {h.name for h in _handlers()}
    _command(_ENABLE)
    if {h.name for h in _handlers()} - before:
        done.append(_ENABLE)
    return done


def _command(command: str) -> None:
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeUnavailable(
            f"cannot turn emulation on: {command} failed",
            why=done.stderr.strip() or f"exit code {done.returncode}",
            remedy=_as_root([command]),
        )
