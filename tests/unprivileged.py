"""A real unprivileged user, with ids of his own to give away, for as long as a test lasts.

Nothing of the machine is changed: the user is in files that are mounted over /etc/passwd,
/etc/subuid and so on in a mount namespace of the processes he starts. There also the
interpreter and the packages are made readable, wherever they lie.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

UID, FIRST, COUNT = 54321, 3_000_000_000, 65536
NAME = "argosy-test-user"
ROOT = Path(__file__).parents[1]
_NEWNS, _BIND, _REC, _PRIVATE = 0x20000, 4096, 16384, 1 << 18
_FILES = ("passwd", "group", "subuid", "subgid")


@dataclass
class User:
    """Runs commands as a user whose home is `home`; `grants` says whether he has ranges of ids."""

    home: Path
    grants: bool = True
    first: int = FIRST
    env: dict[str, str] = field(default_factory=dict)
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        os.chown(self.home, UID, UID)
        self.etc = self.home.parent / "etc"
        self.etc.mkdir(exist_ok=True)
        line = f"{NAME}:{self.first}:{COUNT}\n" if self.grants else ""
        mine = {
            "passwd": f"{NAME}:x:{UID}:{UID}::{self.home}:/bin/sh\n",
            "group": f"{NAME}:x:{UID}:\n",
            "subuid": line,
            "subgid": line,
        }
        for name in _FILES:
            there = Path("/etc", name)
            before = there.read_text() if there.exists() and name in ("passwd", "group") else ""
            (self.etc / name).write_text(before + mine[name])

    def start(self, *command: object, **more: object) -> "subprocess.Popen[str]":
        """Start a command as the user, below a mount namespace that goes with it."""
        words = [sys.executable, __file__, str(self.etc), str(self.home), *map(str, command)]
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "ARGOSY_HOME": str(self.home / "argosy"),
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.env,
        }
        child = subprocess.Popen(
            words,
            env=env,
            cwd=self.home,
            text=True,
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                **more,
            },  # type: ignore[call-overload]
        )

        self.started.append(child)
        return child

    def run(self, *command: object) -> "subprocess.CompletedProcess[str]":
        """Run a command as the user to its end."""
        child = self.start(*command)
        out, error = child.communicate(timeout=180)
        return subprocess.CompletedProcess(command, child.returncode, out, error)

    def argosy(self, *words: object) -> "subprocess.CompletedProcess[str]":
        """Run Argosy as the user."""
        return self.run(*ARGOSY, *words)

    def give(self, path: Path) -> Path:
        """Let a directory be the user's, with all that is in it."""
        for folder, directories, files in os.walk(path):
            for name in (".", *directories, *files):
                os.lchown(os.path.join(folder, name), UID, UID)
        return path

    def remove(self) -> None:
        """None of the user's processes and files stay."""
        for child in self.started:
            child.kill()
            child.wait()
            for stream in (child.stdout, child.stderr):
                if stream is not None:
                    stream.close()
        shutil.rmtree(self.home, ignore_errors=True)


def lacking() -> str:
    """What this machine lacks for such users, or nothing."""
    if os.geteuid() != 0:
        return "needs root: another user is made"
    if not shutil.which("newuidmap"):
        return "needs newuidmap"
    missing = [f"/etc/{name}" for name in _FILES if not os.path.exists(f"/etc/{name}")]
    return f"needs {missing[0]} to exist" if missing else ""


ARGOSY = (sys.executable, "-m", "argosy.cli.main")


def _become(etc: str, home: str, command: list[str]) -> None:
    """In the child: the mount namespace, then the user, then his command."""
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(source: str, target: str, flags: int, kind: str = "none", data: str = "") -> None:
        words = (os.fsencode(w) for w in (source, target, kind))
        if libc.mount(*words, flags, data.encode()):
            raise OSError(ctypes.get_errno(), f"mount {source} on {target}")

    if libc.unshare(_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    mount("none", "/", _REC | _PRIVATE)
    for name in _FILES:
        target = f"/etc/{name}"
        if os.path.exists(target):
            mount(os.path.join(etc, name), target, _BIND)
    for path in {sys.base_prefix, sys.prefix, str(ROOT), home}:
        _open_way(path, mount)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a suite in the background ignores it
    os.setgroups([])
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)
    os.execvp(command[0], command)


def _open_way(path: str, mount: object) -> None:
    """Cover a directory on the way that is closed to others by one that shows only this way."""
    parts = Path(path).parts
    for number in range(2, len(parts) + 1):
        closed = os.path.join(*parts[:number])
        if not os.stat(closed).st_mode & 0o001:
            fd = os.open(path, os.O_PATH)
            if closed != path:
                mount("none", closed, 0, "tmpfs", "mode=755,size=1m")  # type: ignore[operator]
                os.makedirs(path)
                mount(f"/proc/self/fd/{fd}", path, _BIND | _REC)  # type: ignore[operator]
            os.close(fd)


if __name__ == "__main__":
    _become(*sys.argv[1:3], sys.argv[3:])
