"""Guessing passwords is slowed: by account and address together, by address, and by account.

    account and address   5 tries, then one each 1, 2, 4 … 300 s    forgotten with a success
    address               50 tries, then the same, over all accounts
    account               100 tries, then one each 1, 2, 4 … 30 s, from wherever

The last two do not count where that account has logged in from that address within 90 days:
who guesses from elsewhere cannot lock people out. Counts halve every ten minutes. They
are in the database, so all nodes count together; and a try is counted before the next of its
kind is looked at, so that many at once are no way around. However a directory lets people
write a name (case, blanks, forms of Unicode), it is one account. Secrets that we made (personal
access tokens, robots') cannot be guessed and are never slowed.
"""

import asyncio
import hashlib
import ipaddress
import time
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Final
from weakref import WeakValueDictionary

from sqlalchemy import Connection

from argosy.catalog.database import Database
from argosy.catalog.people import failed_logins
from argosy.catalog.people.failed_logins import Failures
from argosy.values import frozen

_HALVING: Final = 600.0
_FAMILIAR: Final = 90 * 86400.0
_DAY: Final = 86400.0
_KEPT: Final = 86400.0
_AT_ONCE: Final = 16  # of one address, of whatever accounts
_LOOKED_AT: Final = 512  # characters of a name: more than any has, and normalizing is quadratic


@frozen(kw_only=True)
class Limit:
    """So many tries without waiting, then twice as long each time, up to `longest` seconds."""

    free: int
    longest: float

    def wait(self, count: int) -> float:
        """Seconds until the next try after so many failures."""
        over = count - self.free
        return 0.0 if over < 0 else min(2.0 ** min(over, 20), self.longest)


_PAIR: Final = Limit(free=5, longest=300.0)
_ADDRESS: Final = Limit(free=50, longest=300.0)
_ACCOUNT: Final = Limit(free=100, longest=30.0)


@frozen
class _Keys:
    """What a try is counted under."""

    pair: str
    address: str
    account: str
    familiar: str

    @property
    def counted(self) -> tuple[tuple[str, Limit], ...]:
        return (self.pair, _PAIR), (self.address, _ADDRESS), (self.account, _ACCOUNT)


class Throttle:
    """Counts failed logins."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, name: str, address: str, *, alone: bool = False) -> AsyncIterator[float]:
        """One try, counted (`failed`) before the block ends; gives `wait`.

        One after the other for an account from an address (`alone`: from wherever).
        """
        keys = _keys(name, address)
        one = self._turn(keys.account if alone else keys.pair, 1)
        async with one, self._turn(keys.address, _AT_ONCE):
            yield await self.wait(name, address)

    def _turn(self, key: str, most: int) -> asyncio.Semaphore:
        if (found := self._turns.get(key)) is None:
            found = self._turns[key] = asyncio.Semaphore(most)
        return found

    async def wait(self, name: str, address: str) -> float:
        """Seconds until a try for that account from that address is looked at; 0: now."""
        keys = _keys(name, address)
        names = [keys.pair, keys.address, keys.account, keys.familiar]
        found = await self._db.glance(lambda conn: failed_logins.failures(conn, names))
        now = time.time()
        known = found.get(keys.familiar)
        if known is not None and known.until > now * 1e6:
            names = [keys.pair]
        untils = [found[key].until for key in names if key in found and key != keys.familiar]
        return max(max(untils, default=0) / 1e6 - now, 0.0)

    async def failed(self, name: str, address: str) -> None:
        """A try was wrong."""
        keys = _keys(name, address)

        def count(conn: Connection) -> None:
            # Always in this order: two transactions never wait for each other.
            for key, limit in sorted(keys.counted, key=lambda pair: pair[0]):
                _count(conn, key, limit)

        await self._db.write(count)

    async def succeeded(self, name: str, address: str) -> None:
        """A try was right: what failed there before is forgotten, and the place is familiar."""
        keys = _keys(name, address)
        found = await self._db.glance(
            lambda conn: failed_logins.failures(conn, [keys.pair, keys.familiar])
        )
        now = time.time()
        familiar = found.get(keys.familiar)
        if keys.pair not in found and familiar and familiar.updated_at > (now - _DAY) * 1e6:
            return  # nothing to write: the usual case
        until = int((now + _FAMILIAR) * 1e6)

        def settle(conn: Connection) -> None:
            failed_logins.forget(conn, [keys.pair])
            failed_logins.put(conn, keys.familiar, Failures(0, until, int(now * 1e6)))

        await self._db.write(settle)

    async def sweep(self) -> int:
        """Forget what is old; how many rows went."""
        before = int((time.time() - _KEPT) * 1e6)
        return await self._db.write(lambda conn: failed_logins.sweep(conn, before))


def forget(conn: Connection, name: str) -> None:
    """An administrator gave the account a new password: it starts anew, from wherever."""
    failed_logins.forget(conn, [_keys(name, "").account])


def _count(conn: Connection, key: str, limit: Limit) -> None:
    found = failed_logins.count(conn, key)
    now = time.time()
    halvings = int(max(now - found.updated_at / 1e6, 0.0) / _HALVING)
    count = max(found.times >> min(halvings, 30), 1)
    until = int((now + limit.wait(count)) * 1e6)
    failed_logins.put(conn, key, Failures(count, until, int(now * 1e6)))


def _keys(name: str, address: str) -> _Keys:
    plain = " ".join(unicodedata.normalize("NFKC", name[:_LOOKED_AT]).casefold().split())
    account = hashlib.sha256(plain.encode(errors="surrogateescape")).hexdigest()[:32]
    place = network(address)
    return _Keys(f"p:{account}:{place}", f"a:{place}", f"u:{account}", f"k:{account}:{place}")


@lru_cache(4096)
def network(address: str) -> str:
    """What counts as one address: of IPv6 the /64, which one household has all of."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
