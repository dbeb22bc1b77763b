"""Whether a database needs migrations, and whether this program may use it as it is.

Apart from `run`, because importing Alembic takes longer than all the rest of a start.
"""

import logging
import os
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from argosy.catalog.databases.locks import Space, exclusive
from argosy.catalog.schema import REVISION
from argosy.errors import StorageError
from argosy.values import frozen

if TYPE_CHECKING:
    from argosy.catalog.databases.postgres import PostgresDatabase

log = logging.getLogger("argosy.catalog")

_OLDEST_POSTGRES: Final = 130000  # it has pg_current_xact_id_if_assigned()
_SLOWEST: Final = 3600.0  # seconds one step of a migration may take


@frozen
class Standing:
    """How far a database has come; `oldest` is the oldest program that can use it."""

    revision: str | None
    oldest: str = ""


def bring_up(engine: Engine, path: str) -> None:
    """Bring a SQLite file to the present schema if it is not there, whoever else starts now."""
    try:
        if os.path.exists(path):
            with engine.connect() as conn:
                if _usable(standing(conn), path):
                    return
        from argosy.catalog.migrations.run import upgrade  # noqa: PLC0415

        upgrade(engine)
    except (DBAPIError, OSError) as e:
        raise StorageError(
            f"the catalog {path} cannot be opened",
            why=str(getattr(e, "orig", e)),
            remedy="look at the disk and its rights",
        ) from e


async def bring_up_postgres(database: "PostgresDatabase") -> None:
    """Bring a PostgreSQL database to the present schema if it is not there; one node does it for all."""
    await database.glance(_refuse_unfit)
    if _usable(await database.read(standing), "in PostgreSQL"):
        return
    async with database.patient(_SLOWEST) as patient:
        await patient.write(_upgrade_alone)


def _upgrade_alone(conn: Connection) -> None:
    exclusive(conn, Space.WORK, "migrate")  # a second node waits here, and then finds it done
    if _usable(standing(conn), "in PostgreSQL"):
        return
    from argosy.catalog.migrations.run import upgrade_on  # noqa: PLC0415

    # Who waits for a table's lock makes everybody behind him wait: give up, and try again.
    conn.execute(text("SET LOCAL lock_timeout = '3s'"))
    upgrade_on(conn)
    log.info("the catalog was brought to schema %s", REVISION)


def standing(conn: Connection) -> Standing:
    """Which migration was the last; none for an empty database."""
    tables = set(conn.dialect.get_table_names(conn))
    if "alembic_version" not in tables:
        return Standing(None)
    revision = conn.execute(text("SELECT version_num FROM alembic_version")).scalar()
    oldest = None
    if "schema_compatibility" in tables:
        oldest = conn.execute(text("SELECT oldest FROM schema_compatibility")).scalar()
    return Standing(revision, oldest or "")


def _usable(found: Standing, where: str) -> bool:
    """Whether nothing is to be done; StorageError if this program is too old for it."""
    if found.revision is None or found.revision < REVISION:
        return False
    if found.revision == REVISION:
        return True
    if found.oldest and found.oldest <= REVISION:
        log.warning(
            "the catalog has schema %s, this argosy knows %s: it can be used; upgrade this node too",
            found.revision,
            REVISION,
        )
        return True
    raise StorageError(
        f"the catalog {where} is of a newer argosy",
        why=f"its schema is {found.revision}, this program knows up to {REVISION}"
        + (f", and from {found.oldest} on programs can use it" if found.oldest else ""),
        remedy="run the newer argosy, or restore the backup made before the upgrade",
        evidence={"schema": found.revision, "known": REVISION},
    )


def _refuse_unfit(conn: Connection) -> None:
    names = ("server_version_num", "server_encoding", "synchronous_commit")
    asked = ", ".join(f"current_setting('{name}')" for name in names)
    number, encoding, commits = conn.execute(text(f"SELECT {asked}")).one()
    version = int(number)
    if commits == "off":
        log.warning(
            "the database has synchronous_commit = off:"
            " when it crashes, the last pushes are lost that were acknowledged"
        )
    if version < _OLDEST_POSTGRES:
        why, remedy = f"it is PostgreSQL {version // 10000}", "use PostgreSQL 13 or later"
    elif encoding != "UTF8":
        why, remedy = f"its encoding is {encoding}", "create it with ENCODING 'UTF8'"
    else:
        return
    raise StorageError("the catalog's database cannot be used", why=why, remedy=remedy)
