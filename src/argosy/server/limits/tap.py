"""One limit as this node has it: tokens out of its own bucket, or out of what Redis granted.

Redis is asked for a tenth of a second's worth at once, so that a busy limit costs a round
trip ten times a second and not one per request. While Redis is away, the node has its part
of the limit to itself.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

from argosy.server.limits.bucket import Bucket, Rate
from argosy.values import frozen

Clock = Callable[[], float]

_AHEAD: Final = 0.1  # seconds' worth that is asked for at once
_STALE: Final = 1.0  # after that, what was granted and not used is dropped


@frozen
class Grant:
    """Tokens that the shared bucket gave, and the seconds until there may be more."""

    count: float
    wait: float


@frozen
class Asked:
    """So many tokens are needed now, and so many are welcome."""

    need: float
    welcome: float


class Shared(Protocol):
    """The bucket of a limit that all nodes have in common."""

    @property
    def nodes(self) -> int:
        """How many share the limits, as far as is known."""
        ...

    @property
    def away(self) -> bool:
        """Whether it cannot be asked now."""
        ...

    async def lease(self, key: str, rate: Rate, asked: Asked) -> Grant | None:
        """Tokens for this node; None: it is away."""
        ...


class Alone:
    """No sharing: `nodes` is what the settings say."""

    away: Final = True

    def __init__(self, nodes: int = 1) -> None:
        self.nodes: Final = max(1, nodes)

    async def lease(self, _key: str, _rate: Rate, _asked: Asked) -> Grant | None:
        """Nothing."""
        return None


class Tap:
    """The tokens of one limit on this node."""

    def __init__(self, key: str, rate: Rate, shared: Shared, clock: Clock = time.monotonic) -> None:
        self.key: Final = key
        self.rate: Final = rate
        self.waiting = 0
        self._shared = shared
        self._clock = clock
        self._parts = 0
        self._bucket: Bucket
        self._granted = 0.0
        self._granted_at = 0.0
        self._dry_until = 0.0
        self._turn = asyncio.Lock()

    # One token, for a request.

    def at_once(self) -> bool | None:
        """Take a token if there is one; None: Redis has to be asked."""
        now = self._clock()
        if self._shared.away:
            return self._own(now).take(1, now)
        if self._left(now) >= 1:
            self._granted -= 1
            return True
        return False if now < self._dry_until else None

    async def one(self) -> bool:
        """Take a token if there is one."""
        while (found := self.at_once()) is None:
            async with self._turn:
                if (found := self.at_once()) is not None:
                    return found
                await self._ask(1)
        return found

    def delay(self) -> float:
        """The seconds after which a token may be there."""
        now = self._clock()
        if self._shared.away:
            return self._own(now).wait(1, now)
        return max(0.0, self._dry_until - now)

    @property
    def busy(self) -> bool:
        """Whether forgetting it would give away tokens that were taken."""
        now = self._clock()
        full = self.rate.part(self._shared.nodes).burst
        return bool(self.waiting) or (self._shared.away and self._own(now).wait(full, now) > 0)

    # Many, for a body.

    async def take(self, count: int) -> bool:
        """Take so many tokens, when they are there, in the order of asking; whether it waited."""
        self.waiting += 1
        try:
            return await self._take(count)
        finally:
            self.waiting -= 1

    async def _take(self, count: int) -> bool:
        waited = False
        async with self._turn:
            while not self._shared.away:
                now = self._clock()
                if self._left(now) >= count:
                    self._granted -= count
                    return waited
                if now < self._dry_until:
                    waited = True
                    await asyncio.sleep(self._dry_until - now)
                await self._ask(count)
            now = self._clock()
            delay = self._own(now).reserve(count, now)
        if delay <= 0:
            return waited
        try:
            await asyncio.sleep(delay)
        except asyncio.CancelledError:
            self._bucket.give_back(count)
            raise
        return True

    def give_back(self, count: int) -> None:
        """So many that were taken were not used."""
        if self._shared.away:
            self._own(self._clock()).give_back(count)
        else:
            self._granted += count

    # Where they come from.

    async def _ask(self, count: float) -> None:
        need = max(1.0, count - self._granted)
        asked = Asked(need, max(need, self.rate.rate * _AHEAD))
        grant = await self._shared.lease(self.key, self.rate, asked)
        if grant is None:
            return
        now = self._clock()
        self._granted = self._left(now) + grant.count
        self._granted_at = now
        short = self._granted < count
        self._dry_until = now + max(grant.wait, 0.001) if short else 0.0

    def _left(self, now: float) -> float:
        # Who waits for many collects them over several grants: they do not go stale.
        if self._granted and not self.waiting and now - self._granted_at > _STALE:
            self._granted = 0.0
        return self._granted

    def _own(self, now: float) -> Bucket:
        nodes = self._shared.nodes
        if self._parts != nodes:
            self._parts = nodes
            self._bucket = Bucket(self.rate.part(nodes), now)
        return self._bucket
