"""The second factor of a user: from the secret to the code that is asked for."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from argosy.access.identity import totp
from argosy.access.signing_in.refused import Refused
from argosy.access.signing_in.second_factor import Enrolment, SecondFactor
from argosy.access.signing_in.sessions import Sessions
from argosy.access.tokens.sealing import Sealer
from argosy.catalog import schema as t
from argosy.catalog.actor import SYSTEM
from argosy.catalog.database import Database, open_database
from argosy.catalog.people import users as people
from argosy.catalog.people.users import User


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(str(tmp_path / "argosy.db")) as found:
        yield found


@pytest.fixture
def factor(database: Database) -> SecondFactor:
    return SecondFactor(database, Sealer("s" * 32))


@pytest.fixture
async def ann(database: Database) -> User:
    key = await database.write(lambda conn: people.add_user(conn, "ann", {}))
    return await again(database, key)


async def again(database: Database, key: int) -> User:
    found = await database.read(lambda conn: people.user_by_id(conn, key))
    assert found is not None
    return found


def code_of(enrolled: Enrolment, steps: int = 0) -> str:
    """What the app shows, some steps from now."""
    secret = base64.b32decode(enrolled.secret)
    return totp.hotp(secret, totp.step_at(time.time()) + steps)


async def enrolled(factor: SecondFactor, user: User) -> Enrolment:
    found = await factor.begin(user)
    assert isinstance(found, Enrolment)
    return found


async def turned_on(factor: SecondFactor, user: User) -> tuple[Enrolment, list[str]]:
    found = await enrolled(factor, user)
    codes = await factor.confirm(user, code_of(found, -1), SYSTEM)
    assert isinstance(codes, list)
    return found, codes


async def test_it_is_on_when_a_code_of_the_app_has_confirmed_it(
    database: Database, factor: SecondFactor, ann: User
) -> None:
    found = await enrolled(factor, ann)
    assert not (await again(database, ann.id)).second_factor
    assert isinstance(await factor.confirm(ann, "000000x", SYSTEM), Refused)
    assert not await factor.check(ann, code_of(found))
    codes = await factor.confirm(ann, code_of(found, -1), SYSTEM)
    assert isinstance(codes, list)
    assert len(codes) == totp.RECOVERY_CODES
    assert (await again(database, ann.id)).second_factor
    assert isinstance(await factor.begin(await again(database, ann.id)), Refused)


async def test_a_code_is_good_once_on_whatever_node(
    database: Database, factor: SecondFactor, ann: User
) -> None:
    found, _ = await turned_on(factor, ann)
    other = SecondFactor(database, Sealer("s" * 32))
    code = code_of(found)
    both = await asyncio.gather(*(node.check(ann, code) for node in (factor, other) * 4))
    assert sum(both) == 1
    assert not await factor.check(ann, code_of(found, -1))
    assert await factor.check(ann, code_of(found, 1))


async def test_a_recovery_code_is_good_once_and_others_stay(
    database: Database, factor: SecondFactor, ann: User
) -> None:
    _, codes = await turned_on(factor, ann)
    assert await factor.codes_left(ann) == 10
    both = await asyncio.gather(*(factor.check(ann, codes[0]) for _ in range(4)))
    assert sum(both) == 1
    assert await factor.check(ann, codes[1].upper())
    assert await factor.codes_left(ann) == 8
    renewed = await factor.renew_codes(ann, SYSTEM)
    assert not await factor.check(ann, codes[2])
    assert await factor.check(ann, renewed[0])


async def test_codes_of_somebody_else_open_nothing(
    database: Database, factor: SecondFactor, ann: User
) -> None:
    found, codes = await turned_on(factor, ann)
    key = await database.write(lambda conn: people.add_user(conn, "bob", {}))
    bob = await again(database, key)
    await turned_on(factor, bob)
    assert not await factor.check(bob, code_of(found))
    assert not await factor.check(bob, codes[0])


async def test_taken_away_it_is_asked_for_no_more(
    database: Database, factor: SecondFactor, ann: User
) -> None:
    found, codes = await turned_on(factor, ann)
    await factor.remove(ann, SYSTEM)
    assert not (await again(database, ann.id)).second_factor
    assert not await factor.check(ann, code_of(found, 1))
    assert not await factor.check(ann, codes[0])
    log = await database.read(lambda conn: conn.execute(t.audit.select()).all())
    assert [row.action for row in log] == ["user.second-factor.on", "user.second-factor.off"]


async def test_no_secret_is_in_the_database_or_in_a_repr(
    database: Database, factor: SecondFactor, ann: User, tmp_path: Path
) -> None:
    found, codes = await turned_on(factor, ann)
    secret = base64.b32decode(found.secret)

    def everything(conn: Any) -> bytes:
        rows = [
            conn.execute(table.select()).all() for table in (t.users, t.recovery_codes, t.audit)
        ]
        return repr(rows).encode()

    raw = await database.read(everything)
    for hidden in (secret, found.secret.encode(), *(code.encode() for code in codes)):
        assert hidden not in raw
        assert repr(hidden).encode() not in raw
    assert found.secret not in repr(found)


async def test_a_session_is_its_users_until_it_ends(database: Database, ann: User) -> None:
    sessions = Sessions(database)
    token, other = await sessions.begin(ann.id), await sessions.begin(ann.id)
    found = await sessions.of(token)
    assert found is not None
    assert found.user == ann
    assert await sessions.of("") is None
    assert await sessions.of(token + "x") is None
    await sessions.end(token)
    assert await sessions.of(token) is None
    assert await sessions.of(other)
    await database.write(lambda conn: people.log_out(conn, ann.id))
    assert await sessions.of(other) is None


async def test_a_disabled_user_is_out_at_once(database: Database, ann: User) -> None:
    sessions = Sessions(database)
    token = await sessions.begin(ann.id)
    await database.write(lambda conn: people.change_user(conn, ann.id, {"disabled": True}))
    assert await sessions.of(token) is None


async def test_a_session_ends_by_itself_and_its_row_goes(
    database: Database, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = Sessions(database)
    token = await sessions.begin(ann.id)
    later = t.now() + int(9 * 3600e6)
    monkeypatch.setattr(t, "now", lambda: later)
    assert await sessions.of(token) is None
    await sessions.begin(ann.id)
    rows = await database.read(lambda conn: conn.execute(t.sessions.select()).all())
    assert len(rows) == 1


async def test_one_user_has_not_any_number_of_sessions(database: Database, ann: User) -> None:
    sessions = Sessions(database)
    first = await sessions.begin(ann.id)
    for _ in range(50):
        await sessions.begin(ann.id)
    assert await sessions.of(first) is None
