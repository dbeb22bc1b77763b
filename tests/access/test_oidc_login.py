"""Logins at a real OpenID Connect provider: who comes back, and everything that is not believed."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from argosy.access.identity.flows import Flows
from argosy.access.identity.oidc.login import Oidc
from argosy.access.identity.oidc.values import Finished, OidcOptions, Pending
from argosy.access.identity.oidc.web import Web
from argosy.access.signing_in.backends import BackendUnavailable, Identity
from argosy.access.signing_in.refused import Refused
from argosy.access.tokens.sealing import Sealer
from argosy.catalog.database import Database, open_database
from argosy.errors import ConfigError
from tests.access.oidc_browser import log_in, query_of
from tests.authority import Authority
from tests.oidc_provider import CLIENT, SECRET, Provider, provider_running

pytestmark = pytest.mark.slow

CALLBACK = "https://registry.test/auth/oidc/callback"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(str(tmp_path / "argosy.db")) as found:
        yield found


@pytest.fixture
async def flows(database: Database) -> Flows:
    return Flows(database, Sealer("x" * 32))


def options(oidc: Provider, **more: Any) -> OidcOptions:
    for client in oidc.clients.values():
        client["redirect_uris"] = [CALLBACK]
    found = OidcOptions(issuer=oidc.issuer, client_id=CLIENT, client_secret=SECRET)
    return replace(found, **more)


@pytest.fixture
async def logins(oidc: Provider, flows: Flows) -> AsyncIterator[Oidc]:
    found = Oidc(options(oidc), flows)
    yield found
    await found.close()


async def login(logins: Oidc, user: str = "ann") -> Finished | Refused:
    """The whole way of one browser."""
    begun = await logins.begin(CALLBACK, "/account")
    back = await asyncio.to_thread(log_in, begun.url, user)
    assert back.startswith(CALLBACK + "?")
    return await logins.finish(query_of(back), begun.binding)


def reason(found: object) -> str:
    assert isinstance(found, Refused), found
    return found.reason


async def test_a_browser_that_logs_in_over_there_is_somebody_here(
    logins: Oidc, oidc: Provider
) -> None:
    found = await login(logins)
    assert isinstance(found, Finished)
    assert found.go_on == "/account"
    who = found.identity
    assert (who.name, who.backend, who.email) == ("ann", "oidc", "ann@idp.test")
    assert who.groups == ("dev", "ops")
    assert who.is_admin is None
    assert who.external_id == f'["{oidc.issuer}", "id-of-ann"]'


async def test_a_public_client_works_by_pkce_alone(oidc: Provider, flows: Flows) -> None:
    logins = Oidc(options(oidc, client_id="public", client_secret=""), flows)
    assert isinstance(await login(logins), Finished)
    await logins.close()


async def test_groups_that_only_userinfo_tells_are_found(logins: Oidc, oidc: Provider) -> None:
    oidc.id_token_has = ("email",)
    found = await login(logins)
    assert isinstance(found, Finished)
    assert (found.identity.name, found.identity.groups) == ("ann", ("dev", "ops"))
    assert oidc.asked["/userinfo"] == 1


async def test_userinfo_of_somebody_else_does_not_count(logins: Oidc, oidc: Provider) -> None:
    oidc.id_token_has = ("preferred_username",)
    oidc.change = lambda claims: {**claims, "sub": "somebody else"}
    found = await login(logins)
    assert isinstance(found, Finished)
    assert found.identity.groups == ()


async def test_claims_may_be_called_and_nested_otherwise(oidc: Provider, flows: Flows) -> None:
    oidc.add_user(
        "cid", upn="cid@corp", realm_access={"roles": ["a", "b"]}, team=[{"name": "x"}, {"no": 1}]
    )
    oidc.id_token_has = ("upn", "realm_access", "team", "email")
    for claim, groups in (("realm_access.roles", ("a", "b")), ("team", ("x",)), ("upn.x", ())):
        logins = Oidc(options(oidc, name_claim="upn", groups_claim=claim), flows)
        found = await login(logins, "cid")
        assert isinstance(found, Finished)
        assert (found.identity.name, found.identity.groups) == ("cid@corp", groups)
        await logins.close()


@pytest.mark.parametrize("verified", [False, "false", True, None])
async def test_a_mail_address_is_a_name_only_for_who_has_it(
    oidc: Provider, flows: Flows, verified: object
) -> None:
    """Who is at the provider could else be here first under a colleague's name."""
    told = {} if verified is None else {"email_verified": verified}
    oidc.add_user("eve", email="ann@idp.test", **told)
    oidc.id_token_has = ("email", "email_verified")
    logins = Oidc(options(oidc, name_claim="email"), flows)
    found = await login(logins, "eve")
    if verified in (False, "false"):
        assert "not verified" in reason(found)
    else:
        assert isinstance(found, Finished)
        assert found.identity.name == "ann@idp.test"
    await logins.close()


