"""The key as it is now: found once, and renewed ahead of its end for as long as somebody keeps it.

One asks at a time, the others wait for what he gets. While a source is away the key that
there is goes on being used, as long as it lives; nothing is ever signed with one that has ended.
"""

import asyncio
import logging
import math
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from argosy.concurrency import between, in_thread
from argosy.errors import ArgosyError, ConfigError, StorageUnavailable
from argosy.meters import declared as meters
from argosy.stores.remote.transport import Transport
from argosy.stores.s3.credentials.asking import unusable
from argosy.stores.s3.credentials.container import Container
from argosy.stores.s3.credentials.instance import Instance
from argosy.stores.s3.credentials.sources import Key, SharedFile, Source, fixed
from argosy.stores.s3.credentials.web_identity import WebIdentity
from argosy.stores.s3.signing import Credentials

log = logging.getLogger("argosy.stores.s3")

_MARGIN: Final = 10.0  # seconds before its end from which a key counts as ended: requests take time
_AHEAD: Final = 900.0  # seconds before its end from which a new one is asked for
_SOON: Final = 1.0  # seconds until the first new try after a failure; the least between two looks
_LATE: Final = 15.0
_NAP: Final = 60.0  # seconds: naps do not count while the machine sleeps


def chain(env: Mapping[str, str], transport: Transport, region: str) -> list[Source]:
    """What may give a key where neither settings nor environment have one, in the SDKs' order."""
    return [
        WebIdentity(env, transport, region),
        SharedFile(env),
        Container(env, transport),
        Instance(env, transport),
    ]


_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _clock() -> float:
    """Seconds that nobody sets, and that also pass while the machine sleeps, where that is known."""
    return time.clock_gettime(_CLOCK)


class KeyKeeper:
    """One key, kept good. `clock`: seconds, whatever they are counted from."""

    def __init__(
        self, key: Key | None, sources: Sequence[Source], clock: Callable[[], float] = _clock
    ) -> None:
        self._sources = sources
        self._source: Source | None = None  # the one that gave the key
        self._clock = clock
        self._key: Key | None = None
        # When it counts as ended, when to ask for another, and before when nobody is to.
        self._ends = self._due = self._again = -math.inf
        self._failure: ArgosyError | None = None
        self._failed = 0
        self._lock = asyncio.Lock()
        if key is not None:
            self._take(key, clock())

    @property
    def origin(self) -> str:
        """Where the key comes from, in words; empty before there is one."""
        return "" if self._key is None else self._key.origin

    async def foreseen(self) -> str:
        """Where the key will come from, asking nobody outside of this machine; ConfigError if nowhere."""
        looked: list[str] = []
        if self._key is None:
            async with aclosing(self._set_up(looked)) as sources:
                async for source in sources:
                    return source.name + ("" if source.sure else ", if there is one")
            raise _none(looked)
        return self.origin

    @property
    def at_hand(self) -> Credentials | None:
        """The key, if there is one that can be used now."""
        if self._key is None or self._clock() >= self._ends:
            return None
        return self._key.credentials

    @property
    def left(self) -> float:
        """Seconds for which the key can be used."""
        return max(self._ends - self._clock(), 0.0)

    async def now(self) -> Credentials:
        """The key; an error that says what was looked at if there is none that can be used."""
        if (found := self.at_hand) is not None:
            return found
        async with self._lock:
            if (found := self.at_hand) is not None:
                return found  # somebody else got it while we waited
            if self._failure is None or self._clock() >= self._again:
                await self._renew()
            if self._failure is not None:
                raise self._error(self._failure) from self._failure
            assert self._key is not None
            return self._key.credentials

    async def another(self, than: Credentials) -> bool:
        """Whether there is another key than this one, of which the object store says that it ended."""
        async with self._lock:
            if self._key is not None and self._key.credentials == than:
                if self._source is None or self._clock() < self._again:
                    return False
                await self._renew()
        return self.at_hand not in (None, than)

    async def keep(self) -> None:
        """Renew the key ahead of its end, until cancelled; ends at once if it has none."""
        while self._due < math.inf:
            await asyncio.sleep(min(max(self._due - self._clock(), 0.0), _NAP))
            async with self._lock:
                if self._clock() >= self._due:
                    await self._renew()

    async def _renew(self) -> None:
        began = self._clock()
        try:
            key = await self._look()
            if key.lifetime <= _MARGIN:
                raise unusable(key.origin, "the key that it gives has ended")
        except ArgosyError as e:
            meters.S3_REQUESTS.add("GetKey", "error")
            self._fail(e)
        else:
            meters.S3_REQUESTS.add("GetKey", "ok")
            self._take(key, began)

    def _take(self, key: Key, began: float) -> None:
        if self._failure is not None:
            log.warning("the key of the object store is renewed again, from %s", key.origin)
        self._failure, self._failed = None, 0
        self._key, self._ends = key, began + key.lifetime - _MARGIN
        # Half of what is left, for keys that are short, or that their source renews late.
        pause = min(max(key.lifetime - _AHEAD, (key.lifetime - _MARGIN) / 2), key.look)
        self._due = began + max(between(0.9, 1.0) * pause, _SOON)
        self._again = self._clock() + _SOON

    def _fail(self, error: ArgosyError) -> None:
        self._failure = error
        pause = min(_SOON * 2**self._failed, _LATE)
        self._failed = min(self._failed + 1, 16)
        self._due = self._again = self._clock() + between(pause / 2, pause)
        if self._key is not None:  # otherwise who asked for it tells
            log.warning(
                "%s: %s; the one that is there ends in %.0f s", error.summary, error.why, self.left
            )

    def _error(self, failure: ArgosyError) -> ArgosyError:
        if self._key is None:
            kind = type(failure)
            return kind(failure.summary, why=failure.why, remedy=failure.remedy)
        return StorageUnavailable(
            "the key of the object store has ended, and there is no other",
            why=failure.why,
            remedy=failure.remedy,
        )

    async def _look(self) -> Key:
        if self._source is not None:
            return await self._source.fetch()
        looked: list[str] = []
        async with aclosing(self._set_up(looked)) as sources:
            async for source in sources:
                try:
                    key = await source.fetch()
                except ArgosyError as e:
                    if source.sure:
                        raise
                    looked.append(e.why)
                else:
                    self._source = source
                    return key
        raise _none(looked)

    async def _set_up(self, looked: list[str]) -> AsyncGenerator[Source, None]:
        """The sources that lack nothing; `looked` gets what the others lack."""
        for source in self._sources:
            if why := await in_thread(source.lacks):
                looked.append(f"{source.name}: {why}")
            else:
                yield source


def _none(looked: Sequence[str]) -> ConfigError:
    first = "the settings: no storage.s3.access_key", "the environment: no AWS_ACCESS_KEY_ID"
    return ConfigError(
        "there is no key for the object store",
        why="; ".join((*first, *looked)),
        remedy="set storage.s3.access_key and storage.s3.secret_key (or ..._FILE), or"
        " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this workload a role",
    )


def open_keys(
    given: Credentials, transport: Transport, region: str, env: Mapping[str, str] | None = None
) -> KeyKeeper:
    """The key of these settings, and what else may give one."""
    env = os.environ if env is None else env
    return KeyKeeper(fixed(given, env), chain(env, transport, region))
