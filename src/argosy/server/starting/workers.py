"""Several processes on one port: a supervisor that starts them, and starts anew who dies.

The supervisor binds the port and holds the data directory's lock; every worker is
forked from it and inherits both, so the port never closes while workers come and go.
It has no threads and no event loop, so that forking is safe.

    SIGTERM, SIGINT   all workers end as a single server does, then the supervisor
    SIGHUP            each worker is replaced by a fresh one, which reads settings and
                      certificates anew; the old one ends when the new one is ready
    SIGCHLD           who died is replaced, ever more slowly if it keeps dying
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from argosy.errors import ArgosyError, NetworkError
from argosy.server.config.sections import ServerSettings
from argosy.server.starting.opening import Place, hold, metrics_directory
from argosy.server.starting.running import Post, announcement, checked, serve, tell

_SIGNALS: Final = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
_SLOWEST: Final = 10.0  # seconds between two starts of a worker that keeps dying
_STEADY: Final = 30.0  # seconds after which a worker is no longer one that keeps dying
_START: Final = 60.0  # seconds for a worker to be ready
_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>

Load = Callable[[], ServerSettings]


@dataclass(slots=True)
class _Worker:
    """A process: its number among the workers, and how often it died young before."""

    number: int
    pid: int
    since: float
    deaths: int = 0


class Supervisor:
    """Runs the workers until told to stop."""

    def __init__(self, settings: ServerSettings, load: Load) -> None:
        """`load` reads the settings anew, for workers that start later."""
        self._settings = settings
        self._count: Final = settings.server.workers
        self._load = load
        self._workers: dict[int, _Worker] = {}
        self._due: list[tuple[float, _Worker]] = []  # who is to be started again, and when
        self._stopping = False
        self._socket: socket.socket

    def run(self) -> int:
        """Serve; the exit code."""
        address = checked(self._settings)
        lock = hold(self._settings.server.data)
        # What the workers of an earlier server counted: counters begin anew with each start.
        shutil.rmtree(metrics_directory(self._settings), ignore_errors=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            self._socket = _bound(address.host, address.port)
            if not self._begin():
                return 1
            port = self._socket.getsockname()[1]
            tell(f"{announcement(self._settings, port)} workers={self._count}")
            return self._watch()
        finally:
            self._stop()
            os.close(lock)

    def _begin(self) -> bool:
        """Start all of them; the first one alone, because it may have to make the database."""
        return all(self._start(number) for number in range(self._count))

    def _start(self, number: int, deaths: int = 0) -> bool:
        """Fork a worker and wait until it is ready; False, and nothing of it is left, if it is not."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            os._exit(self._work(number, writing))
        os.close(writing)
        try:
            ready, _, _ = select.select([reading], [], [], _START)
            if ready and os.read(reading, 1) == b"+":
                self._workers[pid] = _Worker(number, pid, time.monotonic(), deaths)
                return True
        finally:
            os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return False

    def _work(self, number: int, writing: int) -> int:
        """The life of a worker."""
        _die_with_parent()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor's affair
        try:
            from argosy.server.http.server import run  # noqa: PLC0415 - its loop is made in here

            def ready(_line: str) -> None:
                os.write(writing, b"+")
                os.close(writing)

            # Not what the file says now: who takes a dead one's place is as the others are.
            place = Place(number=number, of=self._count)
            return run(
                serve(self._settings, Post(place=place, inherited=self._socket, ready=ready))
            )
        except ArgosyError as e:
            _say(f"worker {number}: {e.summary}" + (f": {e.why}" if e.why else ""))
            return e.exit_code
        except BaseException as e:  # noqa: BLE001 - nothing may come back into the supervisor's code
            _say(f"worker {number}: {e!r}")
            return 1

    def _watch(self) -> int:
        while True:
            wait = min((at - time.monotonic() for at, _ in self._due), default=3600.0)
            found = signal.sigtimedwait(_SIGNALS, max(0.0, wait))
            number = found.si_signo if found else 0
            if number in (signal.SIGTERM, signal.SIGINT):
                return 0
            self._reap()
            if number == signal.SIGHUP:
                self._replace_all()
            self._revive()

    def _reap(self) -> None:
        """See who has died, and when to start it anew."""
        while (found := _ended()) is not None:
            pid, status = found
            worker = self._workers.pop(pid, None)
            if worker is None or self._stopping:
                continue  # an old one, replaced before
            _say(f"worker {worker.number} (process {pid}) {_told(status)}; starting another")
            if time.monotonic() - worker.since > _STEADY:
                worker.deaths = -1
            self._start_later(worker)

    def _start_later(self, worker: _Worker) -> None:
        """Ever later, if it keeps dying."""
        worker.deaths += 1
        pause = 0.0 if worker.deaths < 2 else min(_SLOWEST, 0.1 * 2**worker.deaths)
        self._due.append((time.monotonic() + pause, worker))

    def _revive(self) -> None:
        now = time.monotonic()
        ripe = [worker for at, worker in self._due if at <= now]
        self._due = [(at, worker) for at, worker in self._due if at > now]
        for worker in ripe:
            if not self._start(worker.number, worker.deaths):
                self._start_later(worker)

    def _replace_all(self) -> None:
        """A fresh process for each worker, one after the other; when one fails, the rest stays."""
        before = self._settings
        try:
            self._settings = self._load()
        except ArgosyError as e:
            _say(f"not reloaded: {e.summary}: {e.why}")
            return
        if self._settings.server.workers != self._count:
            _say(f"still {self._count} workers: their number changes with the next start")
        for old in list(self._workers.values()):
            if not self._start(old.number):
                _say(f"worker {old.number} goes on with the settings of before")
                self._settings = before
                return
            self._workers.pop(old.pid, None)
            os.kill(old.pid, signal.SIGTERM)

    def _stop(self) -> None:
        self._stopping = True
        for pid in list(self._workers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        patience = self._settings.server.drain + self._settings.server.grace + 20
        end = time.monotonic() + patience
        while self._workers and time.monotonic() < end:
            if (found := _ended()) is not None:
                self._workers.pop(found[0], None)
            else:
                signal.sigtimedwait({signal.SIGCHLD}, 0.2)
        for pid in self._workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(1024)
        made.setblocking(False)
    except OSError as e:
        made.close()
        raise NetworkError(
            f"cannot listen on {host}:{port}",
            why=e.strerror or str(e),
            remedy="choose another address, or stop what holds this one",
        ) from e
    return made


def _ended() -> tuple[int, int] | None:
    """A child that has ended, with its status; None if there is none."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def _told(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


def _die_with_parent() -> None:
    """Be told to end when the supervisor is killed: without it nobody would start us anew."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _say(what: str) -> None:
    sys.stderr.write(f"argosy: {what}\n")
    sys.stderr.flush()
