"""What differs between databases, all of it: connection settings and conflict clauses."""

import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Executable,
    Row,
    Table,
    create_engine,
    event,
    extract,
    func,
    literal,
)
from sqlalchemy import cast as cast_to

from argosy.catalog.databases.address import Address
from argosy.catalog.databases.options import DatabaseOptions
from argosy.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

_CONNECT_TIMEOUT: Final = 5.0
_GRACE: Final = 5.0  # for the server to keep its own time limits
_KEEPALIVE: Final = (
    (socket.TCP_USER_TIMEOUT, 10_000),  # milliseconds
    (socket.TCP_KEEPIDLE, 5),
    (socket.TCP_KEEPINTVL, 2),
    (socket.TCP_KEEPCNT, 3),
)
_SETTINGS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # in WAL mode, FULL is what makes a commit survive a power cut
    "PRAGMA foreign_keys = ON",
    "PRAGMA busy_timeout = 10000",
    "PRAGMA cache_size = -16384",
)


def sqlite_engine(path: str) -> Engine:
    """An engine for one SQLite file, durable and with working savepoints."""
    engine = create_engine(f"sqlite:///{path}", pool_size=8)

    @event.listens_for(engine, "connect")
    def _settle(connection: Any, _record: Any) -> None:
        # The driver's own transactions would commit at a savepoint: SQLAlchemy begins them instead.
        connection.isolation_level = None
        for setting in _SETTINGS:
            connection.execute(setting)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        # A reader that turned writer would fail where another process wrote in between.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def postgres_engine(address: Address, options: DatabaseOptions) -> "AsyncEngine":
    """An engine for PostgreSQL over asyncpg; it connects when it is first asked something."""
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 - 100 ms

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: connect(address, options),
        pool_size=options.pool,
        max_overflow=0,
        pool_timeout=options.patience,
        # No ping before each use: what fails because its connection died is done again.
        pool_pre_ping=False,
        hide_parameters=True,
    )


async def connect(address: Address, options: DatabaseOptions) -> Any:
    """A connection of asyncpg that notices when the other end is gone.

    asyncpg looks for certificates and passwords in files while the loop waits: a few
    system calls, once per connection.
    """
    import asyncpg  # type: ignore[import-untyped]  # noqa: PLC0415 - 60 ms

    timeout = options.statement_timeout
    try:
        made = await asyncpg.connect(
            address.url,
            password=address.password,
            timeout=_CONNECT_TIMEOUT,
            command_timeout=timeout + _GRACE,
            server_settings={"application_name": "argosy"},
        )
        await _settle(made, timeout)
    except ssl.SSLCertVerificationError as e:
        raise StorageError(
            "the catalog's database shows a certificate that is not trusted",
            why=e.verify_message,
            remedy="name its authority with sslrootcert=FILE in the database's URL",
        ) from e
    except (asyncpg.ClientConfigurationError, ValueError) as e:
        raise ConfigError(
            "the address of the database cannot be used",
            why=str(e),
            remedy="see the parameters of libpq's URLs: sslmode, sslrootcert, target_session_attrs",
        ) from e
    _watch(made)
    return made


async def _settle(connection: Any, timeout: float) -> None:
    """Set what we rely on; not on connecting: PgBouncer refuses who brings such settings along."""
    settings = {
        # What the locks of `locks.py` are made for, whatever the database's own default.
        "default_transaction_isolation": "read committed",
        "statement_timeout": f"{round(timeout * 1000)}",
        "idle_in_transaction_session_timeout": f"{round((timeout + _GRACE) * 1000)}",
    }
    words = "; ".join(f"SET {name} = '{value}'" for name, value in settings.items())
    try:
        await connection.execute(words, timeout=_CONNECT_TIMEOUT)
    except BaseException:
        connection.terminate()
        raise


def _watch(connection: Any) -> None:
    """Give up a peer that acknowledges nothing: a cable, a firewall, a machine that is off."""
    transport = getattr(connection, "_transport", None)  # asyncpg has no other way to its socket
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None or sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in _KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, seconds)


def clock(conn: Connection) -> ColumnElement[int]:
    """Now, in microseconds, by a clock that all who use the database have in common."""
    if conn.dialect.name == "postgresql":
        return cast_to(extract("epoch", func.statement_timestamp()) * 1_000_000, BigInteger)
    return literal(time.time_ns() // 1000, BigInteger)


def upsert(
    conn: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    update: Sequence[str] = (),
    *,
    key: tuple[str, ...] = (),
) -> None:
    """Insert rows; where the key is there already, set the columns of `update`, or leave it.

    `key` names the columns of a unique constraint; without it, it is the primary key.
    """
    if rows:
        conn.execute(_upsert(conn.dialect.name, table, tuple(update), key), rows)


@cache  # building it takes longer than running it; there are as many as there are callers
def _upsert(
    dialect: str, table: Table, update: tuple[str, ...], key: tuple[str, ...]
) -> Executable:
    # Both dialects spell it alike; only the one in use is imported (postgresql takes 100 ms).
    statement = import_module(f"sqlalchemy.dialects.{dialect}").insert(table)
    keys = [table.c[name] for name in key] or list(table.primary_key)
    if not update:
        return cast("Executable", statement.on_conflict_do_nothing(index_elements=keys))
    excluded = {name: statement.excluded[name] for name in update}
    return cast("Executable", statement.on_conflict_do_update(index_elements=keys, set_=excluded))


def insert_new(conn: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Insert a row unless its primary key is there; whether it was not."""
    made = conn.execute(_insert_new(conn.dialect.name, table), dict(row))
    return made.first() is not None


def add_up(
    conn: Connection, table: Table, row: Mapping[str, Any], columns: tuple[str, ...]
) -> Row[Any]:
    """Insert a row; where its key is there already, add to these columns. What they are then."""
    return conn.execute(_add_up(conn.dialect.name, table, columns), dict(row)).one()


@cache
def _insert_new(dialect: str, table: Table) -> Executable:
    statement = import_module(f"sqlalchemy.dialects.{dialect}").insert(table)
    keys = list(table.primary_key)
    return cast(
        "Executable", statement.on_conflict_do_nothing(index_elements=keys).returning(*keys)
    )


@cache
def _add_up(dialect: str, table: Table, columns: tuple[str, ...]) -> Executable:
    statement = import_module(f"sqlalchemy.dialects.{dialect}").insert(table)
    added = {name: table.c[name] + statement.excluded[name] for name in columns}
    summed = statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=added)
    return cast("Executable", summed.returning(*(table.c[name] for name in columns)))
