"""Catalogs on both databases, and several nodes over one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from argosy.catalog.catalog import Catalog, open_catalog


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a catalog is: a file, or a database of its own on a real PostgreSQL."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return str(tmp_path / "c.db")


@pytest.fixture
async def catalog(where: str) -> AsyncIterator[Catalog]:
    """A catalog on each of the databases."""
    async with open_catalog(where) as found:
        yield found


@pytest.fixture
async def nodes(where: str) -> AsyncIterator[list[Catalog]]:
    """Those who work on one database: two nodes on PostgreSQL; a file has one."""
    async with open_catalog(where) as first:
        if "://" not in where:
            yield [first, first]
            return
        async with open_catalog(where) as second:
            yield [first, second]
