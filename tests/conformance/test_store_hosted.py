"""The suite for stores, on a repository of the registry itself: catalog rows over blob files."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from argosy.catalog.catalog import open_catalog
from argosy.catalog.hosted import HostedRepository
from argosy.content.store import Source, Store
from argosy.content.suite import CHECKS, Check
from argosy.stores.blobs import BlobStore


@dataclass
class HostedPlace:
    """A hosted repository, reopened as a restarted server would open it."""

    store: Store
    root: Path
    where: str
    stack: AsyncExitStack

    async def reopened(self) -> Source:
        await self.stack.aclose()
        return await hosted(self.root, self.where, self.stack)


async def hosted(root: Path, where: str, stack: AsyncExitStack) -> HostedRepository:
    catalog = await stack.enter_async_context(open_catalog(where))
    return HostedRepository(catalog, BlobStore(str(root)), "suite/app")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_hosted_repository_keeps_the_promise(
    check: Check, database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    where = str(tmp_path / "argosy.db")
    if database == "postgres":
        where = request.getfixturevalue("postgres_url")
    async with AsyncExitStack() as stack:
        store = await hosted(tmp_path, where, stack)
        await check(HostedPlace(store, tmp_path, where, stack))
