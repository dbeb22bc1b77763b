"""Who is gone from their back end is out here, tokens and all, and a slip of the settings locks nobody out."""

import logging
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import bcrypt
import pytest
from sqlalchemy import Connection

from argosy.access.identity.htpasswd import Htpasswd, HtpasswdOptions
from argosy.access.identity.ldap.directory import Ldap, LdapOptions
from argosy.access.identity.onboarding import onboard
from argosy.access.identity.recalling import Recalled, Recalling
from argosy.access.signing_in.backends import Identity
from argosy.catalog import schema as t
from argosy.catalog.actor import SYSTEM
from argosy.catalog.database import Database, open_database
from argosy.catalog.people import users as people
from argosy.catalog.people.users import User
from tests.slapd import BASE, GROUPS, PEOPLE, READER, READER_PASSWORD, Slapd, slapd_running


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(str(tmp_path / "argosy.db")) as found:
        yield found


@pytest.fixture
def own_slapd() -> Iterator[Slapd]:
    with slapd_running() as found:
        yield found


def directory(slapd: Slapd) -> LdapOptions:
    return LdapOptions(
        urls=(slapd.url,),
        base_dn=PEOPLE,
        bind_dn=READER,
        bind_password=READER_PASSWORD,
        group_base=GROUPS,
        timeout=2.0,
    )


async def arrive(database: Database, identity: Identity | None) -> User:
    assert identity is not None
    found = await database.write(lambda conn: onboard(conn, identity, SYSTEM))
    assert isinstance(found, User), found
    return found


async def now(database: Database, user: User) -> User:
    found = await database.read(lambda conn: people.user_by_id(conn, user.id))
    assert found is not None
    return found


@pytest.mark.peer
async def test_who_left_the_directory_is_out_and_the_others_have_their_new_groups(
    database: Database, own_slapd: Slapd
) -> None:
    ldap = Ldap(directory(own_slapd))
    ann = await arrive(database, await ldap.verify("ann", "ann's password"))
    bob = await arrive(database, await ldap.verify("bob", "bob's password"))
    own_slapd.modify(f"dn: uid=bob,{PEOPLE}\nchangetype: delete\n")
    member = f"uid=ann,{PEOPLE}"
    own_slapd.modify(
        f"dn: cn=qa,{GROUPS}\nchangetype: modify\nadd: uniqueMember\nuniqueMember: {member}\n"
    )
    found = await Recalling(database, [ldap]).round()
    assert found == {"ldap": Recalled(seen=2, gone=("bob",), disabled=True)}
    assert (await now(database, bob)).disabled
    assert not (await now(database, ann)).disabled
    assert await database.read(lambda conn: people.groups(conn, ann.id)) == ["dev", "qa"]

    def read(conn: Connection) -> list[tuple[str, str]]:
        rows = conn.execute(t.audit.select().where(t.audit.c.action == "user.update")).all()
        return [(row.resource, row.details["reason"]) for row in rows]

    assert await database.read(read) == [("bob", "gone from ldap")]


@pytest.mark.peer
async def test_who_was_renamed_is_still_there(database: Database, own_slapd: Slapd) -> None:
    ldap = Ldap(directory(own_slapd))
    ann = await arrive(database, await ldap.verify("ann", "ann's password"))
    own_slapd.modify(
        f"dn: uid=ann,{PEOPLE}\nchangetype: modrdn\nnewrdn: uid=ann2\ndeleteoldrdn: 1\n"
    )
    found = await Recalling(database, [ldap]).round()
    assert found["ldap"].gone == ()
    assert (await now(database, ann)).name == "ann"


@pytest.mark.peer
async def test_another_person_of_the_same_name_is_not_them(
    database: Database, own_slapd: Slapd
) -> None:
    ldap = Ldap(directory(own_slapd))
    bob = await arrive(database, await ldap.verify("bob", "bob's password"))
    own_slapd.modify(f"dn: uid=bob,{PEOPLE}\nchangetype: delete\n")
    own_slapd.modify(
        f"dn: uid=bob,{PEOPLE}\nchangetype: add\nobjectClass: inetOrgPerson\n"
        "uid: bob\ncn: Bob Second\nsn: Second\nuserPassword: other\n"
    )
    await Recalling(database, [ldap]).round()
    assert (await now(database, bob)).disabled


@pytest.mark.peer
async def test_a_wrong_base_disables_nobody(
    database: Database, slapd: Slapd, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(8):
        identity = Identity(name=f"user{number}", backend="ldap", external_id=f"id-{number}")
        await arrive(database, identity)
    elsewhere = Ldap(replace(directory(slapd), base_dn=f"cn=reader,{BASE}"))
    with caplog.at_level(logging.ERROR, "argosy.access"):
        found = await Recalling(database, [elsewhere]).round()
    assert (len(found["ldap"].gone), found["ldap"].disabled) == (8, False)
    assert "nobody is disabled" in caplog.text


@pytest.mark.peer
async def test_a_directory_that_is_down_disables_nobody(database: Database) -> None:
    with slapd_running() as stopping:
        ldap = Ldap(directory(stopping))
        ann = await arrive(database, await ldap.verify("ann", "ann's password"))
    assert await Recalling(database, [ldap]).round() == {}
    assert not (await now(database, ann)).disabled


def test_direct_binds_leave_nothing_to_look_with() -> None:
    direct = Ldap(LdapOptions(urls=("ldaps://x",), user_dn="uid={name},dc=x"))
    assert not direct.recalls


async def test_a_line_taken_out_of_htpasswd_is_a_user_less(
    database: Database, tmp_path: Path
) -> None:
    def line(name: str) -> str:
        return f"{name}:{bcrypt.hashpw(b'pw', bcrypt.gensalt(4)).decode()}\n"

    file = tmp_path / "users"
    file.write_text(line("ann") + line("bob"))
    users = Htpasswd(HtpasswdOptions(file=str(file)))
    both = [await arrive(database, await users.verify(name, "pw")) for name in ("ann", "bob")]
    new = tmp_path / "new"
    new.write_text(line("ann"))
    os.replace(new, file)
    assert (await Recalling(database, [users]).round())["htpasswd"].gone == ("bob",)
    assert [(await now(database, user)).disabled for user in both] == [False, True]


async def test_local_users_and_those_of_other_back_ends_are_left_alone(
    database: Database, tmp_path: Path
) -> None:
    await database.write(lambda conn: people.add_user(conn, "local", {}))
    eve = await arrive(database, Identity(name="eve", backend="oidc", external_id="x"))
    (tmp_path / "users").write_text("")
    users = Htpasswd(HtpasswdOptions(file=str(tmp_path / "users")))
    assert await Recalling(database, [users]).round() == {"htpasswd": Recalled()}
    assert not (await now(database, eve)).disabled


async def test_one_node_does_it_for_all(database: Database, tmp_path: Path) -> None:
    users = Htpasswd(HtpasswdOptions(file=str(tmp_path / "none")))
    first, second = Recalling(database, [users]), Recalling(database, [users])
    assert await first._is_ours(3600)
    assert not await second._is_ours(3600)
    assert await first._is_ours(3600)
