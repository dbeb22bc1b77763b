"""What goes on beside a block never ends it, and has ended when the block has."""

import asyncio
import logging

import pytest

from argosy import background
from argosy.background import beside
from argosy.meters import declared as meters


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(background, "_FIRST_PAUSE", 0.0)


class Failing:
    """A job that fails as often as it is told, and then stays."""

    def __init__(self, times):
        self.left, self.stays = times, asyncio.Event()

    async def run(self):
        if self.left:
            self.left -= 1
            raise KeyError("nobody expects it")
        self.stays.set()
        await asyncio.Event().wait()


async def test_a_job_that_fails_is_told_counted_and_begun_again(caplog):
    job, before = Failing(3), meters.BACKGROUND_FAILURES.read().get(("brewing",), [0.0])
    async with beside({"brewing": job.run}):
        await asyncio.wait_for(job.stays.wait(), 5)
    assert meters.BACKGROUND_FAILURES.read()[("brewing",)][0] == before[0] + 3
    told = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert len(told) == 3
    assert "brewing" in told[0].message
    assert told[0].exc_info is not None


async def test_the_pause_grows(monkeypatch):
    pauses = []
    monkeypatch.setattr(background, "_FIRST_PAUSE", 0.5)
    sleep = asyncio.sleep

    async def noted(seconds):
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", noted)
    job = Failing(10)
    async with beside({"brewing": job.run}):
        await job.stays.wait()
    assert pauses == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]


async def test_jobs_have_ended_when_the_block_has():
    ended, began = [], asyncio.Event()

    async def job():
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("in order")

    async with beside({"one": job, "two": job}):
        await began.wait()
    assert ended == ["in order", "in order"]


async def test_a_job_that_fails_at_its_end_does_not_begin_again(caplog):
    runs, began = [], asyncio.Event()

    async def job():
        runs.append(1)
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("no room for the last word")

    async with beside({"writing": job}):
        await began.wait()
    assert (len(runs), "failed at its end" in caplog.text) == (1, True)


async def test_a_job_may_be_done():
    async with beside({"short": lambda: asyncio.sleep(0)}):
        await asyncio.sleep(0.01)


async def test_what_the_block_raises_comes_out_as_it_is():
    job = Failing(0)
    with pytest.raises(ZeroDivisionError):
        async with beside({"brewing": job.run}):
            await job.stays.wait()
            _ = 1 / 0


async def test_a_cancelled_block_is_cancelled():
    job = Failing(0)

    async def work():
        async with beside({"brewing": job.run}):
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(work())
        await job.stays.wait()
        task.cancel()
    assert task.cancelled()
