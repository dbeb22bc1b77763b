"""Users, robots, tokens and members: what may be made by whom, and that every change is written down."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from argosy.access.accounts.conflicts import Conflict
from argosy.access.accounts.personal import NewToken
from argosy.access.accounts.robots import NewRobot, RobotChange
from argosy.access.accounts.users import NewUser, UserChange
from argosy.access.permissions.permission import Action, Permission, Resource, Role
from argosy.access.permissions.principal import EVERYBODY, Principal
from argosy.access.service import Access, open_access
from argosy.access.signing_in.passwords import PasswordUnfit
from argosy.access.signing_in.refused import Refused
from argosy.access.signing_in.sessions import Sessions
from argosy.access.tokens.sealing import Sealer
from argosy.catalog import schema as t
from argosy.catalog.actor import SYSTEM, Actor
from argosy.catalog.database import Database, open_database
from argosy.errors import Denied, NotFound, UsageError

GOOD = "correct horse battery"
BY = Actor(name="ada", kind="user", address="192.0.2.1", request="r1")
PUSH = Permission(Resource.REPOSITORY, Action.PUSH, "team/app")
PULL = Permission(Resource.REPOSITORY, Action.PULL, "team/app")


BOTH = pytest.mark.parametrize("where", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if getattr(request, "param", "") == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return str(tmp_path / "c.db")


@pytest.fixture
async def database(where: str) -> AsyncIterator[Database]:
    async with open_database(where) as found:
        yield found


@pytest.fixture
async def access(database: Database, cheap_hashes: None) -> AsyncIterator[Access]:
    async with open_access(database, Sealer("s" * 40)) as found:
        for name in ("team", "side"):
            await database.write(
                lambda conn, name=name: conn.execute(
                    insert(t.projects).values(name=name, created_at=1)
                )
            )
        await found.users.create(SYSTEM, NewUser(name="ada", password=GOOD, is_admin=True))
        for name, role in (("pat", Role.PROJECT_ADMIN), ("dev", Role.DEVELOPER)):
            await found.users.create(SYSTEM, NewUser(name=name, password=GOOD))
            await found.members.put(SYSTEM, "team", "user", name, role)
        yield found


async def who(access: Access, name: str) -> Principal:
    user = await access.users.get(name)
    return Principal(name=name, kind="user", id=user.id, is_admin=user.is_admin)


async def audited(database: Database) -> list[tuple[Any, ...]]:
    a = t.audit.c
    columns = (a.action, a.resource, a.project, a.actor, a.address, a.request)
    return [
        tuple(row)
        for row in await database.read(
            lambda conn: conn.execute(select(*columns).where(a.actor == "ada").order_by(a.id)).all()
        )
    ]


async def robot(access: Access, maker: str, *grants: str, project: str = "team") -> Principal:
    new = NewRobot(name=f"r{time.time_ns()}", project=project, grants=grants)
    made, _ = await access.robots.create(BY, await who(access, maker), new)
    return Principal(name=made.name, kind="robot", id=made.id)


# Users


@BOTH
async def test_every_change_is_written_down_with_who_and_from_where(
    access: Access, database: Database
) -> None:
    ada = await who(access, "ada")
    await access.users.create(BY, NewUser(name="eve", password=GOOD))
    await access.users.update(BY, "eve", UserChange(email="eve@example.com"))
    await access.users.set_password(BY, "eve")
    await access.members.put(BY, "team", "user", "eve", Role.GUEST)
    await access.members.put(BY, "team", "user", "eve", Role.GUEST)  # changes nothing
    await access.members.remove(BY, "team", "user", "eve")
    made, _ = await access.robots.create(
        BY, ada, NewRobot(name="ci", project="team", grants=["repository:team/**:pull"])
    )
    await access.robots.rotate(BY, made.name, overlap=60)
    await access.robots.remove(BY, made.name)
    token, _ = await access.personal.create(BY, ada, NewToken(name="cli"))
    await access.personal.revoke(BY, "ada", token.id)
    await access.users.remove(BY, "eve")
    assert [row[:3] for row in await audited(database)] == [
        ("user.create", "eve", ""),
        ("user.update", "eve", ""),
        ("user.password", "eve", ""),
        ("member.set", "team/user/eve", "team"),
        ("member.remove", "team/user/eve", "team"),
        ("robot.create", "robot$team+ci", "team"),
        ("robot.rotate", "robot$team+ci", "team"),
        ("robot.delete", "robot$team+ci", "team"),
        ("token.create", f"ada/{token.id}", ""),
        ("token.revoke", f"ada/{token.id}", ""),
        ("user.delete", "eve", ""),
    ]
    assert {row[3:] for row in await audited(database)} == {("ada", "192.0.2.1", "r1")}


async def test_names_that_would_confuse_somebody_are_refused(access: Access) -> None:
    for name in [
        "",
        " ",
        ".",
        "..",
        "a:b",
        "robot$x",
        "a/b",
        "a\nb",
        " a",
        "x" * 256,
        'a"b',
        "a\\b",
    ]:
        with pytest.raises(UsageError):
            await access.users.create(BY, NewUser(name=name, password=GOOD))


async def test_bad_passwords_are_refused(access: Access) -> None:
    for password in ["short", "x" * 257, "evelyn1", "evelyn12"]:
        with pytest.raises(PasswordUnfit):
            await access.users.create(BY, NewUser(name="evelyn", password=password))
    with pytest.raises(NotFound):
        await access.users.get("evelyn")


async def test_a_name_is_given_once(access: Access) -> None:
    with pytest.raises(Conflict):
        await access.users.create(BY, NewUser(name="dev", password=GOOD))


@BOTH
async def test_the_last_system_admin_stays(access: Access) -> None:
    for change in (UserChange(is_admin=False), UserChange(disabled=True)):
        with pytest.raises(Conflict):
            await access.users.update(BY, "ada", change)
    with pytest.raises(Conflict):
        await access.users.remove(BY, "ada")
    await access.users.update(BY, "pat", UserChange(is_admin=True))
    await access.users.remove(BY, "ada")


async def test_a_check_in_the_transaction_can_refuse_a_change(access: Access) -> None:
    before = await access.users.get("dev")

    def refuse(found: Any) -> None:
        assert found == before
        raise Conflict("it has changed")

    with pytest.raises(Conflict):
        await access.users.update(BY, "dev", UserChange(disabled=True), refuse)
    assert await access.users.get("dev") == before


@BOTH
async def test_who_is_removed_may_nothing_and_a_namesake_inherits_nothing(access: Access) -> None:
    dev = await who(access, "dev")
    assert await access.authority.may(dev, PUSH)
    await access.users.remove(BY, "dev")
    assert not await access.authority.may(dev, PUSH)
    await access.users.create(BY, NewUser(name="dev", password=GOOD))
    assert not await access.authority.may(await who(access, "dev"), PULL)


async def test_there_is_one_first_admin_however_many_nodes_start(
    tmp_path: Path,
) -> None:
    import asyncio

    async with open_database(str(tmp_path / "other.db")) as database:
        async with open_access(database, Sealer("s" * 40)) as access:
            made = await asyncio.gather(*(access.users.first_admin(SYSTEM) for _ in range(8)))
            assert len([once for once in made if once]) == 1
            assert [user.name for user in await access.users.page("", 10)] == ["admin"]


async def test_pages_of_users_go_by_name(access: Access) -> None:
    assert [user.name for user in await access.users.page("", 2)] == ["ada", "dev"]
    assert [user.name for user in await access.users.page("dev", 2)] == ["pat"]


# Robots


async def test_a_robot_may_what_it_was_given_and_nothing_else(access: Access) -> None:
    made = await robot(access, "pat", "repository:team/app:pull,push")
    for need, allowed in (
        (PUSH, True),
        (PULL, True),
        (Permission(Resource.REPOSITORY, Action.DELETE, "team/app"), False),
        (Permission(Resource.REPOSITORY, Action.PULL, "team/other"), False),
        (Permission(Resource.MEMBER, Action.WRITE, "team"), False),
        (Permission(Resource.SYSTEM, Action.READ), False),
    ):
        assert await access.authority.may(made, need) is allowed, need


async def test_a_robot_of_a_project_may_nothing_outside_of_it(access: Access) -> None:
    made = await robot(access, "pat", "repository:**:pull,push")
    assert await access.authority.may(made, PUSH)
    assert not await access.authority.may(
        made, Permission(Resource.REPOSITORY, Action.PULL, "side/app")
    )
    with pytest.raises(UsageError):
        await robot(access, "pat", "repository:side/**:pull")


async def test_nobody_makes_a_robot_that_may_more_than_they(access: Access) -> None:
    with pytest.raises(Denied) as caught:
        await robot(access, "dev", "repository:team/**:pull,delete")
    assert "dev lacks delete on repository team" in caught.value.why
    with pytest.raises(Denied):
        await robot(access, "pat", "repository:**:pull", project="")  # of the system
    assert await robot(access, "dev", "repository:team/**:pull,push")
    assert await robot(access, "ada", "repository:**:pull", project="")


@BOTH
async def test_a_robot_loses_what_its_maker_loses(access: Access) -> None:
    made = await robot(access, "pat", "repository:team/**:pull,push")
    await access.members.put(BY, "team", "user", "pat", Role.GUEST)
    assert not await access.authority.may(made, PUSH)
    assert await access.authority.may(made, PULL)
    await access.members.put(BY, "team", "user", "pat", Role.DEVELOPER)
    assert await access.authority.may(made, PUSH)
    await access.users.update(BY, "pat", UserChange(disabled=True))
    assert not await access.authority.may(made, PULL)
    await access.robots.adopt(BY, await who(access, "ada"), made.name)
    assert await access.authority.may(made, PUSH)


@BOTH
async def test_the_robots_of_who_is_removed_wait_to_be_adopted(access: Access) -> None:
    made = await robot(access, "pat", "repository:team/**:pull,push")
    await access.users.remove(BY, "pat")
    assert (await access.robots.get(made.name)).disabled
    assert not await access.authority.may(made, PULL)
    with pytest.raises(Denied):
        await access.robots.adopt(
            BY,
            await who(access, "dev"),
            (await robot(access, "ada", "repository:team/**:delete")).name,
        )
    await access.robots.adopt(BY, await who(access, "dev"), made.name)
    assert await access.authority.may(made, PUSH)


async def test_who_lets_an_orphan_in_again_stands_for_it(access: Access) -> None:
    made = await robot(access, "pat", "repository:team/**:pull,delete")
    await access.users.remove(BY, "pat")
    undo = RobotChange(disabled=False)
    with pytest.raises(Denied):
        await access.robots.update(BY, await who(access, "dev"), made.name, undo)
    await access.robots.update(BY, await who(access, "ada"), made.name, undo)
    assert (await access.robots.get(made.name)).maker == (await who(access, "ada")).id


async def test_who_changes_grants_stands_for_them(access: Access) -> None:
    made = await robot(access, "pat", "repository:team/**:pull")
    change = RobotChange(grants=["repository:team/**:pull,delete"])
    with pytest.raises(Denied):
        await access.robots.update(BY, await who(access, "dev"), made.name, change)
    await access.robots.update(BY, await who(access, "ada"), made.name, change)
    assert (await access.robots.get(made.name)).created_by == "ada"
    assert await access.authority.may(
        made, Permission(Resource.REPOSITORY, Action.DELETE, "team/app")
    )


async def test_robots_and_tokens_stand_for_nobody(access: Access) -> None:
    made = await robot(access, "ada", "repository:team/**:pull", "robot:team:write")
    for principal in (made, Principal(name="ada", kind="token", id=1, credential=1)):
        with pytest.raises(Denied):
            await access.robots.create(
                BY,
                principal,
                NewRobot(name="x", project="team", grants=["repository:team/**:pull"]),
            )
        with pytest.raises(Denied):
            await access.personal.create(BY, principal, NewToken(name="x"))


async def test_where_nobody_is_asked_robots_have_no_maker(access: Access) -> None:
    new = NewRobot(name="ci", grants=["repository:team/**:pull"])
    made, _ = await access.robots.create(SYSTEM, EVERYBODY, new)
    principal = Principal(name=made.name, kind="robot", id=made.id)
    assert made.maker is None
    assert await access.authority.may(principal, PULL)
    assert not await access.authority.may(principal, PUSH)


async def test_robots_that_make_no_sense_are_refused(access: Access) -> None:
    for new in [
        NewRobot(name="", grants=["repository:team/**:pull"]),
        NewRobot(name="A b", grants=["repository:team/**:pull"]),
        NewRobot(name="a+b", grants=["repository:team/**:pull"]),
        NewRobot(name="x" * 101, grants=["repository:team/**:pull"]),
        NewRobot(name="ci", grants=[]),
        NewRobot(name="ci", grants=["repository:team/**:pull"], expires_at=1),
        NewRobot(name="ci", grants=[f"repository:team/a{n}:pull" for n in range(101)]),
    ]:
        with pytest.raises(UsageError):
            await access.robots.create(BY, await who(access, "ada"), new)


# Tokens


@BOTH
async def test_a_token_may_what_its_owner_may_within_its_scopes(access: Access) -> None:
    dev = await who(access, "dev")
    wide, _ = await access.personal.create(BY, dev, NewToken(name="wide"))
    narrow, _ = await access.personal.create(
        BY, dev, NewToken(name="narrow", scopes=["repository:team/**:pull,delete"])
    )
    delete = Permission(Resource.REPOSITORY, Action.DELETE, "team/app")
    for token, allowed in ((wide, {PULL, PUSH}), (narrow, {PULL})):
        principal = Principal(name="dev", kind="token", id=dev.id, credential=token.id)
        for need in (PULL, PUSH, delete):
            assert await access.authority.may(principal, need) is (need in allowed)
        await access.members.remove(BY, "team", "user", "dev")
        assert not await access.authority.may(principal, PULL)
        await access.members.put(BY, "team", "user", "dev", Role.DEVELOPER)


async def test_a_token_outlives_a_password_and_not_its_owner(access: Access) -> None:
    dev = await who(access, "dev")
    token, secret = await access.personal.create(BY, dev, NewToken(name="ci"))
    await access.users.set_password(BY, "dev")
    assert isinstance(await access.logins.basic("dev", secret, ""), Principal)
    await access.users.remove(BY, "dev")
    assert not isinstance(await access.logins.basic("dev", secret, ""), Principal)
    with pytest.raises(NotFound):
        await access.personal.get("dev", token.id)


@pytest.mark.parametrize("how", ["another password", "disabled", "rescued"])
async def test_who_gets_another_password_or_is_disabled_is_logged_out_everywhere(
    access: Access, database: Database, how: str
) -> None:
    dev = await who(access, "dev")
    sessions = Sessions(database)
    browser, client = await sessions.begin(dev.id), await access.refreshing.give(dev, "docker")
    if how == "another password":
        await access.users.set_password(BY, "dev", GOOD + "!")
    elif how == "disabled":
        await access.users.update(BY, "dev", UserChange(disabled=True))
        await access.users.update(BY, "dev", UserChange(disabled=False))
    else:
        await access.users.rescue(BY, "dev")
    assert await sessions.of(browser) is None
    assert isinstance(await access.refreshing.redeem(client), Refused)


async def test_one_cannot_revoke_anothers_token(access: Access) -> None:
    token, _ = await access.personal.create(BY, await who(access, "dev"), NewToken(name="ci"))
    with pytest.raises(NotFound):
        await access.personal.revoke(BY, "pat", token.id)


async def test_a_user_has_so_many_tokens_and_each_its_name_whatever_was_revoked_before(
    access: Access, database: Database
) -> None:
    dev = await who(access, "dev")

    def rows(first: int, last: int, revoked_at: int | None) -> list[dict[str, Any]]:
        of = {"user_id": dev.id, "scopes": [], "created_at": 1, "revoked_at": revoked_at}
        return [{**of, "name": f"t{n}", "hash": f"{n:064x}"} for n in range(first, last)]

    revoked, good = rows(0, 2500, t.now()), rows(2500, 2699, None)
    await database.write(lambda conn: conn.execute(insert(t.tokens), revoked))
    await access.personal.create(BY, dev, NewToken(name="t1"))
    with pytest.raises(Conflict, match="there is a token"):
        await access.personal.create(BY, dev, NewToken(name="t1"))
    await database.write(lambda conn: conn.execute(insert(t.tokens), good))
    with pytest.raises(Conflict, match="200 tokens"):
        await access.personal.create(BY, dev, NewToken(name="t2"))


async def test_tokens_that_have_been_no_good_for_long_are_forgotten(
    access: Access, database: Database
) -> None:
    dev, now, day = await who(access, "dev"), t.now(), 86_400_000_000
    times = {"revoked": (now - 91 * day, None), "expired": (None, now - 91 * day)}
    times |= {"lately": (now - 89 * day, None), "good": (None, now + day), "ever": (None, None)}
    rows = [
        {"user_id": dev.id, "scopes": [], "created_at": 1, "name": name, "hash": name}
        | {"revoked_at": revoked, "expires_at": expires}
        for name, (revoked, expires) in times.items()
    ]
    await database.write(lambda conn: conn.execute(insert(t.tokens), rows))
    await access.personal.create(BY, dev, NewToken(name="new"))
    found = [token.name for token in await access.personal.page("dev", 0, 100)]
    assert found == ["lately", "good", "ever", "new"]


# Members


@BOTH
async def test_members_are_users_that_exist_or_groups(access: Access) -> None:
    with pytest.raises(NotFound):
        await access.members.put(BY, "team", "user", "nobody", Role.GUEST)
    with pytest.raises(NotFound):
        await access.members.put(BY, "nil", "user", "dev", Role.GUEST)
    _, new = await access.members.put(BY, "team", "group", "devs", Role.GUEST)
    assert new
    _, new = await access.members.put(BY, "team", "group", "devs", Role.MAINTAINER)
    assert not new
    listed = await access.members.page("team", ("", ""), 10)
    assert [(m.kind, m.name, m.role) for m in listed] == [
        ("group", "devs", "maintainer"),
        ("user", "dev", "developer"),
        ("user", "pat", "project-admin"),
    ]
    assert await access.members.page("team", ("group", "devs"), 1) == listed[1:2]
    with pytest.raises(NotFound):
        await access.members.remove(BY, "team", "user", "ada")


@BOTH
async def test_of_several_roles_the_highest_counts(access: Access, database: Database) -> None:
    dev = await who(access, "dev")
    await access.members.put(BY, "team", "user", "dev", Role.LIMITED_GUEST)
    await access.members.put(BY, "team", "group", "devs", Role.MAINTAINER)
    await access.members.put(BY, "team", "group", "ops", Role.GUEST)
    await database.write(
        lambda conn: conn.execute(
            insert(t.user_groups), [{"user_id": dev.id, "name": n} for n in ("devs", "ops")]
        )
    )
    delete = Permission(Resource.REPOSITORY, Action.DELETE, "team/app")
    assert await access.authority.may(Principal(name="dev", kind="user", id=dev.id), delete)


async def test_a_role_that_this_version_does_not_know_is_none(
    access: Access, database: Database
) -> None:
    await database.write(lambda conn: conn.execute(update(t.members).values(role="emperor")))
    assert not await access.authority.may(await who(access, "dev"), PULL)


async def test_a_robot_is_not_let_in_again_by_who_saw_its_maker_a_moment_ago(
    access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = NewRobot(name="ci", project="team", grants=["repository:team/**:pull"])
    made, _ = await access.robots.create(BY, await who(access, "pat"), new)

    async def a_moment_ago(_name: str) -> object:
        return made

    await access.users.remove(BY, "pat")
    monkeypatch.setattr(access.robots, "get", a_moment_ago)
    with pytest.raises(Conflict, match="removed just now"):
        await access.robots.update(
            BY, await who(access, "ada"), made.name, RobotChange(disabled=False)
        )
