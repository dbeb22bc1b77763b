"""Guesses of passwords and codes: many at once are no way around, nor are other ways to write a name."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from argosy.access.accounts.users import NewUser
from argosy.access.identity import totp
from argosy.access.service import Access, open_access
from argosy.access.signing_in import throttle
from argosy.access.signing_in.logins import WRONG
from argosy.access.signing_in.refused import Refused, Slowed
from argosy.access.signing_in.second_factor import WRONG_CODE, SecondFactor
from argosy.access.tokens.sealing import Sealer
from argosy.catalog.actor import SYSTEM, Actor
from argosy.catalog.database import Database, open_database

GOOD = "correct horse battery"
HERE = "192.0.2.1"
BY = Actor(name="ada", kind="user", address=HERE)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(str(tmp_path / "c.db")) as found:
        yield found


@pytest.fixture
async def access(database: Database, cheap_hashes: None) -> AsyncIterator[Access]:
    async with open_access(database, Sealer("s" * 40)) as found:
        await found.users.create(SYSTEM, NewUser(name="ada", password=GOOD, is_admin=True))
        yield found


def kinds(found: list[Refused | None]) -> Counter[str]:
    """How many were looked at, and how many were not."""
    assert None not in found
    return Counter("slowed" if isinstance(one, Slowed) else "wrong" for one in found)


async def test_guesses_at_once_of_the_password_that_is_to_be_changed_are_slowed(
    access: Access,
) -> None:
    tries = (access.users.change_password(BY, f"guess {n}", "another good one") for n in range(60))
    assert kinds(await asyncio.gather(*tries))["wrong"] == 5


async def test_guesses_at_once_of_a_code_are_slowed_wherever_they_come_from(
    access: Access, database: Database
) -> None:
    """Six digits are few: with the password in hand, tries at once must not count as one."""
    factor, user = SecondFactor(database, Sealer("s" * 40)), await access.users.get("ada")
    begun = await factor.begin(user)
    assert not isinstance(begun, Refused)
    secret = totp.new_secret()  # not the app's: every code is a guess
    guess = totp.hotp(secret, 1)
    tries = (factor.guessed(access.logins.throttle, user, guess, HERE) for _ in range(60))
    assert kinds(await asyncio.gather(*tries))["wrong"] == 5
    everywhere = [f"198.51.{n // 250}.{n % 250}" for n in range(200)]
    tries = (factor.guessed(access.logins.throttle, user, guess, place) for place in everywhere)
    assert kinds(await asyncio.gather(*tries))["wrong"] == 100 - 5


async def test_a_wrong_code_is_refused_as_one(access: Access, database: Database) -> None:
    factor, user = SecondFactor(database, Sealer("s" * 40)), await access.users.get("ada")
    assert await factor.guessed(access.logins.throttle, user, "000000", HERE) is WRONG_CODE


async def test_an_address_that_tries_many_names_at_once_is_slowed(access: Access) -> None:
    tries = (access.logins.basic(f"somebody{n}", "wrong", HERE) for n in range(300))
    found = kinds([one for one in await asyncio.gather(*tries) if isinstance(one, Refused)])
    assert 50 <= found["wrong"] <= 50 + throttle._AT_ONCE


@pytest.mark.parametrize("other", ["ADA", " ada", "ada ", "Ａｄａ"])
async def test_other_ways_to_write_a_name_are_no_other_account(access: Access, other: str) -> None:
    """A directory takes all of these for the same person."""
    for name in ("ada", other) * 3:
        await access.logins.throttle.failed(name, HERE)
    assert isinstance(await access.logins.basic(other, "wrong", HERE), Slowed)
    assert await access.logins.basic("eve", "wrong", HERE) is WRONG


async def test_a_name_that_is_longer_than_any_is_not_looked_at_to_its_end() -> None:
    """Normalizing takes a time that is quadratic in a run of marks, and is done on the loop."""
    marks = "a" + "\u0301\u0323" * 300
    assert throttle._keys(marks, HERE) == throttle._keys(f"{marks}\u0323\u0301b", HERE)
    assert throttle._keys("a" * 255, HERE) != throttle._keys("a" * 256, HERE)
