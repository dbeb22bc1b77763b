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
    stack: AsyncExitStack

    async def reopened(self) -> Source:
        await self.stack.aclose()
        return await hosted(self.root, self.stack)


async def hosted(root: Path, stack: AsyncExitStack) -> HostedRepository:
    catalog = await stack.enter_async_context(open_catalog(str(root / "argosy.db")))
    return HostedRepository(catalog, BlobStore(str(root)), "suite/app")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_hosted_repository_keeps_the_promise(check: Check, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        await check(HostedPlace(await hosted(tmp_path, stack), tmp_path, stack))
