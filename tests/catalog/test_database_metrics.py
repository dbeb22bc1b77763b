"""The database tells how long transactions take and wait, and whether they had trouble."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from argosy.catalog.database import Database, open_database
from argosy.errors import StorageError
from argosy.meters import declared as meters
from argosy.meters.kinds import Metric
from tests.catalog.auditing import write


@pytest.fixture
async def db(where: str) -> AsyncIterator[Database]:
    async with open_database(where) as found:
        yield found


def total(metric: Metric, *labels: str) -> float:
    """How many values there were."""
    return sum(metric.read().get(labels, [0.0])[1:])


async def test_transactions_are_timed_by_kind_with_their_waits(db: Database) -> None:
    kinds = [
        (m, k) for m in (meters.DATABASE_SECONDS, meters.DATABASE_WAIT) for k in ("read", "write")
    ]
    before = {pair: total(pair[0], pair[1]) for pair in kinds}
    await write(db, 1, seal=False)
    await db.read(lambda conn: conn.execute(text("SELECT 1")).scalar())
    for pair in kinds:
        assert total(*pair) > before[pair], pair
    async with asyncio.timeout(10):  # a server of another test may be using one just now
        while meters.DATABASE_CONNECTIONS.read().get((), [0.0]) != [0.0]:
            await asyncio.sleep(0.01)


async def test_a_transaction_that_the_database_refuses_is_an_error(db: Database) -> None:
    before = sum(cell[0] for cell in meters.DATABASE_ERRORS.read().values())
    with pytest.raises(StorageError):
        await db.write(lambda conn: conn.execute(text("SELECT * FROM no_such_table")))
    assert sum(cell[0] for cell in meters.DATABASE_ERRORS.read().values()) == before + 1


async def test_writes_that_share_a_commit_are_counted_as_such(tmp_path: object) -> None:
    async with open_database(f"{tmp_path}/c.db") as db:
        before = meters.DATABASE_BATCH.read().get((), [0.0])[0]
        async with asyncio.TaskGroup() as group:
            for _ in range(30):
                group.create_task(write(db, 1, seal=False))
        assert meters.DATABASE_BATCH.read()[()][0] - before >= 30  # other servers may write too
