"""The LDAP back end against the real slapd: who gets in, as whom, and what an outage is."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from argosy.access.identity.ldap.directory import Ldap, LdapOptions
from argosy.access.signing_in.backends import BackendUnavailable
from argosy.errors import ConfigError
from tests.authority import Authority
from tests.peers import free_port
from tests.slapd import BASE, GROUPS, PEOPLE, READER, READER_PASSWORD, Slapd, slapd_running

pytestmark = pytest.mark.peer

ANN = ("ann", "ann's password")


def searching(slapd: Slapd, **more: object) -> LdapOptions:
    options = LdapOptions(
        urls=(slapd.url,),
        base_dn=PEOPLE,
        bind_dn=READER,
        bind_password=READER_PASSWORD,
        group_base=GROUPS,
    )
    return replace(options, **more)


def direct(slapd: Slapd, **more: object) -> LdapOptions:
    return replace(LdapOptions(urls=(slapd.url,), user_dn=f"uid={{name}},{PEOPLE}"), **more)


async def test_a_user_is_found_then_bound_and_comes_with_mail_and_groups(slapd: Slapd) -> None:
    found = await Ldap(searching(slapd)).verify(*ANN)
    assert found is not None
    assert (found.name, found.backend, found.email) == ("ann", "ldap", "ann@corp.test")
    assert found.groups == ("dev",)
    assert found.is_admin is None
    assert len(found.external_id) == 36  # the entryUUID


async def test_a_direct_bind_needs_no_account_of_our_own(slapd: Slapd) -> None:
    found = await Ldap(direct(slapd)).verify(*ANN)
    assert found is not None
    assert (found.name, found.groups) == ("ann", ("dev",))
    assert await Ldap(direct(slapd)).verify("ann", "other") is None
    assert await Ldap(direct(slapd)).verify("nobody", "other") is None


async def test_one_person_has_one_name_however_it_is_typed(slapd: Slapd) -> None:
    users = Ldap(searching(slapd))
    first, second = await users.verify(*ANN), await users.verify("ANN", ANN[1])
    assert first == second is not None


@pytest.mark.parametrize("options", [searching, direct])
@pytest.mark.parametrize("password", ["", "\0", "ann's password\0", "wrong", " "])
async def test_no_other_password_gets_in_least_of_all_an_empty_one(
    slapd: Slapd, options: object, password: str
) -> None:
    assert await Ldap(options(slapd)).verify("ann", password) is None  # type: ignore[operator]


async def test_names_with_the_signs_of_filters_and_dns_are_just_names(slapd: Slapd) -> None:
    users = Ldap(searching(slapd, nested=True))
    odd = await users.verify("joerg", "jörg's pässword")
    assert odd is not None
    assert odd.groups == ("all-dev", "company", "dev", "loop")
    star = await users.verify("st*r(x)\\z", "star's password")
    assert star is not None
    assert star.name == "st*r(x)\\z"


@pytest.mark.parametrize(
    "name",
    [
        "*",
        "a*",
        "ann)(objectClass=*",
        "*)(uid=*))(|(uid=*",
        "ann\0",
        "\\61nn",
        "ann,ou=people",
        f"x,{PEOPLE}",
        "ann+cn=Ann Example",
        "(ann)",
    ],
)
@pytest.mark.parametrize("options", [searching, direct])
async def test_ldap_injection_finds_nobody(slapd: Slapd, name: str, options: object) -> None:
    assert await Ldap(options(slapd)).verify(name, ANN[1]) is None  # type: ignore[operator]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=st.text(alphabet='an*()\\|&!=,+ u:;#"<>é\0', min_size=1, max_size=20))
def test_no_name_but_the_users_own_gets_in_with_a_users_password(slapd: Slapd, name: str) -> None:
    async def both() -> None:
        for options in (searching(slapd, group_base=""), direct(slapd)):
            found = await Ldap(options).verify(name, ANN[1])
            # Directories ignore outer and doubled blanks in names (RFC 4518 §2.6.1).
            assert found is None or name.strip().casefold() == "ann"

    asyncio.run(both())


async def test_a_name_that_fits_two_entries_is_nobody_and_the_log_says_so(
    slapd: Slapd, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "argosy.access.ldap"):
        assert await Ldap(searching(slapd)).verify("twin", "twin's password") is None
    assert "user_filter is too wide" in caplog.text


async def test_groups_of_all_three_kinds_are_found(slapd: Slapd) -> None:
    found = await Ldap(searching(slapd)).verify("bob", "bob's password")
    assert found is not None
    assert found.groups == ("Ops, EU", "qa", "staff")


async def test_groups_in_groups_are_walked_to_the_end_although_they_go_round(slapd: Slapd) -> None:
    found = await Ldap(searching(slapd, nested=True)).verify(*ANN)
    assert found is not None
    # `staff` has a member called "dev": a person's name, not our group.
    assert found.groups == ("all-dev", "company", "dev", "loop")


async def test_groups_can_go_by_their_dn(slapd: Slapd) -> None:
    found = await Ldap(searching(slapd, group_name="dn")).verify("bob", "bob's password")
    assert found is not None
    assert f"cn=qa,{GROUPS}" in found.groups


async def test_groups_are_remembered_no_longer_than_allowed() -> None:
    with slapd_running() as slapd:
        kept, fresh = (
            Ldap(searching(slapd, group_cache=3600.0)),
            Ldap(searching(slapd, group_cache=0)),
        )
        for users in (kept, fresh):
            found = await users.verify(*ANN)
            assert found is not None
            assert found.groups == ("dev",)
        member = f"uid=ann,{PEOPLE}"
        slapd.modify(
            f"dn: cn=qa,{GROUPS}\nchangetype: modify\nadd: uniqueMember\nuniqueMember: {member}\n"
        )
        again, now = await kept.verify(*ANN), await fresh.verify(*ANN)
        assert again is not None
        assert now is not None
        assert again.groups == ("dev",)
        assert now.groups == ("dev", "qa")


@pytest.mark.parametrize("group", ["company", f"cn=company,{GROUPS}", "COMPANY"])
async def test_one_group_administers(slapd: Slapd, group: str) -> None:
    users = Ldap(searching(slapd, nested=True, admin_group=group))
    ann, bob = await users.verify(*ANN), await users.verify("bob", "bob's password")
    assert ann is not None
    assert bob is not None
    assert (ann.is_admin, bob.is_admin) == (True, False)


@pytest.mark.parametrize("way", ["ldaps", "starttls"])
async def test_tls_works_with_the_authority_and_not_without(
    slapd: Slapd, way: str, tmp_path: Path
) -> None:
    more = {"urls": (slapd.secure,)} if way == "ldaps" else {"start_tls": True}
    assert await Ldap(searching(slapd, ca_file=str(slapd.ca), **more)).verify(*ANN)
    other = Authority(tmp_path).ca
    with pytest.raises(BackendUnavailable, match="cannot trust") as caught:
        await Ldap(searching(slapd, ca_file=str(other), **more)).verify(*ANN)
    assert "ca_file" in caught.value.remedy


@pytest.mark.parametrize("way", ["ldaps", "starttls"])
async def test_a_certificate_of_another_host_is_refused(slapd: Slapd, way: str) -> None:
    url = f"ldaps://localhost:{slapd.secure_port}"
    if way == "starttls":
        url = f"ldap://localhost:{slapd.port}"
    options = searching(slapd, urls=(url,), ca_file=str(slapd.ca), start_tls=way == "starttls")
    with pytest.raises(BackendUnavailable, match="cannot trust") as caught:
        await Ldap(options).verify(*ANN)
    assert "localhost" in caught.value.why


async def test_the_next_server_is_asked_when_one_is_down_and_first_from_then_on(
    slapd: Slapd, caplog: pytest.LogCaptureFixture
) -> None:
    dead = f"ldap://127.0.0.1:{free_port()}"
    users = Ldap(searching(slapd, urls=(dead, slapd.url)))
    with caplog.at_level(logging.WARNING, "argosy.access.ldap"):
        assert await users.verify(*ANN)
        assert caplog.text.count("cannot reach") == 1
        assert await users.verify(*ANN)
        assert caplog.text.count("cannot reach") == 1


async def test_no_server_at_all_is_an_outage_and_not_a_refusal(slapd: Slapd) -> None:
    dead = f"ldap://127.0.0.1:{free_port()}"
    with pytest.raises(BackendUnavailable, match="cannot be asked") as caught:
        await Ldap(searching(slapd, urls=(dead,))).verify(*ANN)
    assert "ann's password" not in str(caught.value.to_json())


@asynccontextmanager
async def answering(said: bytes) -> AsyncIterator[str]:
    """A server that says this to everybody, whatever they ask, and then nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(1)
            writer.write(said)
            await reader.read()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
