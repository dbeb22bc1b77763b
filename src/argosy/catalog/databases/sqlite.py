"""A catalog in a SQLite file: many readers, one writer, commits shared by who waits.

A write is durable when `write` returns. Writes that wait at the same time are
committed together (one fsync for all), each in a savepoint of its own, so that
one that fails takes no other with it. Several processes on one file (`Sharing`) take
turns at a lock, which wakes who waits: SQLite's own would have them try and sleep.
"""

import asyncio
import fcntl
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from argosy.catalog.caching.changes import Changes
from argosy.catalog.caching.stamps import SharedStamps
from argosy.catalog.databases.announcing import EVERYTHING, Key, Told, listen
from argosy.errors import NoSpace, StorageError
from argosy.meters import declared as meters
from argosy.tracing import span

T = TypeVar("T")

_BATCH: Final = 128
_READERS: Final = 4


@dataclass(slots=True)
class _Job:
    """One write that somebody waits for."""

    function: Callable[[Connection], Any]
    done: "asyncio.Future[Any]"
    asked: float = field(default_factory=time.perf_counter)
    result: Any = None
    error: BaseException | None = None
    told: Told = field(default_factory=Told)

    def run(self, conn: Connection) -> None:
        self.told = listen(conn)
        self.result = self.function(conn)

    def deliver(self) -> None:
        if self.done.cancelled():
            return
        if self.error is None:
            self.done.set_result(self.result)
        else:
            self.done.set_exception(self.error)


class Sharing:
    """What the processes that work on one file have in common: whose turn it is, and the stamps."""

    def __init__(self, path: str) -> None:
        self.stamps: Final = SharedStamps(f"{path}-stamps")
        self._fd = os.open(f"{path}-turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold off the other processes' writes; in a thread of its own, because it waits."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)  # a killed process's lock goes with it
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def publish(self, keys: Sequence[Key]) -> None:
        """Let the other processes see that these changed."""
        for key in keys:
            if key == EVERYTHING:
                self.stamps.change_all()
            else:
                self.stamps.change(key)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)
        self.stamps.close()


class SQLiteDatabase:
    """One open database; made by `open_database`."""

    def __init__(self, engine: Engine, sharing: Sharing | None = None) -> None:
        self.changes: Final = Changes(sharing.stamps if sharing else None)
        self._sharing = sharing
        self._engine = engine
        self._writing = engine.execution_options(writes=True)
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(_READERS, "catalog-read")
        self._writer = threading.Thread(target=self._serve, name="catalog-write")
        self._writer.start()

    async def read(self, function: Callable[[Connection], T]) -> T:
        """What `function` finds, on a snapshot of the database."""
        with span("database.read", db_system="sqlite"):
            asked = time.perf_counter()
            return await self._loop.run_in_executor(self._readers, self._read, function, asked)

    async def glance(self, function: Callable[[Connection], T]) -> T:
        """As `read`: beginning a transaction costs nothing here."""
        return await self.read(function)

    async def write(self, function: Callable[[Connection], T]) -> T:
        """Do `function` alone and wholly; on disk when this returns. What it raises undoes it."""
        job = _Job(function, self._loop.create_future())
        with span("database.write", db_system="sqlite"):
            self._jobs.put(job)
            result: T = await job.done
        return result

    def close(self) -> None:
        """Finish what was asked for and let go of the files."""
        self._jobs.put(None)
        self._writer.join()
        self._readers.shutdown()
        self._engine.dispose()
        if self._sharing is not None:
            self._sharing.close()

    def _read(self, function: Callable[[Connection], T], asked: float) -> T:
        meters.DATABASE_WAIT.observe(time.perf_counter() - asked, "read")
        try:
            with meters.DATABASE_SECONDS.timed("read"), self._engine.connect() as conn:
                return function(conn)
        except DBAPIError as e:
            meters.DATABASE_ERRORS.add("read")
            raise _translated(e) from e

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            batch = [job]
            while len(batch) < _BATCH and not self._jobs.empty():
                following = self._jobs.get()
                if following is None:
                    self._jobs.put(None)
                    break
                batch.append(following)
            now = time.perf_counter()
            for waiting in batch:
                meters.DATABASE_WAIT.observe(now - waiting.asked, "write")
            meters.DATABASE_BATCH.observe(len(batch))
            with meters.DATABASE_SECONDS.timed("write"):
                self._commit_in_turn(batch)
            self._loop.call_soon_threadsafe(self._deliver, batch)

    def _commit_in_turn(self, batch: list[_Job]) -> None:
        if self._sharing is None:
            self._commit(batch)
            return
        with self._sharing.turn():
            self._commit(batch)
        for job in batch:  # before anybody hears that it is done
            self._sharing.publish(job.told.all)

    def _commit(self, batch: list[_Job]) -> None:
        try:
            with self._writing.begin() as conn:
                if len(batch) == 1:  # the usual case: what undoes it may undo the transaction
                    batch[0].run(conn)
                    return
                for job in batch:
                    _run(conn, job)
        except Exception as e:  # noqa: BLE001 - every waiter must hear of it, whatever it is
            if isinstance(e, DBAPIError):
                meters.DATABASE_ERRORS.add("write")
            # Nothing of this batch is on disk: who had no error of its own fails with the commit.
            for job in batch:
                job.error = job.error or (_translated(e) if isinstance(e, DBAPIError) else e)

    def _deliver(self, batch: list[_Job]) -> None:
        for job in batch:  # also for who has gone away meanwhile, and for what may have failed
            self.changes.tell(job.told.all)
        for job in batch:
            job.deliver()


def _run(conn: Connection, job: _Job) -> None:
    try:
        with conn.begin_nested():
            job.run(conn)
    except OperationalError:
        raise  # the disk or the file: SQLite may have rolled back everything
    except DBAPIError as e:
        job.error = _translated(e)
    except Exception as e:  # noqa: BLE001 - it is raised again where it is waited for
        job.error = e


def _translated(error: DBAPIError) -> StorageError:
    why = str(error.orig)
    if "full" in why:
        return NoSpace("the catalog cannot be written", why=why, remedy="free some disk space")
    return StorageError(
        "the catalog's database failed", why=why, remedy="look at the disk and the server's log"
    )
