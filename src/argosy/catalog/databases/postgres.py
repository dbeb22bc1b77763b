"""A catalog in PostgreSQL, for as many nodes as there are.

The functions that are handed in are written for SQLAlchemy's plain connection; they run
here on the event loop, in a greenlet that gives way while asyncpg waits. READ COMMITTED,
with the locks of `locks.py` where more is needed.

A database that is away is waited for, within bounds. A function whose transaction was
rolled back by a deadlock, a race or a lost connection runs again. When the connection is
lost during COMMIT, it is looked up what became of the transaction (`marks.py`): so it is
known, not guessed, and nothing is done twice.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from argosy.background import beside
from argosy.catalog.caching.changes import Changes
from argosy.catalog.caching.stamps import OwnStamp
from argosy.catalog.databases.address import Address
from argosy.catalog.databases.announcing import Told, listen
from argosy.catalog.databases.dialects import connect, postgres_engine
from argosy.catalog.databases.failures import Meaning, meaning, translated, unknown_outcome
from argosy.catalog.databases.listening import CHANNEL, Listener, payloads
from argosy.catalog.databases.marks import Mark, Marks, leave, was_committed
from argosy.catalog.databases.options import DatabaseOptions
from argosy.concurrency import between
from argosy.meters import declared as meters
from argosy.tracing import span

T = TypeVar("T")

_RACES: Final = 8  # times a transaction is run that others got in the way of
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 1.0
_NOTIFY: Final = text("SELECT pg_notify(:channel, :payload)")


class PostgresDatabase:
    """One open database; made by `open_database`."""

    def __init__(self, address: Address, options: DatabaseOptions) -> None:
        self._address = address
        self._engine = engine = postgres_engine(address, options)
        self._snapshots = engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        self._single = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._options = options
        self._marks: Final = Marks()
        self._stamp: Final = OwnStamp(trusted=False)  # until others are listened to
        self.changes: Final = Changes(self._stamp, late=True)

    async def read(self, function: Callable[[Connection], T]) -> T:
        """What `function` finds, on a snapshot of the database."""

        async def look() -> T:
            async with self._connection(self._snapshots) as conn:
                return await conn.run_sync(function)

        with span("database.read", db_system="postgresql"):
            return await self._persist(look)

    async def glance(self, function: Callable[[Connection], T]) -> T:
        """What the one statement of `function` finds: a `read` without a transaction around it."""

        async def look() -> T:
            async with self._connection(self._single) as conn:
                return await conn.run_sync(function)

        with span("database.read", db_system="postgresql"):
            return await self._persist(look)

    async def write(self, function: Callable[[Connection], T]) -> T:
        """Do `function` wholly; on disk when this returns. What it raises undoes it.

        StorageUnavailable when the database stays away, or when what became of it
        cannot be found out.
        """
        with span("database.write", db_system="postgresql"):
            return await self._persist(lambda: self._transaction(function))

    async def _transaction(self, function: Callable[[Connection], T]) -> T:
        result, mark, lost = await self._try(function)
        if lost is not None and not await self._was_committed(mark, lost):
            raise lost
        return result

    async def _try(self, function: Callable[[Connection], T]) -> tuple[T, Mark, Exception | None]:
        """Do it; with what went wrong, if the connection was lost while it was committed."""
        async with self._connection(self._engine) as conn:
            result, told, mark, wrote = await conn.run_sync(_run, function, self._marks)
            try:
                await conn.commit()
            except Exception as e:
                if not wrote or meaning(e) is not Meaning.LOST:
                    raise  # nothing was written, or it was refused
                return result, mark, e
            else:
                return result, mark, None
            finally:
                self.changes.tell(told.all)

    async def _was_committed(self, mark: Mark, lost: Exception) -> bool:
        until = _now() + self._options.patience
        for pause in _pauses():
            try:
                async with self._connection(self._engine) as conn:
                    found = await conn.run_sync(was_committed, mark)
                    await conn.commit()
            except Exception as e:
                if meaning(e) is Meaning.FINAL or _now() + pause > until:
                    raise unknown_outcome(lost) from e
            else:
                return found
            await asyncio.sleep(pause)
        raise AssertionError  # the pauses never end

    async def _persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        until = _now() + self._options.patience
        races = 0
        for pause in _pauses():
            try:
                return await attempt()
            except Exception as e:
                found = meaning(e)
                races += found is Meaning.RACE
                late = _now() + pause > until if found is Meaning.LOST else races >= _RACES
                if found is Meaning.FINAL or late:
                    known = translated(e)
                    if known is e:
                        raise
                    meters.DATABASE_ERRORS.add(found.name.lower())
                    raise known from e
                meters.DATABASE_RETRIES.add(found.name.lower())
            await asyncio.sleep(pause)
        raise AssertionError  # the pauses never end

    @asynccontextmanager
    async def _connection(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        kind, asked = "write" if engine is self._engine else "read", time.perf_counter()
        async with engine.connect() as conn:
            meters.DATABASE_WAIT.observe(time.perf_counter() - asked, kind)
            meters.DATABASE_CONNECTIONS.add()
            try:
                with meters.DATABASE_SECONDS.timed(kind):
                    yield conn
            except Exception as e:
                # A late answer would come to whom the connection is given next; and one that
                # leads to a standby is of no use to anybody.
                if meaning(e) is Meaning.LOST and not conn.invalidated:
                    await conn.invalidate()
                raise
            finally:
                meters.DATABASE_CONNECTIONS.add(by=-1)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hear what other nodes change: only meanwhile the caches are worth anything."""
        listener = Listener(
            lambda: connect(self._address, self._options), self.changes, self._stamp
        )
        async with beside({"listening": listener.run}):
            yield

    @asynccontextmanager
    async def patient(self, statement_timeout: float) -> AsyncIterator["PostgresDatabase"]:
        """The same database, over a connection that lets a statement take longer."""
        options = replace(self._options, statement_timeout=statement_timeout, pool=1)
        other = PostgresDatabase(self._address, options)
        try:
            yield other
        finally:
            await other.close()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._engine.dispose()


def _run(
    conn: Connection, function: Callable[[Connection], T], marks: Marks
) -> tuple[T, Told, Mark, bool]:
    """Its result, what it told, and its mark, if it wrote anything."""
    told = listen(conn)
    result = function(conn)
    for payload in payloads(told.far):
        conn.execute(_NOTIFY, {"channel": CHANNEL, "payload": payload})
    mark = marks.mark(conn)
    return result, told, mark, leave(conn, mark)


def _pauses() -> Any:
    """Longer and longer, each a random part of the longest it may be, without end."""
    longest = _FIRST_PAUSE
    while True:
        yield between(longest / 4, longest)
        longest = min(2 * longest, _LONGEST_PAUSE)


def _now() -> float:
    return asyncio.get_running_loop().time()
