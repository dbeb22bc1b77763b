"""What differs between databases, all of it: connection settings and conflict clauses."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, create_engine, event

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
    if not rows:
        return
    # Both dialects spell it alike; only the one in use is imported (postgresql takes 100 ms).
    statement = import_module(f"sqlalchemy.dialects.{conn.dialect.name}").insert(table)
    keys = list(table.primary_key)
    if update:
        excluded = {name: statement.excluded[name] for name in update}
        conn.execute(statement.on_conflict_do_update(index_elements=keys, set_=excluded), rows)
    else:
        conn.execute(statement.on_conflict_do_nothing(index_elements=keys), rows)
