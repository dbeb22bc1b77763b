"""Who a back end vouches for becomes a user: once, under one name, and never somebody else's. On both databases."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.access.identity.flows import Flows
from argosy.access.identity.onboarding import onboard, unusable
from argosy.access.identity.workload import Rule, add_rule, rules_of
from argosy.access.signing_in.backends import Identity
from argosy.access.signing_in.refused import Refused
from argosy.access.signing_in.second_factor import Enrolment, SecondFactor
from argosy.access.signing_in.sessions import Sessions
from argosy.access.tokens.sealing import Sealer
from argosy.catalog import schema as t
from argosy.catalog.actor import SYSTEM
from argosy.catalog.database import Database, open_database
from argosy.catalog.people import robots, users
from argosy.catalog.people.users import User

EITHER = ["sqlite", pytest.param("postgres", marks=pytest.mark.peer)]


@pytest.fixture(params=EITHER)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return str(tmp_path / "argosy.db")


@pytest.fixture
async def either(where: str) -> AsyncIterator[Database]:
    async with open_database(where) as found:
        yield found


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(str(tmp_path / "argosy.db")) as found:
        yield found


async def seen(database: Database, identity: Identity) -> User | Refused:
    return await database.write(lambda conn: onboard(conn, identity, SYSTEM))


async def somebody(database: Database, identity: Identity) -> User:
    found = await seen(database, identity)
    assert isinstance(found, User), found
    return found


def ann(**more: Any) -> Identity:
    given = {"name": "ann", "backend": "ldap", "external_id": "uuid-1", **more}
    return Identity(**given)


async def test_the_first_login_makes_a_user_and_the_second_finds_it(either: Database) -> None:
    first = await somebody(either, ann(groups=("dev",), email="a@x"))
    again = await somebody(either, ann(groups=("dev", "ops"), email="b@x"))
    assert (first.id, first.name, first.backend, first.email) == (again.id, "ann", "ldap", "a@x")
    assert again.email == "b@x"
    assert await either.read(lambda conn: users.groups(conn, first.id)) == ["dev", "ops"]
    await somebody(either, ann(groups=()))
    assert await either.read(lambda conn: users.groups(conn, first.id)) == []


async def test_many_first_logins_at_once_make_one_user(either: Database) -> None:
    found = await asyncio.gather(*(somebody(either, ann(groups=("dev",))) for _ in range(16)))
    assert len({user.id for user in found}) == 1


async def test_a_name_stays_although_the_back_end_changes_it(database: Database) -> None:
    first = await somebody(database, ann())
    assert (await somebody(database, ann(name="ann-married"))).name == "ann"
    # And whoever is called ann there now is somebody else.
    other = await seen(database, ann(external_id="uuid-2"))
    assert isinstance(other, Refused)
    assert "the name ann is that of a user of ldap here" in other.reason
    assert (await somebody(database, ann())).id == first.id


@pytest.mark.parametrize("backend", ["oidc", "htpasswd"])
async def test_a_local_users_name_is_not_taken_over(database: Database, backend: str) -> None:
    await database.write(lambda conn: users.add_user(conn, "ann", {"is_admin": True}))
    found = await seen(database, ann(backend=backend))
    assert isinstance(found, Refused)
    assert "a local user" in found.reason


async def test_the_same_identifier_at_another_back_end_is_another_person(
    database: Database,
) -> None:
    first = await somebody(database, ann())
    other = await somebody(database, ann(name="other", backend="oidc"))
    assert first.id != other.id


async def test_an_admin_is_one_as_long_as_the_back_end_says_so(database: Database) -> None:
    assert (await somebody(database, ann(is_admin=True))).is_admin
    assert (await somebody(database, ann(is_admin=None))).is_admin
    assert not (await somebody(database, ann(is_admin=False))).is_admin
    log = await database.read(
        lambda conn: conn.execute(t.audit.select().order_by(t.audit.c.id)).all()
    )
    assert [row.action for row in log] == ["user.create", "user.update"]


async def test_a_disabled_user_stays_out(database: Database) -> None:
    found = await somebody(database, ann())
    await database.write(lambda conn: users.change_user(conn, found.id, {"disabled": True}))
    refused = await seen(database, ann())
    assert isinstance(refused, Refused)
    assert "disabled" in refused.reason


@pytest.mark.parametrize(
    "name", ["", " ann", "a:b", "robot$x", "a/b", "a\\b", 'a"b', "a\nb", "a\0", "é" * 200]
)
async def test_names_that_would_be_taken_for_something_else_are_refused(
    database: Database, name: str
) -> None:
    found = await seen(database, ann(name=name))
    assert isinstance(found, Refused)
    assert "cannot be used here" in found.reason


async def test_a_name_is_one_however_its_accents_are_written(database: Database) -> None:
    first = await somebody(database, ann(name="jo\u0308rg"))
    assert first.name == "j\u00f6rg"
    assert isinstance(await seen(database, ann(name="j\u00f6rg", external_id="2")), Refused)


async def test_what_no_database_takes_of_an_address_or_a_group_is_left_out(
    either: Database,
) -> None:
    """Who may write their own mail address could else end the looking for everybody after them."""
    odd = {"email": "ann\0@exa\ud800mple.com", "groups": ("ops", "o\0ps")}
    found = await somebody(either, ann(**odd))
    assert found.email == "ann@example.com"
    again = await somebody(either, ann(**odd))
    assert again.version == found.version
    assert await either.read(lambda conn: users.groups(conn, found.id)) == ["ops"]


async def test_a_very_long_identifier_is_still_one_person(database: Database) -> None:
    first = await somebody(database, ann(external_id="x" * 4000))
    assert (await somebody(database, ann(external_id="x" * 4000))).id == first.id
    assert isinstance(await seen(database, ann(external_id="x" * 4001)), Refused)


@given(st.text(max_size=300))
def test_any_text_is_a_name_or_not(name: str) -> None:
    if not unusable(name):
        assert name.isprintable()
        assert not set(name) & set(':$/\\"')


async def test_flows_sessions_factors_and_rules_work_on_either_database(
    either: Database,
) -> None:
    user = await somebody(either, ann())
    flows = Flows(either, Sealer("k" * 32))
    handle = await flows.begin("kind", {"x": 1}, minutes=1)
    assert await flows.look("kind", handle) == {"x": 1}
    assert await flows.change("kind", handle, {"x": 2})
    taken = await asyncio.gather(*(flows.take("kind", handle) for _ in range(8)))
    assert [one for one in taken if one] == [{"x": 2}]
    sessions = Sessions(either)
    token = await sessions.begin(user.id)
    assert await sessions.of(token)
    factor = SecondFactor(either, Sealer("k" * 32))
    assert isinstance(await factor.begin(user), Enrolment)
    codes = await factor.renew_codes(user, SYSTEM)
    used = await asyncio.gather(*(factor.check(user, codes[0]) for _ in range(8)))
    assert sum(used) == 1

    def rule(conn: Any) -> list[Rule]:
        values = {"name": "robot$ci", "secret": "x", "grants": []}
        found = robots.robot_by_id(conn, robots.add_robot(conn, values))
        assert found is not None
        wanted = Rule(issuer="https://i", audience="a", claims={"repository": "a/b"})
        add_rule(conn, found, wanted, SYSTEM)
        return rules_of(conn, found.id)

    assert [dict(one.claims) for one in await either.write(rule)] == [{"repository": "a/b"}]