async def test_a_server_that_hangs_costs_the_time_limit_and_no_more(
    slapd: Slapd, scheme: str
) -> None:
    async with answering(b"") as host:
        options = searching(slapd, urls=(f"{scheme}://{host}", slapd.url), timeout=0.3)
        async with asyncio.timeout(5):
            assert await Ldap(options).verify(*ANN)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"0\x84\xff\xff\xff\xff",
        b"0\x80\0\0",
        bytes.fromhex("300c02017f61070a010004000400"),  # an answer to another question
        bytes.fromhex("300c02010165070a010004000400"),  # to another operation
        bytes.fromhex("3003020101"),
    ],
)
async def test_nonsense_from_a_server_is_an_outage(slapd: Slapd, said: bytes) -> None:
    async with answering(said) as host:
        with pytest.raises(BackendUnavailable):
            await Ldap(searching(slapd, urls=(f"ldap://{host}",), timeout=2)).verify(*ANN)


async def test_a_wrong_account_of_our_own_refuses_nobody(slapd: Slapd) -> None:
    users = Ldap(searching(slapd, bind_password="wrong"))
    with pytest.raises(BackendUnavailable, match="own account") as caught:
        await users.verify(*ANN)
    assert "bind_password" in caught.value.remedy
    with pytest.raises(BackendUnavailable):
        await users.check()