async def test_that_a_mail_address_is_not_verified_is_heard_wherever_the_provider_says_it(
    oidc: Provider, flows: Flows
) -> None:
    oidc.add_user("eve", email="ann@idp.test", groups=["dev"], email_verified=False)
    oidc.id_token_has = ("email", "groups")  # all that is kept of them; the rest is in userinfo
    logins = Oidc(options(oidc, name_claim="email"), flows)
    assert "not verified" in reason(await login(logins, "eve"))
    await logins.close()


async def test_one_group_administers_and_another_is_needed(oidc: Provider, flows: Flows) -> None:
    logins = Oidc(options(oidc, admin_group="ops", required_group="dev"), flows)
    found = await login(logins)
    assert isinstance(found, Finished)
    assert found.identity.is_admin is True
    assert "not in the group" in reason(await login(logins, "bob"))
    await logins.close()


async def test_a_login_can_be_finished_once(logins: Oidc) -> None:
    begun = await logins.begin(CALLBACK, "/")
    query = query_of(await asyncio.to_thread(log_in, begun.url, "ann"))
    assert isinstance(await logins.finish(query, begun.binding), Finished)
    assert "not begun in this browser" in reason(await logins.finish(query, begun.binding))


async def test_nobody_finishes_a_login_that_another_browser_began(logins: Oidc) -> None:
    begun = await logins.begin(CALLBACK, "/")
    query = query_of(await asyncio.to_thread(log_in, begun.url, "ann"))
    other = await logins.begin(CALLBACK, "/")
    for binding in (other.binding, "", "é"):
        assert "not begun in this browser" in reason(await logins.finish(query, binding))


@pytest.mark.parametrize("state", ["", "guessed"])
async def test_a_state_that_we_did_not_give_is_nothing(logins: Oidc, state: str) -> None:
    begun = await logins.begin(CALLBACK, "/")
    query = {"state": state, "code": "x"}
    assert "not begun in this browser" in reason(await logins.finish(query, begun.binding))


async def test_a_code_of_another_login_is_of_no_use(logins: Oidc) -> None:
    """PKCE: the verifier belongs to the browser that began."""
    mine, theirs = await logins.begin(CALLBACK, "/"), await logins.begin(CALLBACK, "/")
    stolen = query_of(await asyncio.to_thread(log_in, theirs.url, "ann"))["code"]
    query = {"state": query_of(mine.url)["state"], "code": stolen}
    found = await logins.finish(query, mine.binding)
    assert "no ID token" in reason(found)


async def test_what_the_provider_says_no_to_is_told(logins: Oidc) -> None:
    begun = await logins.begin(CALLBACK, "/")
    query = {"state": query_of(begun.url)["state"], "error": "access_denied"}
    assert "access_denied" in reason(await logins.finish(query, begun.binding))


