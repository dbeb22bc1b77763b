"""Passwords of local users: argon2id, off the event loop, a few at a time.

Each takes 19 MiB and some 20 ms of a core (OWASP Password Storage): however many log in at
once, no more are in work than there are cores, so a storm of logins costs time, not memory.
"""

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from argosy.concurrency import in_thread_to_end
from argosy.errors import RegistryUnavailable, UsageError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

T = TypeVar("T")

SHORTEST: Final = 8
LONGEST: Final = 256
_TIME, _MEMORY, _LANES = 2, 19456, 1
_WAITING: Final = 2000


class PasswordUnfit(UsageError):
    """A password that nobody should have."""

    code = "unfit-password"


def check(password: str, name: str) -> None:
    """PasswordUnfit for a password that is too short, too long, or the user's name."""
    length = len(password)
    if not SHORTEST <= length <= LONGEST:
        raise PasswordUnfit(
            f"a password has {SHORTEST} to {LONGEST} characters, this one has {length}",
            remedy="choose a longer one: length counts, kinds of characters do not"
            if length < SHORTEST
            else "choose a shorter one",
        )
    if name and name.lower() in password.lower() and length < len(name) + SHORTEST:
        raise PasswordUnfit(
            "the password is little more than the user's name",
            remedy="choose one that does not follow from the name",
        )


class Passwords:
    """Makes and checks hashes of passwords."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(max(os.cpu_count() or 1, 2))
        self._waiting = 0
        self._made: PasswordHasher | None = None
        self._decoy = ""

    async def hash(self, password: str) -> str:
        """What is stored of a password."""
        return await self._work(lambda: self._hasher().hash(_bytes(password)))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether `stored` was made from that password; takes as long when there is none stored."""
        return await self._work(lambda: self._verify(stored, password))

    def outdated(self, stored: str) -> bool:
        """Whether it was made with other parameters than today's."""
        return self._hasher().check_needs_rehash(stored)

    async def _work(self, function: Callable[[], T]) -> T:
        if self._waiting >= _WAITING:
            raise RegistryUnavailable(
                "too many are logging in at once",
                status=503,
                registry_code="UNAVAILABLE",
                remedy="try again in a few seconds",
            )
        self._waiting += 1
        try:
            async with self._turns:
                # To the end: who hangs up early must not leave work behind that nobody counts.
                return await in_thread_to_end(function)
        finally:
            self._waiting -= 1

    def _verify(self, stored: str | None, password: str) -> bool:
        from argon2.exceptions import Argon2Error, InvalidHashError  # noqa: PLC0415 - 10 ms

        hasher = self._hasher()
        if not stored and not self._decoy:
            self._decoy = hasher.hash(os.urandom(16))
        try:
            return hasher.verify(stored or self._decoy, _bytes(password)) and bool(stored)
        except (Argon2Error, InvalidHashError):
            return False

    def _hasher(self) -> "PasswordHasher":
        if self._made is None:
            from argon2 import PasswordHasher  # noqa: PLC0415 - 10 ms

            self._made = PasswordHasher(time_cost=_TIME, memory_cost=_MEMORY, parallelism=_LANES)
        return self._made


def _bytes(password: str) -> bytes:
    return password.encode(errors="surrogateescape")
