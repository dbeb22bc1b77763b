"""Docker's token service, as its clients talk to it (token.md, oauth.md)."""

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import Connection, select

from argosy.access.permissions.permission import Role
from argosy.catalog import schema as t
from argosy.catalog.actor import SYSTEM
from tests.guarded import PASSWORD, World, guarded
from tests.serving import Answer

pytestmark = pytest.mark.slow

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with guarded(tmp_path_factory.mktemp("tokens")) as found:
        found.client.by("root", PASSWORD).at("team/app").push_image("v1")
        found.user("dev", Role.DEVELOPER)
        found.user("guest", Role.GUEST)
        yield found


def get(world: World, name: str = "", **query: Any) -> Answer:
    client = world.client.by(name, PASSWORD) if name else world.client
    return client("GET", f"/token?{urlencode(query, doseq=True)}")


def post(world: World, **form: str) -> Answer:
    return world.client("POST", "/token", urlencode(form), FORM)


def actions(world: World, token: str) -> dict[str, set[str]]:
    """What a token opens, found out by trying."""
    client, found = world.client.bearing(token), {}
    for name in ("team/app", "team/other", "elsewhere/app"):
        tries = {
            "pull": client.at(name)("GET", "manifests/nothing").status == 404,
            "push": client.at(name)("POST", "blobs/uploads/").status == 202,
            "delete": client.at(name)("DELETE", "manifests/nothing").status == 404,
        }
        if opened := {what for what, fine in tries.items() if fine}:
            found[name] = opened
    return found


def test_the_challenge_leads_to_a_token_that_opens_what_it_named(world: World) -> None:
    asked = world.client.at("team/app")("GET", "manifests/v1")
    assert asked.status == 401
    challenge = asked["WWW-Authenticate"]
    assert challenge == (
        f'Bearer realm="http://127.0.0.1:{world.client.port}/token",service="argosy",'
        'scope="repository:team/app:pull"'
    )
    token = get(world, "guest", service="argosy", scope="repository:team/app:pull").json["token"]
    assert world.client.bearing(token).at("team/app")("GET", "manifests/v1").status == 200


def test_the_answer_has_what_clients_of_all_ages_read(world: World) -> None:
    value = get(world, "guest", scope="repository:team/app:pull").json
    assert value["token"] == value["access_token"]
    assert value["expires_in"] >= 60
    issued = datetime.strptime(value["issued_at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs(issued.timestamp() - time.time()) < 30
    assert "refresh_token" not in value


def test_less_than_was_asked_for_is_an_answer(world: World) -> None:
    asked = get(world, "guest", scope="repository:team/app:pull,push")
    assert asked.status == 200
    assert actions(world, asked.json["token"]) == {"team/app": {"pull"}}


def test_nothing_of_what_was_asked_for_is_an_answer_too(world: World) -> None:
    for name in ("", "guest"):
        asked = get(world, name, scope="repository:elsewhere/app:pull")
        assert asked.status == 200
        assert actions(world, asked.json["token"]) == {}


def test_scopes_may_be_repeated_and_separated_by_blanks(world: World) -> None:
    both = ["repository:team/app:pull", "repository:team/other:pull,push"]
    for scope in (both, " ".join(both)):
        token = get(world, "dev", scope=scope).json["token"]
        assert actions(world, token) == {"team/app": {"pull"}, "team/other": {"pull", "push"}}


def test_a_star_is_every_action_that_one_has(world: World) -> None:
    token = get(world, "dev", scope="repository:team/app:*").json["token"]
    assert actions(world, token) == {"team/app": {"pull", "push"}}


@pytest.mark.parametrize(
    "scope", ["repository", "repository:", "repository:team/app", "::", "repository::pull"]
)
def test_what_is_no_scope_is_refused(world: World, scope: str) -> None:
    asked = get(world, "dev", scope=scope)
    assert (asked.status, asked.json["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "scope",
    [
        "plugin:team/app:pull",
        "repository:TEAM/App:pull",
        "repository:../etc:pull",
        "repository:team/app:execute",
        "registry:other:*",
    ],
)
def test_what_nobody_has_is_not_granted(world: World, scope: str) -> None:
    asked = get(world, "root", scope=scope)
    assert (asked.status, claims(asked)["access"]) == (200, [])


def claims(answer: Answer) -> dict[str, Any]:
    """What a token says, unverified."""
    import base64

    part = answer.json["token"].split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))


def test_a_wrong_password_is_refused_in_both_languages(world: World) -> None:
    asked = world.client.by("dev", "wrong")("GET", "/token?scope=repository:team/app:pull")
    assert asked.status == 401
    assert asked["WWW-Authenticate"].startswith("Basic ")
    assert asked.json["error"] == "invalid_grant"
    assert asked.code == "UNAUTHORIZED"


def test_oauth2_gives_a_token_for_a_password(world: World) -> None:
    value = post(
        world,
        grant_type="password",
        username="dev",
        password=PASSWORD,
        service="argosy",
        client_id="a test",
        scope="repository:team/app:pull,push",
    ).json
    assert value["scope"] == "repository:team/app:pull,push"
    assert actions(world, value["access_token"]) == {"team/app": {"pull", "push"}}


def test_a_refresh_token_stands_for_the_password_until_it_changes(world: World) -> None:
    world.user("mover", Role.DEVELOPER)
    refresh = get(world, "mover", offline_token="true", client_id="docker").json["refresh_token"]
    form = {"grant_type": "refresh_token", "refresh_token": refresh, "service": "argosy"}
    again = post(world, **form, scope="repository:team/app:pull")
    assert (again.status, again.json["refresh_token"]) == (200, refresh)
    assert actions(world, again.json["access_token"]) == {"team/app": {"pull"}}
    world.run(world.access.users.set_password(SYSTEM, "mover", "another good one"))
    assert post(world, **form).json["error"] == "invalid_grant"


def test_a_refresh_token_for_a_password_grant_is_given_on_request_only(world: World) -> None:
    form = {"grant_type": "password", "username": "dev", "password": PASSWORD}
    assert "refresh_token" not in post(world, **form).json
    assert post(world, **form, access_type="offline").json["refresh_token"].startswith("arg_ref_")


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"grant_type": "authorization_code", "code": "x"}, "unsupported_grant_type"),
        ({}, "invalid_request"),
    ],
)
def test_other_grants_are_refused_as_oauth2_says(
    world: World, form: dict[str, str], error: str
) -> None:
    refused = post(world, **form)
    assert (refused.status, refused.json["error"]) == (400, error)


