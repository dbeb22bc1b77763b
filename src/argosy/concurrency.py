"""Leaving the event loop, and coming back with one error instead of a group."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_DICE = random.Random()  # noqa: S311 - to come apart, not to be secret. Nobody else draws from it.


def between(least: float, most: float) -> float:
    """A number at random, so that those who wait for the same thing come apart."""
    return _DICE.uniform(least, most)


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking file or CPU work off the loop; the one door for it."""
    return await asyncio.to_thread(function, *args, **kwargs)


async def in_thread_to_end(
    function: Callable[[], T], abort: Callable[[], object] = lambda: None
) -> T:
    """As `in_thread`, but a cancelled caller is held until the thread has ended.

    For work whose traces (mounts, half-written trees) are cleaned up afterwards.
    `abort` tells the thread to end early; it is called in the loop's thread.
    """
    work = asyncio.get_running_loop().run_in_executor(None, function)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        abort()
        await asyncio.wait([work])
        work.exception()  # retrieved, so that nobody warns about it
        raise


def first_error(group: BaseExceptionGroup[Any]) -> BaseException:
    """The first leaf of a group that is not a mere cancellation: the error to tell the user."""
    leaves = list(_leaves(group))
    return next((e for e in leaves if not isinstance(e, asyncio.CancelledError)), leaves[0])


def _leaves(error: BaseException) -> Iterable[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


async def gather(jobs: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines together; the first failure cancels the rest and is raised bare."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job) for job in jobs]
    except BaseExceptionGroup as problems:
        raise first_error(problems) from problems
    return [task.result() for task in tasks]
