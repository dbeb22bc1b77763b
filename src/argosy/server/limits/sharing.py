"""Buckets that all nodes share, in Redis: taken from by one script, for many limits at a time.

What is asked for while an answer is on its way goes along with the next question. A Redis
that does not answer in time is left alone for a second; nobody waits for it meanwhile. Who
it is that takes part is known by their questions: a node that has not asked for a while is
gone, and its part of the limits is the others'.
"""

import asyncio
import logging
import os
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from argosy.errors import ConfigError
from argosy.server.limits.bucket import Rate
from argosy.server.limits.tap import Asked, Grant
from argosy.values import frozen

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger("argosy.server.limits")

_TIMEOUT: Final = 0.25
_PAUSE: Final = 1.0  # after a failure
_BEAT: Final = 3.0  # a node that asks nothing still says that it is there
_GONE: Final = 10.0
_MOST: Final = 200  # limits in one question
_PREFIX: Final = "{argosy}:limit:"  # the braces keep them on one shard of a cluster
_NODES: Final = "{argosy}:nodes"

# KEYS: the nodes, then a bucket each. ARGV: this node, seconds until one is gone, then for
# each bucket rate, burst, need, welcome. Redis' own clock: those of the nodes may differ.
_SCRIPT: Final = """
local t = redis.call('TIME')
local now = tonumber(t[1]) + tonumber(t[2]) / 1000000
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
redis.call('PEXPIRE', KEYS[1], 60000)
local out = {redis.call('ZCARD', KEYS[1])}
for i = 2, #KEYS do
  local a = 4 * (i - 2) + 2
  local rate, burst = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
  local need, welcome = tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4])
  local held = redis.call('HMGET', KEYS[i], 'level', 'at')
  local level = tonumber(held[1] or burst) or burst
  local at = tonumber(held[2] or now) or now
  level = math.min(burst, level + math.max(0, now - at) * rate)
  local granted = math.max(0, math.min(math.floor(level), math.ceil(welcome)))
  level = level - granted
  redis.call('HSET', KEYS[i], 'level', string.format('%.6f', level), 'at', string.format('%.6f', now))
  redis.call('PEXPIRE', KEYS[i], math.ceil(burst / rate * 1000) + 1000)
  local short = math.min(need - granted, burst) - level
  out[#out + 1] = string.format('%d', granted)
  out[#out + 1] = string.format('%.6f', math.max(0, short / rate))
end
return out
"""


@frozen(eq=False)
class _Question:
    key: str
    rate: Rate
    asked: Asked
    answer: "asyncio.Future[Grant | None]"


class RedisBuckets:
    """See `tap.Shared`. `run` until cancelled; before that, and while Redis is away, it is away."""

    def __init__(self, url: str, password: str = "", *, nodes: int = 1) -> None:
        self._url = url
        self._password = password
        self._name = os.urandom(8).hex()
        self._nodes = max(1, nodes)
        self._questions: deque[_Question] = deque()
        self._asked = asyncio.Event()
        self._here = False
        self.asked = 0  # round trips

    @property
    def nodes(self) -> int:
        """How many nodes were there when Redis was asked last."""
        return self._nodes

    @property
    def away(self) -> bool:
        """Whether Redis cannot be asked now."""
        return not self._here

    async def lease(self, key: str, rate: Rate, asked: Asked) -> Grant | None:
        """Tokens out of the shared bucket; None: Redis is away."""
        if not self._here:
            return None
        answer: asyncio.Future[Grant | None] = asyncio.get_running_loop().create_future()
        self._questions.append(_Question(key, rate, asked, answer))
        self._asked.set()
        return await answer

    async def run(self) -> None:
        """Ask, and ask again after a pause when Redis was away."""
        redis = _connect(self._url, self._password)
        script = redis.register_script(_SCRIPT)
        try:
            while True:
                try:
                    await self._exchange(script)
                except _failures() as e:
                    self._lost(e)
                    await asyncio.sleep(_PAUSE)
                else:
                    await self._pause()
        finally:
            self._here = False
            self._answer_nothing(list(self._questions))
            with suppress(*_failures()):
                await redis.aclose()

    async def _pause(self) -> None:
        if not self._questions:
            self._asked.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_BEAT):
                    await self._asked.wait()

    async def _exchange(self, script: Any) -> None:
        batch = [self._questions.popleft() for _ in range(min(_MOST, len(self._questions)))]
        keys = [_NODES, *(_PREFIX + q.key for q in batch)]
        words: list[Any] = [self._name, _GONE]
        for q in batch:
            words += [q.rate.rate, q.rate.burst, q.asked.need, q.asked.welcome]
        try:
            async with asyncio.timeout(_TIMEOUT):
                found = await script(keys=keys, args=words)
        except BaseException:
            self._answer_nothing(batch)
            raise
        self.asked += 1
        self._nodes = max(1, int(found[0]))
        for place, q in enumerate(batch):
            if not q.answer.done():
                grant = Grant(float(found[2 * place + 1]), float(found[2 * place + 2]))
                q.answer.set_result(grant)
        if not self._here:
            log.info("limits are shared through Redis; nodes: %d", self._nodes)
            self._here = True

    def _lost(self, error: BaseException) -> None:
        if self._here:
            log.warning(
                "Redis is away (%s): each of %d nodes takes its part of the limits by itself",
                type(error).__name__,
                self._nodes,
            )
        self._here = False
        self._answer_nothing([self._questions.popleft() for _ in range(len(self._questions))])

    def _answer_nothing(self, questions: list[_Question]) -> None:
        for q in questions:
            if not q.answer.done():
                q.answer.set_result(None)


def _connect(url: str, password: str) -> "Redis":
    from redis.asyncio import Redis  # noqa: PLC0415 - 90 ms
    from redis.asyncio.retry import Retry  # noqa: PLC0415
    from redis.backoff import NoBackoff  # noqa: PLC0415

    more: dict[str, Any] = {"password": password} if password else {}
    try:
        return Redis.from_url(
            url,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            retry=Retry(NoBackoff(), 0),  # what failed is asked anew by us, later
            health_check_interval=0,
            decode_responses=True,
            **more,
        )
    except ValueError as e:  # its words may show the password
        raise ConfigError(
            "the address of Redis cannot be used",
            why="it is not of the form redis://HOST:PORT/NUMBER (rediss:// for TLS)",
            remedy="correct [redis] url in the settings",
        ) from e


def _failures() -> tuple[type[BaseException], ...]:
    from redis.exceptions import RedisError  # noqa: PLC0415

    return (RedisError, OSError, TimeoutError)
