"""The database under the catalog: SQLite in a file, or PostgreSQL for many nodes, behind one door.

A write is durable when `write` returns. What reads or writes is handed in as a function
of a plain SQLAlchemy connection. It may be run again after its transaction was rolled back,
so it does nothing but SQL.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol, TypeVar

from sqlalchemy import Connection

from argosy.catalog.caching.changes import Changes
from argosy.catalog.databases.address import is_address, parse
from argosy.catalog.databases.dialects import sqlite_engine
from argosy.catalog.databases.options import DatabaseOptions
from argosy.catalog.databases.sqlite import Sharing, SQLiteDatabase
from argosy.catalog.migrations.deciding import bring_up, bring_up_postgres
from argosy.concurrency import in_thread

T = TypeVar("T")

DEFAULT: Final = DatabaseOptions()


class Database(Protocol):
    """Reads and writes, each a function of a connection."""

    @property
    def changes(self) -> Changes:
        """Where caches over it are made, and hear of changes."""
        ...

    async def read(self, function: Callable[[Connection], T]) -> T:
        """What `function` finds, on a snapshot of the database."""
        ...

    async def glance(self, function: Callable[[Connection], T]) -> T:
        """What the one statement of `function` finds: cheaper than `read` where it matters."""
        ...

    async def write(self, function: Callable[[Connection], T]) -> T:
        """Do `function` wholly; on disk when this returns. What it raises undoes it."""
        ...


@asynccontextmanager
async def open_database(where: str, options: DatabaseOptions = DEFAULT) -> AsyncIterator[Database]:
    """The database at a path (SQLite) or an address (`postgresql://`), made or brought up to date."""
    opened = _postgres(where, options) if is_address(where) else _sqlite(where, options)
    async with opened as database:
        yield database


@asynccontextmanager
async def _sqlite(path: str, options: DatabaseOptions) -> AsyncIterator[Database]:
    engine = await in_thread(sqlite_engine, path)
    try:
        await in_thread(bring_up, engine, path)
    except BaseException:
        engine.dispose()
        raise
    database = SQLiteDatabase(engine, await in_thread(Sharing, path) if options.workers else None)
    try:
        yield database
    finally:
        await in_thread(database.close)


@asynccontextmanager
async def _postgres(where: str, options: DatabaseOptions) -> AsyncIterator[Database]:
    from argosy.catalog.databases.marks import forget_old  # noqa: PLC0415
    from argosy.catalog.databases.postgres import PostgresDatabase  # noqa: PLC0415 - 100 ms

    database = PostgresDatabase(parse(where, options.password), options)
    try:
        await bring_up_postgres(database)
        await database.write(forget_old)
        async with database.listening():
            yield database
    finally:
        await database.close()
