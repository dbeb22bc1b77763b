"""What differs between databases, all of it: connection settings and conflict clauses."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Final, cast

from sqlalchemy import Connection, Engine, Executable, Table, create_engine, event

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
        connection.exec_driver_sql("BEGIN")

    return engine


def upsert(
    conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]], update: Sequence[str] = ()
) -> None:
    """Insert rows; where the key is there already, set the columns of `update`, or leave it."""
    if rows:
        conn.execute(_upsert(conn.dialect.name, table, tuple(update)), rows)


@cache  # building it takes longer than running it; there are as many as there are callers
def _upsert(dialect: str, table: Table, update: tuple[str, ...]) -> Executable:
    # Both dialects spell it alike; only the one in use is imported (postgresql takes 100 ms).
    statement = import_module(f"sqlalchemy.dialects.{dialect}").insert(table)
    keys = list(table.primary_key)
    if not update:
        return cast("Executable", statement.on_conflict_do_nothing(index_elements=keys))
    excluded = {name: statement.excluded[name] for name in update}
    return cast("Executable", statement.on_conflict_do_update(index_elements=keys, set_=excluded))
