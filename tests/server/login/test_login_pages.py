"""Logging in with a browser, at a registry as `argosy serve --auth` makes it."""

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from argosy.access.accounts.users import NewUser
from argosy.access.identity import totp
from argosy.catalog.actor import SYSTEM
from argosy.server.config.sections import (
    AuthSection,
    OidcSection,
    ServerSection,
    ServerSettings,
)
from argosy.server.login.door import Beginnings
from tests.browser import Browser, Page
from tests.oidc_provider import CLIENT, SECRET, Provider
from tests.serving import Client, Serving, served

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class House:
    """A registry with a provider beside it, and a browser."""

    client: Client
    serving: Serving
    oidc: Provider
    browser: Browser

    @property
    def home(self) -> str:
        return f"http://127.0.0.1:{self.client.port}"

    def user(self, name: str, password: str = PASSWORD, **more: Any) -> None:
        access = self.serving.app.admission.access
        assert access is not None
        new = NewUser(name=name, password=password, **more)
        self.serving.run(access.users.create(SYSTEM, new))

    def enter(self, name: str, password: str = PASSWORD, at: str = "/login") -> Page:
        return self.browser.press(self.browser.get(at), "Log in", name=name, password=password)

    def token(self, name: str, password: str) -> int:
        """The status of a token request with Basic."""
        return self.client.by(name, password)("GET", "/token?service=argosy").status


@pytest.fixture
def house(tmp_path: Path, oidc: Provider) -> Iterator[House]:
    settings = ServerSettings(
        server=ServerSection(data=str(tmp_path)),
        auth=AuthSection(enabled=True, backends=("local", "oidc")),
        oidc=OidcSection(
            issuer=oidc.issuer, client_id=CLIENT, client_secret=SECRET, admin_group="ops"
        ),
    )
    with served(tmp_path, settings=settings, watched=True) as (client, serving):
        home = f"http://127.0.0.1:{client.port}"
        oidc.clients[CLIENT]["redirect_uris"] = [f"{home}/auth/oidc/callback"]
        yield House(client, serving, oidc, Browser(home))


def test_a_password_opens_the_account_and_its_token_opens_the_registry(house: House) -> None:
    house.user("ann")
    page = house.enter("ann")
    assert page.url == f"{house.home}/account"
    assert "ann (local)" in page.text
    made = house.browser.press(page, "Make a token", name="laptop", days="30")
    secret = made.codes[0]
    assert made.headers["Cache-Control"] == "no-store"
    assert house.token("ann", secret) == 200
    again = house.browser.get("/account")
    assert "laptop" in again.text
    assert secret not in again.body
    house.browser.press(again, "Revoke")
    assert "laptop" not in house.browser.get("/account").text
    assert house.token("ann", secret) == 401


def test_a_wrong_password_says_the_same_whoever_it_is(house: House) -> None:
    house.user("ann")
    known, unknown = house.enter("ann", "wrong"), house.enter("nobody", "wrong")
    assert known.status == unknown.status == 403
    assert known.text == unknown.text
    assert "argosy-session" not in house.browser.cookies()


