"""Logins: who shows the right thing is let in, guessing is slowed, and nothing tells names apart."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from sqlalchemy import Connection, insert, select, update

from argosy.access.accounts.personal import NewToken
from argosy.access.accounts.robots import NewRobot, RobotChange
from argosy.access.accounts.users import NewUser, UserChange
from argosy.access.permissions.principal import Principal
from argosy.access.service import Access, AccessOptions, open_access
from argosy.access.signing_in import throttle
from argosy.access.signing_in.backends import BackendUnavailable, Identity
from argosy.access.signing_in.logins import CHANGE_FIRST, WRONG, SecondFactorNeeded
from argosy.access.signing_in.refused import Slowed
from argosy.access.signing_in.throttle import Limit
from argosy.access.tokens.sealing import Sealer
from argosy.catalog import schema as t
from argosy.catalog.actor import SYSTEM, Actor
from argosy.catalog.database import Database, open_database

GOOD = "correct horse battery"
HERE, THERE = "192.0.2.1", "198.51.100.7"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(str(tmp_path / "c.db")) as found:
        yield found


@pytest.fixture
async def access(database: Database, cheap_hashes: None) -> AsyncIterator[Access]:
    async with open_access(database, Sealer("s" * 40)) as found:
        await found.users.create(SYSTEM, NewUser(name="ada", password=GOOD, is_admin=True))
        await found.users.create(SYSTEM, NewUser(name="eve", password=GOOD))
        yield found


async def who(access: Access, name: str) -> Principal:
    user = await access.users.get(name)
    return Principal(name=name, kind="user", id=user.id)


async def count(access: Access) -> list[int]:
    """How often a password is really worked on, from now on."""
    worked = [0]
    verify = access.logins.passwords.verify

    async def counted(stored: str | None, password: str) -> bool:
        worked[0] += 1
        return await verify(stored, password)

    access.logins.passwords.verify = counted  # type: ignore[method-assign]
    return worked


async def test_the_right_password_is_let_in_and_remembered(access: Access) -> None:
    worked = await count(access)
    assert access.logins.remembered("ada", GOOD) is None
    for _ in range(3):
        found = await access.logins.basic("ada", GOOD, HERE)
        assert isinstance(found, Principal)
        assert (found.name, found.kind, found.is_admin) == ("ada", "user", True)
    assert access.logins.remembered("ada", GOOD) == found
    assert worked == [1]


async def test_a_crowd_with_the_same_password_costs_one_check(access: Access) -> None:
    worked = await count(access)
    found = await asyncio.gather(*(access.logins.basic("ada", GOOD, HERE) for _ in range(200)))
    assert all(isinstance(one, Principal) for one in found)
    assert worked == [1]


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ada", "wrong"),
        ("nobody", GOOD),
        ("ada", ""),
        ("", GOOD),
        ("ada\0", GOOD),
        ("Ada", GOOD),
        ("robot$none", "x"),
        ("ada", "arg_pat_" + "a" * 36),
        ("robot$none", "arg_rob_" + "a" * 36),
        ("ada", GOOD + "\udcff"),
    ],
)
async def test_every_wrong_login_is_told_the_same(access: Access, name: str, password: str) -> None:
    assert await access.logins.basic(name, password, HERE) is WRONG


async def test_a_name_that_nobody_has_costs_the_same_work(access: Access) -> None:
    worked = await count(access)
    await access.logins.basic("ada", "wrong", HERE)
    await access.logins.basic("nobody", "wrong", HERE)
    assert worked == [2]


async def test_changes_end_what_is_remembered_at_once(access: Access) -> None:
    assert isinstance(await access.logins.basic("eve", GOOD, HERE), Principal)
    await access.users.set_password(SYSTEM, "eve", "another good one")
    assert access.logins.remembered("eve", GOOD) is None
    assert await access.logins.basic("eve", GOOD, HERE) is WRONG
    assert isinstance(await access.logins.basic("eve", "another good one", HERE), Principal)
    await access.users.update(SYSTEM, "eve", UserChange(disabled=True))
    assert access.logins.remembered("eve", "another good one") is None
    assert await access.logins.basic("eve", "another good one", THERE) is WRONG


async def test_a_one_time_password_opens_nothing_but_its_own_change(access: Access) -> None:
    _, once = await access.users.create(SYSTEM, NewUser(name="new"))
    assert await access.logins.basic("new", once, HERE) is CHANGE_FIRST
    by = Actor(name="new", kind="user", address=HERE)
    assert await access.users.change_password(by, "wrong", "a good new one") is WRONG
    assert await access.users.change_password(by, once, "a good new one") is None
    assert isinstance(await access.logins.basic("new", "a good new one", HERE), Principal)
    assert await access.logins.basic("new", once, HERE) is WRONG


async def test_a_second_factor_is_not_got_around_with_the_password_alone(
    access: Access, database: Database
) -> None:
    await database.write(
        lambda conn: conn.execute(
            update(t.users).where(t.users.c.name == "eve").values(totp_confirmed=True)
        )
    )
    assert isinstance(await access.logins.basic("eve", GOOD, HERE), SecondFactorNeeded)
    _, secret = await access.personal.create(SYSTEM, await who(access, "eve"), NewToken(name="cli"))
    assert isinstance(await access.logins.basic("eve", secret, HERE), Principal)


async def test_hashes_of_other_parameters_are_made_anew(access: Access, database: Database) -> None:
    from argon2 import PasswordHasher

    old = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1).hash(GOOD)
    await database.write(
        lambda conn: conn.execute(
            update(t.users).where(t.users.c.name == "eve").values(password=old)
        )
    )
    assert isinstance(await access.logins.basic("eve", GOOD, HERE), Principal)
    column = select(t.users.c.password).where(t.users.c.name == "eve")
    now = await database.read(lambda conn: conn.execute(column).scalar())
    assert now != old
    assert not access.logins.passwords.outdated(str(now))
    assert isinstance(await access.logins.basic("eve", GOOD, THERE), Principal)


# Tokens and robots


async def test_a_personal_access_token_is_its_owner_until_it_ends(access: Access) -> None:
    eve = await who(access, "eve")
    token, secret = await access.personal.create(SYSTEM, eve, NewToken(name="ci"))
    found = await access.logins.basic("eve", secret, HERE)
    assert isinstance(found, Principal)
    assert (found.name, found.kind, found.id, found.credential) == (
        "eve",
        "token",
        eve.id,
        token.id,
    )
    assert await access.logins.basic("ada", secret, HERE) is WRONG
    assert await access.logins.by_secret(secret) == found
    await access.personal.revoke(SYSTEM, "eve", token.id)
    assert access.logins.remembered("eve", secret) is None
    assert await access.logins.basic("eve", secret, HERE) is WRONG


async def test_tokens_and_robots_end_by_the_clock(access: Access) -> None:
    soon = int((time.time() + 0.3) * 1e6)
    eve, ada = await who(access, "eve"), await who(access, "ada")
    _, pat = await access.personal.create(SYSTEM, eve, NewToken(name="x", expires_at=soon))
    new = NewRobot(name="brief", grants=["repository:**:pull"], expires_at=soon)
    robot, secret = await access.robots.create(SYSTEM, ada, new)
    for name, shown in (("eve", pat), (robot.name, secret)):
        assert isinstance(await access.logins.basic(name, shown, HERE), Principal)
    time.sleep(max(soon / 1e6 - time.time(), 0) + 0.01)
    for name, shown in (("eve", pat), (robot.name, secret)):
        assert access.logins.remembered(name, shown) is None
        assert await access.logins.basic(name, shown, HERE) is WRONG


async def test_a_robots_old_secret_goes_on_for_the_overlap_only(access: Access) -> None:
    new = NewRobot(name="ci", grants=["repository:**:pull"])
    robot, old = await access.robots.create(SYSTEM, await who(access, "ada"), new)
    fresh = await access.robots.rotate(SYSTEM, robot.name, overlap=0.4)
    until = time.time() + 0.4
    for secret in (old, fresh):
        assert isinstance(await access.logins.basic(robot.name, secret, HERE), Principal)
    time.sleep(max(until - time.time(), 0) + 0.01)
    assert await access.logins.basic(robot.name, old, HERE) is WRONG
    assert isinstance(await access.logins.basic(robot.name, fresh, HERE), Principal)
    last = await access.robots.rotate(SYSTEM, robot.name)
    assert await access.logins.basic(robot.name, fresh, HERE) is WRONG
    assert isinstance(await access.logins.basic(robot.name, last, HERE), Principal)
    await access.robots.update(
        SYSTEM, await who(access, "ada"), robot.name, RobotChange(disabled=True)
    )
    assert await access.logins.basic(robot.name, last, HERE) is WRONG


async def test_a_refresh_token_ends_with_what_it_was_made_from(access: Access) -> None:
    eve, ada = await who(access, "eve"), await who(access, "ada")
    token, secret = await access.personal.create(SYSTEM, eve, NewToken(name="ci"))
    new = NewRobot(name="ci", grants=["repository:**:pull"])
    robot, robots_secret = await access.robots.create(SYSTEM, ada, new)
    held = []
    for name, shown in (("eve", secret), (robot.name, robots_secret), ("ada", GOOD)):
        principal = await access.logins.basic(name, shown, HERE)
        assert isinstance(principal, Principal)
        refresh = await access.refreshing.give(principal, "docker")
        assert await access.refreshing.redeem(refresh) == principal
        held.append(refresh)
    await access.personal.revoke(SYSTEM, "eve", token.id)
    await access.robots.rotate(SYSTEM, robot.name)
    await access.users.set_password(SYSTEM, "ada", "another good one")
    for refresh in held:
        assert await access.refreshing.redeem(refresh) is WRONG


async def test_a_refresh_token_is_good_for_a_while_after_its_last_use(
    access: Access, database: Database
) -> None:
    refresh = await access.refreshing.give(await who(access, "eve"), "docker")
    f = t.refresh_tokens.c

    async def until(value: int | None = None) -> int:
        if value is not None:
            await database.write(
                lambda conn: conn.execute(update(t.refresh_tokens).values(expires_at=value))
            )
        found = await database.read(lambda conn: conn.execute(select(f.expires_at)).scalar())
        return int(found or 0)

    fresh = await until()
    await access.refreshing.redeem(refresh)
    assert await until() == fresh  # not a write for each use
    old = await until(fresh - int(10 * 86400e6))
    await access.refreshing.redeem(refresh)
    assert await until() > old + int(9 * 86400e6)
    await until(int(time.time() * 1e6) - 1)
    assert await access.refreshing.redeem(refresh) is WRONG
    assert await access.refreshing.sweep() == 1


@pytest.mark.parametrize("text", ["", "arg_ref_", "arg_ref_" + "a" * 36, "x" * 5000, "\0", "é"])
async def test_what_is_no_refresh_token_is_refused(access: Access, text: str) -> None:
    assert await access.refreshing.redeem(text) is WRONG


async def test_when_they_were_used_last_is_noted_but_not_written_each_time(
    access: Access, database: Database
) -> None:
    eve = await who(access, "eve")
    token, secret = await access.personal.create(SYSTEM, eve, NewToken(name="ci"))
    for _ in range(20):
        await access.logins.basic("eve", secret, HERE)
    assert (await access.personal.get("eve", token.id)).last_used_at is None
    assert await access.uses.write() == 1
    used = (await access.personal.get("eve", token.id)).last_used_at
    assert used is not None
    assert abs(used / 1e6 - time.time()) < 30
    assert await access.uses.write() == 0


async def test_no_secret_is_in_the_database(access: Access, database: Database) -> None:
    eve, ada = await who(access, "eve"), await who(access, "ada")
    _, pat = await access.personal.create(SYSTEM, eve, NewToken(name="ci"))
    new = NewRobot(name="ci", grants=["repository:**:pull"])
    robot, secret = await access.robots.create(SYSTEM, ada, new)
    rotated = await access.robots.rotate(SYSTEM, robot.name, overlap=60)
    refresh = await access.refreshing.give(eve, "test")

    def everything(conn: Connection) -> str:
        return repr([conn.execute(select(table)).all() for table in t.metadata.sorted_tables])

    text = await database.read(everything)
    assert robot.name in text
    for shown in (pat, secret, rotated, refresh, GOOD):
        assert shown not in text


# Guessing


async def guess(access: Access, name: str, address: str, times: int) -> list[Any]:
    return [await access.logins.basic(name, f"guess {n}", address) for n in range(times)]


async def test_guessing_is_slowed_after_five(access: Access) -> None:
    told = await guess(access, "ada", THERE, 8)
    assert told[:5] == [WRONG] * 5
    assert all(isinstance(one, Slowed) and one.seconds > 0 for one in told[5:])
    slowed = await access.logins.basic("ada", GOOD, THERE)
    assert isinstance(slowed, Slowed)  # not looked at, right or wrong


async def test_who_has_been_here_before_is_not_locked_out_by_others_guesses(access: Access) -> None:
    assert isinstance(await access.logins.basic("ada", GOOD, HERE), Principal)
    for number in range(30):
        await guess(access, "ada", f"203.0.113.{number}", 5)
    await guess(access, "ada", "198.51.100.1", 1)
    access.logins.forget()
    assert (
        await access.logins.throttle.wait("ada", "198.51.100.2") > 0
    )  # the account, from elsewhere
    assert isinstance(await access.logins.basic("ada", GOOD, HERE), Principal)


async def test_secrets_that_cannot_be_guessed_are_never_slowed(access: Access) -> None:
    eve = await who(access, "eve")
    _, secret = await access.personal.create(SYSTEM, eve, NewToken(name="ci"))
    await guess(access, "eve", THERE, 7)
    assert isinstance(await access.logins.basic("eve", secret, THERE), Principal)


async def test_names_that_nobody_has_are_slowed_as_those_that_somebody_has(access: Access) -> None:
    known, unknown = await guess(access, "ada", HERE, 7), await guess(access, "nil", THERE, 7)
    assert [type(one) for one in known] == [type(one) for one in unknown]


async def test_one_address_cannot_try_many_accounts(access: Access) -> None:
    told = [await access.logins.basic(f"user{n}", "Spring2026!", THERE) for n in range(52)]
    assert told[:50] == [WRONG] * 50
    assert isinstance(told[51], Slowed)


async def test_parallel_guesses_get_no_more_tries_than_guesses_in_a_row(access: Access) -> None:
    worked = await count(access)
    await asyncio.gather(*(access.logins.basic("ada", f"guess {n}", THERE) for n in range(40)))
    assert worked[0] == 5


async def test_a_new_password_from_an_admin_ends_the_waiting_for_the_account(
    access: Access,
) -> None:
    for number in range(25):
        await guess(access, "eve", f"203.0.113.{number}", 5)
    assert await access.logins.throttle.wait("eve", HERE) > 0
    await access.users.set_password(SYSTEM, "eve", "another good one")
    assert await access.logins.throttle.wait("eve", HERE) == 0


async def test_old_failures_are_forgotten(access: Access, database: Database) -> None:
    await guess(access, "ada", THERE, 3)
    await database.write(
        lambda conn: conn.execute(update(t.failures).values(updated_at=1, until=1))
    )
    assert await access.logins.throttle.sweep() == 3
    assert not await database.read(lambda conn: conn.execute(select(t.failures)).all())


@given(free=some.integers(0, 200), longest=some.floats(1, 1000), count=some.integers(0, 10**6))
def test_waiting_grows_and_never_beyond_the_longest(free: int, longest: float, count: int) -> None:
    limit = Limit(free=free, longest=longest)
    assert limit.wait(count) <= limit.wait(count + 1) <= longest
    assert (limit.wait(count) == 0) == (count < free)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("unix", "unix", True),
    ],
)
def test_a_network_of_ipv6_counts_as_one_address(one: str, other: str, same: bool) -> None:
    assert (throttle.network(one) == throttle.network(other)) is same


# Other back ends


class Directory:
    """Knows one person, and can be away."""

    name = "ldap"

    def __init__(self) -> None:
        self.away = False
        self.groups: tuple[str, ...] = ("devs",)
        self.asked = 0

    async def verify(self, name: str, password: str) -> Identity | None:
        self.asked += 1
        if self.away:
            raise BackendUnavailable("the directory is away")
        if (name, password) != ("dora", "explorer 1"):
            return None
        return Identity(name="dora", backend="ldap", groups=self.groups, external_id="uid=dora")


async def test_another_back_end_is_asked_for_whom_we_do_not_know(database: Database) -> None:
    directory = Directory()
    async with open_access(database, Sealer("s" * 40), AccessOptions(), [directory]) as access:
        await access.users.create(SYSTEM, NewUser(name="ada", password=GOOD))
        assert isinstance(await access.logins.basic("ada", GOOD, HERE), Principal)
        assert await access.logins.basic("ada", "explorer 1", HERE) is WRONG
        assert directory.asked == 0
        found = await access.logins.basic("dora", "explorer 1", HERE)
        assert isinstance(found, Principal)
        assert (found.name, found.groups) == ("dora", frozenset({"devs"}))
        assert await access.logins.basic("dora", "wrong", HERE) is WRONG
        assert (await access.users.get("dora")).backend == "ldap"


async def test_groups_of_a_back_end_give_roles(database: Database) -> None:
    from argosy.access.permissions.permission import Action, Permission, Resource, Role

    need = Permission(Resource.REPOSITORY, Action.PUSH, "team/app")
    directory = Directory()
    async with open_access(database, Sealer("s" * 40), AccessOptions(), [directory]) as access:
        await database.write(
            lambda conn: conn.execute(insert(t.projects).values(name="team", created_at=1))
        )
        await access.members.put(SYSTEM, "team", "group", "devs", Role.DEVELOPER)
        dora = await access.logins.basic("dora", "explorer 1", HERE)
        assert isinstance(dora, Principal)
        assert await access.authority.may(dora, need)
        directory.groups = ("others",)
        access.logins.forget()
        assert isinstance(await access.logins.basic("dora", "explorer 1", HERE), Principal)
        assert not await access.authority.may(dora, need)


async def test_a_back_end_that_is_away_lets_nobody_in_and_blames_nobody(database: Database) -> None:
    directory = Directory()
    directory.away = True
    async with open_access(database, Sealer("s" * 40), AccessOptions(), [directory]) as access:
        with pytest.raises(BackendUnavailable):
            await access.logins.basic("dora", "explorer 1", HERE)
        assert not await database.read(lambda conn: conn.execute(select(t.failures)).all())
