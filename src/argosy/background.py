"""Jobs that go on beside a block, and end with it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from argosy.meters import declared as meters

log = logging.getLogger("argosy.background")

Job = Callable[[], Awaitable[None]]

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 60.0


@asynccontextmanager
async def beside(jobs: dict[str, Job]) -> AsyncIterator[None]:
    """Run jobs, by name, for as long as the block runs; what one of them raises never ends the block.

    A job handles what it expects by itself and runs until it is cancelled. Anything else it
    raises is logged and counted, and the job begins anew after a pause. What the block raises
    comes out bare, not as a group; before that every job has ended.
    """
    raised: BaseException | None = None
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_kept_up(name, job)) for name, job in jobs.items()]
        try:
            yield
        except BaseException as e:  # noqa: BLE001 - raised below, outside of the group
            raised = e
        finally:
            for task in tasks:
                task.cancel()
    if raised is not None:
        raise raised


async def _kept_up(name: str, job: Job) -> None:
    me, loop, pause = asyncio.current_task(), asyncio.get_running_loop(), _FIRST_PAUSE
    assert me is not None
    while True:
        began = loop.time()
        try:
            await job()
        except Exception:
            meters.BACKGROUND_FAILURES.add(name)
            if me.cancelling():  # it could not put in order what it had to at its end
                log.exception("%s: failed at its end", name)
                return
            if loop.time() - began > _LONGEST_PAUSE:
                pause = _FIRST_PAUSE
            log.exception("%s: failed, and begins again in %g s", name, pause)
        else:
            return
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
