"""What reading from outside needs: the web, secrets, agents, and places for what is fetched."""

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import field

from argosy.build.fetch import Fetch
from argosy.build.ssh import Agent
from argosy.claims import Claims
from argosy.concurrency import in_thread
from argosy.observe import Report, silent
from argosy.values import frozen

_POLL = 0.1  # seconds between looks at a lock that another process holds


@frozen(kw_only=True, eq=False)
class Outside:
    """Of one build. `state` is its directory; secrets are read when a server asks for them."""

    state: str
    fetch: Fetch | None = None
    report: Report = silent
    secrets: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)
    agents: Mapping[str, Agent] = field(default_factory=dict)
    claims: Claims | None = None  # what is used of `state` is not pruned

    def secret(self, name: str) -> str:
        """A secret as text, without a newline at its end; `` if it was not given (blocking)."""
        read = self.secrets.get(name)
        return read().decode(errors="replace").strip() if read else ""

    def claim(self, name: str) -> None:
        """Let this directory in `state` not be pruned while the build lasts (blocking)."""
        if self.claims is not None:
            self.claims.claim(name)

    @asynccontextmanager
    async def scratch(self) -> AsyncIterator[str]:
        """A directory that is gone at the end; what a killed build left is removed first."""
        folder = os.path.join(self.state, "fetched")
        path, lock = await in_thread(_made, folder)
        try:
            yield path
        finally:
            await in_thread(_removed, path, lock)


@asynccontextmanager
async def locked(path: str) -> AsyncIterator[None]:
    """Alone with what the lock file at `path` stands for, among all processes and tasks."""
    fd = await in_thread(os.open, path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _taken(fd):  # noqa: ASYNC110 - no process tells another that it is done
            await asyncio.sleep(_POLL)
        os.utime(fd)  # when it was last used: pruning goes by it
        yield
    finally:
        os.close(fd)


def _made(folder: str) -> tuple[str, int]:
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for entry in list(os.scandir(folder)):
        with suppress(OSError):
            lock = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if _taken(lock):  # nobody holds it: its build is dead
                _removed(entry.path, lock)
            else:
                os.close(lock)
    while True:
        path = tempfile.mkdtemp(dir=folder)
        with suppress(FileNotFoundError):  # another process swept it before it was locked
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if _taken(lock) and os.path.isdir(path):
                return path, lock
            os.close(lock)


def _removed(path: str, lock: int) -> None:
    shutil.rmtree(path, onerror=_opened_up)
    os.close(lock)


def _opened_up(_function: object, path: str, _error: object) -> None:
    """Archives may hold directories that their owner cannot write; without root that matters."""
    with suppress(OSError):
        os.chmod(os.path.dirname(path), 0o700)
        if os.path.isdir(path) and not os.path.islink(path):
            os.chmod(path, 0o700)
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