def test_a_form_has_to_be_one(world: World) -> None:
    assert world.client("POST", "/token", "{}", {"Content-Type": "application/json"}).status == 400
    assert world.client("PUT", "/token", "").status == 405


def test_a_form_that_is_too_long_is_refused(world: World) -> None:
    refused = post(world, grant_type="password", username="dev", password="x" * 100_000)
    assert (refused.status, refused.json["error"]) == (413, "invalid_request")
    many = "&".join(f"f{n}=1" for n in range(200))
    assert world.client("POST", "/token", many, FORM).status == 400


def test_every_login_that_is_refused_is_in_the_audit_log(world: World) -> None:
    world.client.by("mallory", "guess")("GET", "/token")
    post(world, grant_type="password", username="trudy", password="guess")
    post(world, grant_type="refresh_token", refresh_token="arg_ref_" + "a" * 36)
    world.client.by("dev", PASSWORD).at("elsewhere/app")("GET", "manifests/v1")
    a = t.audit.c

    def denied(conn: Connection) -> list[tuple[Any, ...]]:
        found = select(a.actor, a.action, a.resource, a.details).where(a.outcome == "denied")
        return [tuple(row) for row in conn.execute(found)]

    async def written() -> list[tuple[Any, ...]]:
        async with asyncio.timeout(20):
            while True:
                rows = await world.serving.app.catalog.database.read(denied)
                if {"mallory", "trudy"} <= {row[3].get("as") for row in rows}:
                    return rows
                await asyncio.sleep(0.05)

    rows = world.run(written())
    assert any(row[3].get("as") == "a refresh token" for row in rows)
    pulled = [row for row in rows if row[0] == "dev" and row[2].startswith("elsewhere/app")]
    assert "dev lacks pull on repository elsewhere/app" in pulled[0][3]["reason"]
    assert "guess" not in str(rows)


def test_an_access_token_gives_no_tokens(world: World) -> None:
    token = get(world, "dev", scope="repository:team/app:pull").json["token"]
    asked = world.client.bearing(token)("GET", "/token?scope=repository:team/app:push")
    assert asked.status == 401


def test_a_mount_needs_two_scopes_and_the_challenge_says_so(world: World) -> None:
    path = "/v2/team/new/blobs/uploads/?mount=sha256:" + "0" * 64 + "&from=team/app"
    challenge = world.client("POST", path)["WWW-Authenticate"]
    assert 'scope="repository:team/new:pull,push repository:team/app:pull"' in challenge


def test_a_token_for_less_is_told_that_it_needs_more(world: World) -> None:
    token = get(world, "dev", scope="repository:team/app:pull").json["token"]
    refused = world.client.bearing(token).at("team/app")("POST", "blobs/uploads/")
    assert refused.status == 401
    assert 'error="insufficient_scope"' in refused["WWW-Authenticate"]
    assert 'scope="repository:team/app:pull,push"' in refused["WWW-Authenticate"]


def test_the_realm_is_what_the_client_called_us_but_never_what_it_made_up(world: World) -> None:
    for host, realm in (
        ("registry.example:5000", "http://registry.example:5000/token"),
        ('x",scope="y', "http://localhost/token"),
        ("a b", "http://localhost/token"),
    ):
        challenge = world.client("GET", "/v2/", headers={"Host": host})["WWW-Authenticate"]
        assert challenge == f'Bearer realm="{realm}",service="argosy"'


def test_who_is_nobody_gets_tokens_for_what_is_public(world: World) -> None:
    world.client.by("root", PASSWORD).at("open/app").push_image("v1")
    token = get(world, scope="repository:open/app:pull,push").json["token"]
    assert world.client.bearing(token).at("open/app")("GET", "manifests/v1").status == 200
    refused = world.client.bearing(token).at("open/app")("POST", "blobs/uploads/")
    assert refused.status == 401  # log in, and it may be possible


def test_login_is_checked_at_v2(world: World) -> None:
    assert world.client("GET", "/v2/").status == 401
    assert world.client.by("dev", PASSWORD)("GET", "/v2/").status == 200
    assert world.client.by("dev", "wrong")("GET", "/v2/").status == 401
    token = get(world, "dev").json["token"]
    assert world.client.bearing(token)("GET", "/v2/").status == 200


def test_more_scopes_than_a_token_can_hold_are_refused(world: World) -> None:
    assert get(world, "dev", scope=[f"repository:team/n{n}:pull" for n in range(51)]).status == 400
    long = [f"repository:team/{'a' * 200}{n}:pull" for n in range(49)]
    assert get(world, "dev", scope=long).json["error"] == "invalid_request"
    token = get(world, "dev", scope=long[:30]).json["token"]
    name = f"team/{'a' * 200}7"
    assert world.client.bearing(token).at(name)("GET", "tags/list").status == 404
