"""Bring a database to the present schema with Alembic, in one transaction."""

import os

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration for the migrations in this package."""
    found = Config()
    found.set_main_option("script_location", os.path.dirname(__file__))
    found.attributes["connection"] = connection
    return found


def upgrade(engine: Engine) -> None:
    """Run what is missing. All or nothing: a process killed midway leaves the old schema."""
    with engine.execution_options(writes=True).begin() as connection:
        upgrade_on(connection)


def upgrade_on(connection: Connection) -> None:
    """Run what is missing in the transaction that is open."""
    command.upgrade(config(connection), "head")
