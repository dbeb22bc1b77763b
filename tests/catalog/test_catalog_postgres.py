"""A catalog in PostgreSQL keeps the promises of one in a file, and outlives its server's restarts."""

from argosy.catalog.catalog import open_catalog
from argosy.model.digest import Digest


async def test_what_is_acknowledged_is_there_after_reopening(postgres_url: str) -> None:
    async with open_catalog(postgres_url) as catalog:
        await catalog.link_blob("team/app", Digest.of(b"{}"), 2)
    async with open_catalog(postgres_url) as catalog:
        assert await catalog.repositories("", 10) == ["team/app"]
        assert await catalog.blob_size("team/app", Digest.of(b"{}")) == 2


async def test_an_empty_database_is_brought_to_the_present_schema(empty_postgres_url: str) -> None:
    async with open_catalog(empty_postgres_url) as catalog:
        assert await catalog.repositories("", 10) == []