async def test_an_answer_of_another_issuer_is_refused(logins: Oidc) -> None:
    begun = await logins.begin(CALLBACK, "/")
    query = query_of(await asyncio.to_thread(log_in, begun.url, "ann"))
    found = await logins.finish({**query, "iss": "https://evil.test"}, begun.binding)
    assert "another provider" in reason(found)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"iss": "https://evil.test"}, "another issuer"),
        ({"aud": "another-client"}, "not for this registry"),
        ({"aud": []}, "not for this registry"),
        ({"aud": [CLIENT, "another"]}, "'azp'"),
        ({"azp": "another"}, "'azp'"),
        ({"exp": 1_000_000_000}, "expired"),
        ({"exp": None}, "'exp'"),
        ({"exp": "soon"}, "'exp'"),
        ({"iat": 9_999_999_999}, "'iat'"),
        ({"nbf": 9_999_999_999}, "'nbf'"),
        ({"nonce": "another"}, "another login"),
        ({"nonce": None}, "another login"),
        ({"sub": ""}, "whom it is about"),
        ({"sub": None}, "whom it is about"),
        ({"sub": 7}, "whom it is about"),
        ({"at_hash": "AAAA"}, "'at_hash'"),
        ({"preferred_username": ""}, "tells no preferred_username"),
        ({"preferred_username": ["ann"]}, "tells no preferred_username"),
    ],
)
async def test_an_id_token_that_is_not_for_this_login_does_not_count(
    logins: Oidc, oidc: Provider, change: dict[str, Any], why: str
) -> None:
    oidc.change = lambda claims: {
        name: value for name, value in {**claims, **change}.items() if value is not None
    }
    oidc.users["ann"] |= {k: v for k, v in change.items() if k == "preferred_username"}
    assert why in reason(await login(logins))


async def test_clocks_may_differ_by_a_minute(logins: Oidc, oidc: Provider) -> None:
    oidc.change = lambda claims: {**claims, "exp": claims["iat"] - 30, "iat": claims["iat"] + 30}
    assert isinstance(await login(logins), Finished)


async def test_a_new_key_is_learned_when_a_token_needs_it(logins: Oidc, oidc: Provider) -> None:
    now = [1000.0]
    logins.provider._clock = lambda: now[0]
    assert isinstance(await login(logins), Finished)
    oidc.rotate("second", keep=False)
    now[0] += 11
    assert isinstance(await login(logins), Finished)
    assert oidc.asked["/keys"] == 2


async def test_tokens_with_unknown_keys_do_not_make_us_ask_again_and_again(
    logins: Oidc, oidc: Provider
) -> None:
    now = [1000.0]
    logins.provider._clock = lambda: now[0]
    for name in range(50):
        assert await logins.provider.keys(f"unknown-{name}") == []
    assert oidc.asked["/keys"] == 1
    now[0] += 11
    assert await logins.provider.keys("unknown") == []
    assert oidc.asked["/keys"] == 2


async def test_metadata_and_keys_are_asked_for_once(logins: Oidc, oidc: Provider) -> None:
    for _ in range(3):
        assert isinstance(await login(logins), Finished)
    assert oidc.asked["/.well-known/openid-configuration"] == 1
    assert oidc.asked["/keys"] == 1


async def test_a_provider_that_is_down_is_an_outage_and_not_a_refusal(
    logins: Oidc, oidc: Provider
) -> None:
    oidc.down = True
    with pytest.raises(BackendUnavailable, match="cannot be asked") as caught:
        await logins.begin(CALLBACK, "/")
    assert "503" in caught.value.why


async def test_keys_once_known_outlast_a_short_outage(logins: Oidc, oidc: Provider) -> None:
    now = [1000.0]
    logins.provider._clock = lambda: now[0]
    assert isinstance(await login(logins), Finished)
    now[0] += 7200
    oidc.down = True
    assert len(await logins.provider.keys("first")) == 1
    assert (await logins.provider.metadata()).issuer == oidc.issuer


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"issuer": "https://evil.test"}, "calls itself"),
        ({"issuer": None}, "calls itself"),
        ({"jwks_uri": None}, "no jwks_uri"),
        ({"token_endpoint": 7}, "no token_endpoint"),
    ],
)
async def test_metadata_that_cannot_be_trusted_is_not_used(
    logins: Oidc, oidc: Provider, change: dict[str, Any], why: str
) -> None:
    oidc.metadata = change
    with pytest.raises(BackendUnavailable) as caught:
        await logins.begin(CALLBACK, "/")
    assert why in caught.value.why


