"""Several nodes on one PostgreSQL are one registry: they count guesses together, and hear of changes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from sqlalchemy import Connection, insert, text

from argosy.access.accounts.conflicts import Conflict
from argosy.access.accounts.personal import NewToken
from argosy.access.accounts.robots import NewRobot, RobotChange
from argosy.access.accounts.users import NewUser, UserChange
from argosy.access.permissions.permission import Action, Permission, Resource, Role
from argosy.access.permissions.principal import Principal
from argosy.access.service import Access, open_access
from argosy.access.signing_in.logins import WRONG
from argosy.access.signing_in.refused import Slowed
from argosy.access.tokens.access_tokens import AccessToken, TokenOptions, mint, verify
from argosy.access.tokens.sealing import Sealer
from argosy.catalog import schema as t
from argosy.catalog.actor import SYSTEM, Actor
from argosy.catalog.database import open_database
from argosy.catalog.people import users

GOOD, THERE = "correct horse battery", "198.51.100.7"
PUSH = Permission(Resource.REPOSITORY, Action.PUSH, "team/app")


@pytest.fixture
async def nodes(postgres_url: str, cheap_hashes: None) -> AsyncIterator[list[Access]]:
    async with AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(open_database(postgres_url)) for _ in range(2)]
        found = [
            await stack.enter_async_context(open_access(each, Sealer("s" * 40)))
            for each in databases
        ]
        await databases[0].write(
            lambda conn: conn.execute(insert(t.projects).values(name="team", created_at=1))
        )
        await found[0].users.create(SYSTEM, NewUser(name="dev", password=GOOD))
        await found[0].users.create(SYSTEM, NewUser(name="root", password=GOOD, is_admin=True))
        yield found


async def hears(access: Access, who: Principal, expected: bool) -> None:
    """Until that node knows; far sooner than it would look by itself."""
    async with asyncio.timeout(10):
        while await access.authority.may(who, PUSH) is not expected:
            await asyncio.sleep(0.02)


async def test_guesses_count_wherever_they_are_made(nodes: list[Access]) -> None:
    for number in range(5):
        node = nodes[number % 2]
        assert await node.logins.basic("dev", f"guess {number}", THERE) is WRONG
    for node in nodes:
        assert isinstance(await node.logins.basic("dev", "guess", THERE), Slowed)


async def test_failures_at_the_same_moment_are_all_counted(nodes: list[Access]) -> None:
    from argosy.access.signing_in.throttle import _keys
    from argosy.catalog.people import failed_logins

    await asyncio.gather(
        *(node.logins.throttle.failed("dev", THERE) for node in nodes for _ in range(16))
    )
    keys = [key for key, _ in _keys("dev", THERE).counted]
    found = await nodes[0].logins._db.read(lambda conn: failed_logins.failures(conn, keys))
    assert [found[key].times for key in keys] == [32, 32, 32]


async def test_a_change_on_one_node_is_heard_on_the_other(nodes: list[Access]) -> None:
    one, other = nodes
    dev = await other.logins.basic("dev", GOOD, THERE)
    assert isinstance(dev, Principal)
    assert not await other.authority.may(dev, PUSH)
    await one.members.put(SYSTEM, "team", "user", "dev", Role.DEVELOPER)
    await hears(other, dev, True)
    await one.users.update(SYSTEM, "dev", UserChange(disabled=True))
    await hears(other, dev, False)
    assert other.logins.remembered("dev", GOOD) is None
    assert await other.logins.basic("dev", GOOD, THERE) is WRONG


async def test_tokens_of_one_node_are_good_on_the_other_also_after_a_rotation(
    nodes: list[Access],
) -> None:
    one, other = nodes
    dev, options = Principal(name="dev", kind="user", id=1), TokenOptions()
    before = mint(one.keys, options, dev, [])[0]
    await one.keys.rotate(at_once=True)
    after = mint(one.keys, options, dev, [])[0]
    assert isinstance(verify(other.keys, options, before), AccessToken)
    assert await other.keys.look_for(one.keys.signing().kid) is not None
    assert isinstance(verify(other.keys, options, after), AccessToken)


async def test_a_refresh_token_of_one_node_is_good_on_the_other(nodes: list[Access]) -> None:
    one, other = nodes
    dev = await one.logins.basic("dev", GOOD, THERE)
    assert isinstance(dev, Principal)
    refresh = await one.refreshing.give(dev, "test")
    assert await other.refreshing.redeem(refresh) == dev
    await one.users.set_password(SYSTEM, "dev", "another good one")
    assert await other.refreshing.redeem(refresh) is WRONG


async def test_of_several_that_change_the_same_at_once_one_finds_it_as_it_was(
    nodes: list[Access],
) -> None:
    system = Principal(name="argosy", kind="system")
    grants = ["repository:team/**:pull"]
    robot, _ = await nodes[0].robots.create(SYSTEM, system, NewRobot(name="ci", grants=grants))
    member, _ = await nodes[0].members.put(SYSTEM, "team", "user", "dev", Role.GUEST)
    user = await nodes[0].users.get("dev")

    def expects(before: object) -> Callable[[object], None]:
        def check(found: object) -> None:
            if found != before:
                raise Conflict("it has changed")

        return check

    def change(node: Access, kind: str, number: int) -> Awaitable[object]:
        if kind == "user":
            return node.users.update(SYSTEM, "dev", UserChange(email=f"{number}@x"), expects(user))
        if kind == "robot":
            text = RobotChange(description=str(number))
            return node.robots.update(SYSTEM, system, robot.name, text, expects(robot))
        role, check = (Role.DEVELOPER, Role.MAINTAINER)[number // 2 % 2], expects(member)
        return node.members.put(SYSTEM, "team", "user", "dev", role, check=check)

    for kind in ("user", "robot", "member"):
        at_once = [change(nodes[number % 2], kind, number) for number in range(6)]
        found = await asyncio.gather(*at_once, return_exceptions=True)
        refused = [each for each in found if isinstance(each, Conflict)]
        assert len(refused) == len(found) - 1, kind


async def test_of_two_admins_who_leave_at_once_one_stays(nodes: list[Access]) -> None:
    await nodes[0].users.create(SYSTEM, NewUser(name="other", is_admin=True))
    leaving = [
        node.users.update(SYSTEM, name, UserChange(is_admin=False))
        for node, name in zip(nodes, ("root", "other"), strict=True)
    ]
    found = await asyncio.gather(*leaving, return_exceptions=True)
    assert [isinstance(each, Conflict) for each in found].count(True) == 1


async def test_of_two_who_change_a_password_at_once_one_is_told(
    nodes: list[Access], monkeypatch: pytest.MonkeyPatch
) -> None:
    look = users.password_of

    def slowly(conn: Connection, key: int) -> str | None:
        found = look(conn, key)
        conn.execute(text("SELECT pg_sleep(0.3)"))
        return found

    monkeypatch.setattr(users, "password_of", slowly)
    by = Actor(name="dev", kind="user", address=THERE)
    changes = [
        node.users.change_password(by, GOOD, f"another good one {number}")
        for number, node in enumerate(nodes)
    ]
    found = await asyncio.gather(*changes)
    assert [each is WRONG for each in found].count(True) == 1


async def test_a_login_that_hashes_a_password_anew_does_not_bring_it_back(
    nodes: list[Access], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An administrator gives another one while the old one is made anew."""
    look, looked = users.password_of, asyncio.Event()

    def slowly(conn: Connection, key: int) -> str | None:
        found = look(conn, key)
        looked.set()
        conn.execute(text("SELECT pg_sleep(0.3)"))
        return found

    async def reset() -> None:
        await looked.wait()
        await nodes[1].users.set_password(SYSTEM, "dev", "another good one")

    with monkeypatch.context() as patched:
        patched.setattr(users, "password_of", slowly)
        patched.setattr(nodes[0].logins.passwords, "outdated", lambda _: True)
        await asyncio.gather(nodes[0].logins.basic("dev", GOOD, THERE), reset())
    assert await nodes[1].logins.basic("dev", GOOD, THERE) is WRONG
    assert isinstance(await nodes[1].logins.basic("dev", "another good one", THERE), Principal)


async def test_of_tokens_made_at_once_one_gets_the_name(nodes: list[Access]) -> None:
    dev = await nodes[0].logins.basic("dev", GOOD, THERE)
    assert isinstance(dev, Principal)
    made = [node.personal.create(SYSTEM, dev, NewToken(name="ci")) for node in nodes * 3]
    found = await asyncio.gather(*made, return_exceptions=True)
    assert [isinstance(each, Conflict) for each in found].count(True) == 5


async def test_nodes_that_start_together_make_one_first_admin(
    postgres_url: str, cheap_hashes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One looks while the other has not committed, and goes on when it has."""
    look, pauses = users.there_are_users, iter((0.0, 0.0, 0.3, 1.0))

    def slowly(conn: Connection) -> bool:
        found = look(conn)
        conn.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": next(pauses, 0.0)})
        return found

    monkeypatch.setattr(users, "there_are_users", slowly)
    async with AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(open_database(postgres_url)) for _ in range(2)]
        found = [
            await stack.enter_async_context(open_access(each, Sealer("s" * 40)))
            for each in databases
        ]
        made = await asyncio.gather(*(node.users.first_admin(SYSTEM) for node in found))
        assert len([once for once in made if once]) == 1