@pytest.mark.parametrize("code", ["08", "0d"])
async def test_a_server_that_wants_encryption_is_told_as_such(slapd: Slapd, code: str) -> None:
    """Active Directory says strongerAuthRequired, OpenLDAP confidentialityRequired."""
    async with answering(bytes.fromhex(f"300c02010161070a01{code}04000400")) as host:
        with pytest.raises(BackendUnavailable, match="in the clear") as caught:
            await Ldap(searching(slapd, urls=(f"ldap://{host}",))).verify(*ANN)
    assert "start_tls" in caught.value.remedy


async def test_check_names_the_server_that_answered(slapd: Slapd) -> None:
    assert await Ldap(searching(slapd)).check() == slapd.url
    with pytest.raises(BackendUnavailable, match="search below"):
        await Ldap(searching(slapd, base_dn="dc=elsewhere")).check()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (LdapOptions(urls=()), "urls"),
        (LdapOptions(urls=("http://x",), base_dn=BASE), "no address"),
        (LdapOptions(urls=("ldap://x/?q",), base_dn=BASE), "no address"),
        (LdapOptions(urls=("ldap://10.1.2.3",), base_dn=BASE), "for everybody to read"),
        (LdapOptions(urls=("ldaps://x",)), "where users are"),
        (LdapOptions(urls=("ldaps://x",), user_dn="uid=x,dc=y"), "would be everybody"),
        (LdapOptions(urls=("ldaps://x",), base_dn=BASE, user_filter="(uid=*)"), "everybody"),
        (LdapOptions(urls=("ldaps://x",), base_dn=BASE, bind_dn="cn=x"), "go together"),
        (LdapOptions(urls=("ldaps://x",), base_dn=BASE, ca_file="/nowhere"), "ca_file"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_the_start(
    options: LdapOptions, word: str
) -> None:
    with pytest.raises(ConfigError, match=word):
        Ldap(options)


def test_the_password_of_our_account_is_in_no_repr() -> None:
    assert "hush" not in repr(LdapOptions(urls=(), bind_password="hush"))


async def test_groups_elsewhere_in_the_tree_are_not_the_ones_that_are_meant(slapd: Slapd) -> None:
    """Whoever may make a group in some corner could else call it as the one that administers."""
    everywhere = await Ldap(searching(slapd, group_base="")).verify(*ANN)
    assert everywhere is not None
    assert everywhere.groups
    one = everywhere.groups[0]
    elsewhere = Ldap(searching(slapd, group_base=PEOPLE, admin_group=one))
    found = await elsewhere.verify(*ANN)
    assert found is not None
    assert (found.groups, found.is_admin) == ((), False)