@pytest.mark.parametrize(
    "url",
    [
        "http://idp.test/keys",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "https://user@idp.test/",
        "https:///nowhere",
        "gopher://127.0.0.1/",
        "",
    ],
)
async def test_no_door_of_a_provider_may_lead_off_https(
    logins: Oidc, oidc: Provider, url: str
) -> None:
    oidc.metadata = {"jwks_uri": url}
    with pytest.raises(ConfigError, match="no address of an identity provider"):
        await logins.begin(CALLBACK, "/")
    with pytest.raises(ConfigError):
        Oidc(OidcOptions(issuer=url, client_id="x"), logins._flows)


async def test_a_redirect_of_the_provider_is_not_followed(logins: Oidc, oidc: Provider) -> None:
    oidc.metadata = {"jwks_uri": f"{oidc.issuer}/elsewhere"}
    with pytest.raises(BackendUnavailable, match="cannot be used"):
        await logins.provider.keys(None)


async def test_https_with_an_authority_of_the_house(tmp_path: Path, flows: Flows) -> None:
    authority = Authority(tmp_path)
    with provider_running(authority.issue("127.0.0.1")) as oidc:
        logins = Oidc(options(oidc, ca_file=str(authority.ca)), flows)
        assert "1 keys, with device flow" in await logins.check()
        await logins.close()
        strangers = Oidc(options(oidc), flows)
        with pytest.raises(BackendUnavailable):
            await strangers.check()
        await strangers.close()


async def test_plain_http_to_another_machine_has_to_be_asked_for() -> None:
    with pytest.raises(ConfigError, match="no address"):
        Web().check("http://idp.internal")
    Web(allow_http=True).check("http://idp.internal")
    Web().check("http://localhost:8080/realm")


async def test_the_device_flow_ends_in_the_same_identity(logins: Oidc, oidc: Provider) -> None:
    begun = await logins.begin_device()
    assert begun is not None
    assert begun.address == f"{oidc.issuer}/activate"
    assert await logins.poll_device(begun.handle) == Pending()
    oidc.slow_down = True
    assert await logins.poll_device(begun.handle) == Pending(slower=True)
    await asyncio.to_thread(log_in, begun.address_with_code, "ann")
    found = await logins.poll_device(begun.handle)
    assert isinstance(found, Identity)
    finished = await login(logins)
    assert isinstance(finished, Finished)
    assert found == finished.identity


async def test_a_device_login_that_is_declined_or_unknown_is_refused(
    logins: Oidc, oidc: Provider
) -> None:
    begun = await logins.begin_device()
    assert begun is not None
    oidc.decided[begun.user_code] = ("ann", False)
    assert "access_denied" in reason(await logins.poll_device(begun.handle))
    assert "invalid_request" in reason(await logins.poll_device("made up"))


async def test_a_provider_without_device_flow_is_no_error(logins: Oidc, oidc: Provider) -> None:
    oidc.metadata = {"device_authorization_endpoint": None}
    assert await logins.begin_device() is None


async def test_a_wrong_client_secret_is_told_without_the_secret(
    oidc: Provider, flows: Flows
) -> None:
    logins = Oidc(options(oidc, client_secret="wrong-secret"), flows)
    found = await login(logins)
    assert "invalid_client" in reason(found)
    assert "wrong-secret" not in repr(found) + repr(logins.options)
    await logins.close()


async def test_what_is_kept_of_a_login_is_sealed(database: Database, logins: Oidc) -> None:
    begun = await logins.begin(CALLBACK, "/secret-page")

    def rows(conn: Any) -> bytes:
        return b"".join(
            bytes(row) for row in conn.exec_driver_sql("select data from login_flows").scalars()
        )

    raw = await database.read(rows)
    assert raw
    for secret in (b"/secret-page", begun.binding.encode(), b"verifier"):
        assert secret not in raw


async def test_a_provider_is_reached_through_the_proxy_of_the_environment(
    flows: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readline())
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(proxy, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        logins = Oidc(OidcOptions(issuer="https://idp.test", client_id="x"), flows)
        with pytest.raises(BackendUnavailable):
            await logins.check()
        await logins.close()
    assert seen == [b"CONNECT idp.test:443 HTTP/1.1\r\n"]