def test_guessing_is_slowed(house: House) -> None:
    house.user("ann")
    statuses = [house.enter("ann", f"guess {n}").status for n in range(12)]
    assert 429 in statuses
    slowed = house.enter("ann")
    assert slowed.status == 429
    assert int(slowed.headers["Retry-After"]) > 0


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(house: House) -> None:
    house.user("ann")
    house.enter("ann")
    cookie = house.browser.cookies()["argosy-session"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["path"] == "/"
    assert not cookie["domain"]


def test_https_cookies_are_for_https_and_this_host_only(tmp_path: Path) -> None:
    server = ServerSection(data=str(tmp_path), public_url="https://registry.test")
    settings = ServerSettings(server=server, auth=AuthSection(enabled=True))
    with served(tmp_path, settings=settings) as (client, serving):
        access = serving.app.admission.access
        assert access is not None
        serving.run(access.users.create(SYSTEM, NewUser(name="ann", password=PASSWORD)))
        answer = client(
            "POST",
            "/login",
            f"name=ann&password={PASSWORD.replace(' ', '+')}",
            {"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert answer.status == 303
        cookie = answer["Set-Cookie"]
        shown = {"Cookie": cookie.partition(";")[0]}
        page = client("GET", "/account", None, shown).body.decode()
        key = page.partition('name="key" value="')[2].partition('"')[0]
        body, kind = form(key=key)
        begun = client("POST", "/account/second-factor/begin", body, {**shown, **kind})
        assert "otpauth://totp/Argosy%20registry.test:ann?" in begun.body.decode()
    assert cookie.startswith("__Host-argosy-session=")
    assert "; Secure" in cookie


def test_logging_out_ends_the_session_on_the_server(house: House) -> None:
    house.user("ann")
    page = house.enter("ann")
    stolen = house.browser.cookies()["argosy-session"].value
    assert house.browser.press(page, "Log out").url == f"{house.home}/login"
    house.browser.cookies()["argosy-session"] = stolen
    assert house.browser.get("/account").url.startswith(f"{house.home}/login")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.test", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "null", "Sec-Fetch-Site": ""},
        {"Origin": "", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "", "Sec-Fetch-Site": "same-site"},
    ],
)
def test_forms_of_other_sites_do_nothing(house: House, headers: dict[str, str]) -> None:
    house.user("ann")
    form = {"name": "ann", "password": PASSWORD}
    assert house.browser.post("/login", form, **headers).status == 403
    page = house.enter("ann")
    fields = {**page.form("Make a token").fields, "name": "evil"}
    assert house.browser.post("/account/tokens", fields, **headers).status == 403
    assert "evil" not in house.browser.get("/account").text


def test_a_form_without_the_sessions_key_does_nothing(house: House) -> None:
    house.user("ann")
    house.enter("ann")
    for key in ("", "wrong", "é"):
        answer = house.browser.post("/account/tokens", {"name": "x", "days": "", "key": key})
        assert answer.status == 403
    assert "Revoke" not in house.browser.get("/account").text


@pytest.mark.parametrize(
    "wanted",
    ["https://evil.test/", "//evil.test/", "/\\evil.test", "javascript:alert(1)", "/a\nb", "/é"],
)
def test_after_a_login_one_is_here_and_nowhere_else(house: House, wanted: str) -> None:
    house.user("ann")
    page = house.browser.get("/login")
    page.form("Log in").fields["next"] = wanted
    assert house.browser.press(page, "Log in", name="ann", password=PASSWORD).url == (
        f"{house.home}/account"
    )


def test_pages_run_nothing_and_cannot_be_framed(house: House) -> None:
    page = house.browser.get("/login")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "<script" not in page.body


def test_what_people_type_is_text_and_never_a_tag(house: House) -> None:
    page = house.enter('"><script>alert(1)</script>', "x")
    assert page.status == 403
    assert "<script>" not in page.body
    assert "&quot;&gt;&lt;script&gt;" in page.body


def test_a_one_time_password_has_to_be_changed(house: House) -> None:
    access = house.serving.app.admission.access
    assert access is not None
    _, once = house.serving.run(access.users.create(SYSTEM, NewUser(name="new")))
    page = house.enter("new", once)
    assert "choose another one" in page.text
    fill = {"name": "new", "password": once, "new": "short", "again": "short"}
    short = house.browser.press(page, "Change it and log in", **fill)
    assert short.status == 403
    fill |= {"new": "a longer one 123", "again": "a longer one 124"}
    assert "differ" in house.browser.press(page, "Change it and log in", **fill).text
    fill["again"] = fill["new"]
    assert "new (local)" in house.browser.press(page, "Change it and log in", **fill).text
    assert house.token("new", "a longer one 123") == 200


def test_tokens_and_robots_get_no_session(house: House) -> None:
    house.user("ann")
    made = house.browser.press(house.enter("ann"), "Make a token", name="x", days="")
    secret = made.codes[0]
    other = replace(house, browser=Browser(house.home))
    page = other.enter("ann", secret)
    assert page.status == 403
    assert "Use your password" in page.text


def test_the_second_factor_is_asked_for_and_docker_needs_a_token(house: House) -> None:
    house.user("ann")
    browser = house.browser
    page = browser.press(house.enter("ann"), "Set it up")
    typed = page.codes[0]
    secret = base64.b32decode(typed)
    code = totp.hotp(secret, totp.step_at(time.time()) - 1)
    codes = browser.press(page, "Turn it on", code=code).codes
    assert len(codes) == 10
    # Docker has nowhere to type a code.
    answer = house.client.by("ann", PASSWORD)("GET", "/token?service=argosy")
    assert answer.status == 401
    assert "personal access token" in answer.body.decode()
    # A browser has.
    browser.cookies().clear()
    asked = house.enter("ann")
    assert "Second factor" in asked.text
    assert "argosy-session" not in browser.cookies()
    wrong = browser.press(asked, "Go on", code="000000")
    assert wrong.status == 403
    assert "argosy-session" not in browser.cookies()
    now = totp.hotp(secret, totp.step_at(time.time()))
    inside = browser.press(wrong, "Go on", code=now)
    assert inside.url == f"{house.home}/account"
    made = browser.press(inside, "Make a token", name="docker", days="")
    assert house.token("ann", made.codes[0]) == 200
    # The same code does not work twice, a recovery code does once.
    browser.cookies().clear()
    asked = house.enter("ann")
    assert browser.press(asked, "Go on", code=now).status == 403
    inside = browser.press(asked, "Go on", code=codes[0])
    assert "9 recovery codes" in inside.text
    off = browser.press(inside, "Turn it off", code="000000")
    assert off.status == 403
    assert "Not set up" in browser.press(inside, "Turn it off", code=codes[1]).text
    assert house.token("ann", PASSWORD) == 200


def test_codes_cannot_be_guessed_in_one_login(house: House) -> None:
    house.user("ann")
    page = house.browser.press(house.enter("ann"), "Set it up")
    secret = base64.b32decode(page.codes[0])
    first = totp.hotp(secret, totp.step_at(time.time()) - 1)
    house.browser.press(page, "Turn it on", code=first)
    house.browser.cookies().clear()
    asked = house.enter("ann")
    assert "Second factor" in asked.text
    for guess in range(6):
        house.browser.press(asked, "Go on", code=f"{guess:06}")
    good = totp.hotp(secret, totp.step_at(time.time()))
    assert house.browser.press(asked, "Go on", code=good).status in (403, 429)
    assert "argosy-session" not in house.browser.cookies()


def at_provider(house: House, page: Page, user: str) -> Page:
    """Log in at the provider's form and come back."""
    house.browser.cookies(house.oidc.issuer)
    form = page.form("Log in")
    assert page.url.startswith(house.oidc.issuer), page.url
    form.action = page.url
    return house.browser.press(page, "Log in", user=user, password=user[::-1])


def test_a_login_at_the_provider_makes_a_user_whose_token_outlives_it(house: House) -> None:
    page = house.browser.get("/login?next=/account")
    back = at_provider(house, house.browser.follow(page, "Log in with single sign-on"), "ann")
    assert back.url == f"{house.home}/account"
    assert "ann (oidc, ann@idp.test), a system admin" in back.text
    assert "Groups: dev, ops" in back.text
    secret = house.browser.press(back, "Make a token", name="cli", days="").codes[0]
    house.oidc.down = True
    assert house.token("ann", secret) == 200
    assert house.token("ann", "nna") == 401  # the provider's password is nothing here


def test_a_name_that_is_taken_is_told_and_not_taken_over(house: House) -> None:
    house.user("bob")
    page = house.browser.get("/auth/oidc/login")
    back = at_provider(house, page, "bob")
    assert back.status == 403
    assert "the name bob is that of a local user here" in back.text.lower()
    assert "argosy-session" not in house.browser.cookies()


def test_a_login_begun_elsewhere_does_not_end_here(house: House) -> None:
    page = house.browser.get("/auth/oidc/login")
    victim = replace(house, browser=Browser(house.home))
    back = at_provider(victim, page, "ann")
    assert back.status == 403
    assert "not begun in this browser" in back.text


def test_a_provider_that_is_down_is_told_and_local_users_go_on(house: House) -> None:
    house.user("ann")
    house.oidc.down = True
    assert house.browser.get("/auth/oidc/login").status == 503
    assert house.enter("ann").status == 200


def test_unknown_pages_and_methods_are_told(house: House) -> None:
    assert house.browser.get("/auth/nothing").status == 404
    answer = house.client("DELETE", "/login")
    assert answer.status == 405
    assert answer["Allow"] == "GET, POST"
    assert house.client("POST", "/login", b"x" * (1 << 20)).status == 413


def test_without_access_control_there_are_no_pages(tmp_path: Path) -> None:
    with served(tmp_path) as (client, _):
        assert client("GET", "/login").status == 404


def form(**fields: str) -> tuple[str, dict[str, str]]:
    from urllib.parse import urlencode

    return urlencode(fields), {"Content-Type": "application/x-www-form-urlencoded"}


def begun(house: House, **more: str) -> dict[str, Any]:
    answer = house.client("POST", "/auth/device", *form(client="argosy on laptop", **more))
    assert answer.status == 200, answer.body
    return dict(answer.json)


def polled(house: House, told: dict[str, Any]) -> Any:
    return house.client("POST", "/auth/device/token", *form(device_code=told["device_code"])).json


def test_a_command_line_gets_a_token_when_a_person_says_yes(house: House) -> None:
    house.user("ann")
    told = begun(house)
    assert polled(house, told)["error"] == "authorization_pending"
    page = house.enter("ann", at=told["verification_uri_complete"])
    assert "argosy on laptop at 127.0.0.1 wants to act as ann" in page.text
    assert told["user_code"] in page.text
    assert polled(house, told)["error"] == "authorization_pending"
    assert "let in" in house.browser.press(page, "Yes").text
    given = polled(house, told)
    assert given["username"] == "ann"
    assert house.token("ann", given["token"]) == 200
    assert polled(house, told)["error"] == "expired_token"


def test_a_code_can_be_typed_as_people_type(house: House) -> None:
    house.user("ann")
    told = begun(house)
    page = house.enter("ann", at="/auth/device")
    typed = told["user_code"].lower().replace("-", " ")
    page = house.browser.press(page, "Go on", user_code=typed)
    house.browser.press(page, "No")
    assert polled(house, told)["error"] == "access_denied"


def test_a_code_that_nobody_shows_does_nothing(house: House) -> None:
    house.user("ann")
    page = house.enter("ann", at="/auth/device")
    for code in ("BBBB-BBBB", "x", "<script>"):
        assert (
            "No command line shows that code"
            in house.browser.press(page, "Go on", user_code=code).text
        )


def test_the_device_flow_of_the_provider_is_used_where_it_is_asked_for(house: House) -> None:
    told = begun(house, flow="provider")
    assert told["verification_uri"] == f"{house.oidc.issuer}/activate"
    assert polled(house, told)["error"] == "authorization_pending"
    house.oidc.decided[told["user_code"]] = ("ann", True)
    given = polled(house, told)
    assert given["username"] == "ann"
    assert house.token("ann", given["token"]) == 200


def test_without_it_our_own_page_does(house: House) -> None:
    house.oidc.metadata = {"device_authorization_endpoint": None}
    told = begun(house, flow="provider")
    assert told["verification_uri"] == f"{house.home}/auth/device"
    page = at_provider(house, house.browser.get("/auth/oidc/login?next=/auth/device"), "ann")
    page = house.browser.press(page, "Go on", user_code=told["user_code"])
    house.browser.press(page, "Yes")
    assert polled(house, told)["username"] == "ann"


def test_nobody_fills_the_database_with_logins_that_are_never_ended(house: House) -> None:
    statuses = [house.client("POST", "/auth/device", *form()).status for _ in range(32)]
    assert statuses == [200] * 30 + [429] * 2
    answer = house.client("GET", "/auth/oidc/login")
    assert answer.status == 429
    assert 0 < int(answer["Retry-After"]) <= 60


def test_an_address_may_begin_again_when_its_minute_is_over() -> None:
    seen = Beginnings(most=2, window=60.0)
    assert [seen.wait("10.0.0.1", at) for at in (0.0, 10.0, 20.0)] == [0.0, 0.0, 40.0]
    assert seen.wait("10.0.0.2", 20.0) == 0.0
    assert seen.wait("10.0.0.1", 61.0) == 0.0
    # Of IPv6 a household has a whole /64.
    assert [seen.wait(f"2001:db8::{n}", 0.0) > 0 for n in range(3)] == [False, False, True]


def test_what_people_did_is_in_the_audit_log_without_their_secrets(house: House) -> None:
    house.user("ann")
    made = house.browser.press(house.enter("ann"), "Make a token", name="laptop", days="")
    from argosy.catalog import schema as t

    def read(conn: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in conn.execute(t.audit.select()).mappings()]

    rows = house.serving.run(house.serving.app.catalog.database.read(read))
    actions = {(row["actor"], row["action"]) for row in rows}
    assert {("ann", "user.login"), ("ann", "token.create")} <= actions
    assert all(row["address"] == "127.0.0.1" for row in rows if row["action"] == "user.login")
    told = json.dumps(rows, default=str)
    assert made.codes[0] not in told
    assert PASSWORD not in told
