"""Limits that nodes share through a real Redis; and without it, when it is killed or stuck."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from argosy.errors import ConfigError
from argosy.server.limits.bucket import Rate
from argosy.server.limits.sharing import RedisBuckets
from argosy.server.limits.tap import Asked, Tap
from tests.redis_server import RedisServer, running_redis

pytestmark = pytest.mark.peer

_ONE = Asked(1, 1)


@asynccontextmanager
async def nodes(redis: RedisServer, count: int) -> AsyncIterator[list[RedisBuckets]]:
    """Several nodes that are connected and know of each other."""
    made = [RedisBuckets(redis.url, redis.password) for _ in range(count)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one.run()) for one in made]
        try:
            await until(lambda: all(not one.away for one in made))
            for one in made:  # the last one that came is known to all after the next question
                await one.lease("hello", Rate(1, 1), _ONE)
            yield made
        finally:
            for task in tasks:
                task.cancel()


async def until(true: Callable[[], bool]) -> None:
    """Wait for what has to become true."""
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


async def test_all_nodes_together_give_no_more_than_one_would(redis: RedisServer) -> None:
    rate = Rate(0.001, 50)
    async with nodes(redis, 3) as shared:
        assert [one.nodes for one in shared] == [3, 3, 3]
        taps = [Tap("project team:requests", rate, one) for one in shared]
        asked = [tap.one() for tap in taps for _ in range(40)]
        assert sum(await asyncio.gather(*asked)) == 50
        assert 3600 > taps[0].delay() > 0


async def test_one_node_may_take_all_of_it(redis: RedisServer) -> None:
    async with nodes(redis, 2) as shared:
        tap = Tap("x", Rate(0.001, 50), shared[0])
        assert sum([await tap.one() for _ in range(60)]) == 50


async def test_a_busy_limit_costs_few_round_trips(redis: RedisServer) -> None:
    async with nodes(redis, 1) as (shared,):
        tap = Tap("x", Rate(10_000, 20_000), shared)
        before = shared.asked
        for _ in range(5000):
            assert await tap.one()
        assert shared.asked - before <= 10


async def test_bytes_come_at_the_shared_rate(redis: RedisServer) -> None:
    rate = Rate(200_000, 65_536)
    async with nodes(redis, 2) as shared:
        taps = [Tap("x:download", rate, one) for one in shared]
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.gather(*(tap.take(16_384) for tap in taps for _ in range(8)))
        # 262 144 bytes, of which 65 536 were there: the rest needs 0.98 s.
        assert loop.time() - began >= 0.9


async def test_a_killed_redis_loosens_limits_and_it_comes_back_by_itself(
    redis: RedisServer,
) -> None:
    async with nodes(redis, 2) as shared:
        tap = Tap("x", Rate(0.001, 40), shared[0])
        assert await tap.one()
        redis.kill()
        answers = [await asyncio.wait_for(tap.one(), 5) for _ in range(60)]
        assert shared[0].away
        # What was granted before, then a bucket for one of two nodes: no more, and not nothing.
        assert 20 <= sum(answers) <= 20 + 40
        redis.start()
        await until(lambda: not shared[0].away)
        assert await Tap("y", Rate(0.001, 5), shared[0]).one()


async def test_a_redis_that_hangs_holds_nobody_up_for_long(redis: RedisServer) -> None:
    async with nodes(redis, 1) as (shared,):
        redis.freeze()
        tap = Tap("x", Rate(0.001, 5), shared)
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await asyncio.wait_for(tap.one(), 5)
        assert [tap.at_once() for _ in range(10)].count(True) == 4
        assert loop.time() - began < 3
        redis.thaw()
        await until(lambda: not shared.away)


async def test_a_node_starts_and_serves_without_redis(redis: RedisServer) -> None:
    redis.stop()
    shared = RedisBuckets(redis.url, nodes=2)
    tap = Tap("x", Rate(0.001, 10), shared)
    assert [tap.at_once() for _ in range(6)] == [True] * 5 + [False]
    async with asyncio.TaskGroup() as group:
        task = group.create_task(shared.run())
        redis.start()
        await until(lambda: not shared.away)
        task.cancel()


async def test_a_password_is_used_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    with running_redis("not-to-be-shown-9a1") as redis:
        async with nodes(redis, 1) as (shared,):
            assert await shared.lease("x", Rate(1, 1), _ONE)
        wrong = RedisBuckets(redis.url, "wrong-guess-77")
        async with asyncio.TaskGroup() as group:
            task = group.create_task(wrong.run())
            await asyncio.sleep(0.2)
            task.cancel()
        assert wrong.away
    assert "not-to-be-shown" not in caplog.text
    assert "wrong-guess" not in caplog.text


async def test_an_address_that_is_none_is_told_at_the_start() -> None:
    with pytest.raises(ConfigError) as caught:
        await RedisBuckets("http://:secret-word@nowhere").run()
    assert "secret-word" not in str(caught.value.to_json())
