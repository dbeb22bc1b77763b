"""The migrations make the tables that the code speaks of, and run only when needed."""

import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from argosy.catalog.catalog import open_catalog
from argosy.catalog.dialects import sqlite_engine
from argosy.catalog.migrations.run import config, upgrade
from argosy.catalog.schema import REVISION, metadata


def test_the_latest_migration_is_the_one_the_code_expects() -> None:
    assert ScriptDirectory.from_config(config()).get_heads() == [REVISION]


def test_the_migrations_make_the_tables_of_the_schema(tmp_path: Path) -> None:
    engine = sqlite_engine(str(tmp_path / "c.db"))
    upgrade(engine)
    with engine.connect() as conn:
        assert compare_metadata(MigrationContext.configure(conn), metadata) == []
    engine.dispose()


def test_the_migrations_can_be_undone(tmp_path: Path) -> None:
    engine = sqlite_engine(str(tmp_path / "c.db"))
    upgrade(engine)
    with engine.begin() as conn:
        command.downgrade(config(conn), "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()


async def test_a_database_that_is_up_to_date_is_opened_without_alembic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_catalog(str(tmp_path / "c.db")):
        pass
    monkeypatch.setitem(sys.modules, "argosy.catalog.migrations.run", None)  # importing it fails
    async with open_catalog(str(tmp_path / "c.db")) as catalog:
        assert await catalog.repositories("", 10) == []
    with pytest.raises(ImportError):
        async with open_catalog(str(tmp_path / "new.db")):
            pass
