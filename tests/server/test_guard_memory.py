"""What memory knows is answered without waiting, and forgotten the moment that it is not so any more."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, update

from argosy.access.accounts.robots import RobotChange
from argosy.access.accounts.users import UserChange
from argosy.access.permissions.decision import Allow
from argosy.access.permissions.permission import Permission, Role
from argosy.catalog import schema as t
from argosy.catalog.actor import SYSTEM
from argosy.catalog.databases.announcing import changed
from argosy.errors import StorageError
from argosy.server.http.messages import Headers, Request
from argosy.server.v2.needs import need
from tests.guarded import PASSWORD, World, guarded
from tests.serving import Client, image

pytestmark = pytest.mark.slow

PULL = need("manifests", "team/app", "GET")
PUSH = need("uploads", "team/app", "POST")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with guarded(tmp_path, watched=True) as found:
        found.client.by("root", PASSWORD).at("team/app").push_image("v1")
        found.client.by("root", PASSWORD).at("open/app").push_image("v1")
        found.user("dev", Role.DEVELOPER)
        yield found


def token(world: World, client: Client, scope: str = "repository:team/app:pull,push") -> str:
    return str(client("GET", f"/token?scope={scope}").json["token"])


def at_once(world: World, shown: str, wanted: Permission = PULL) -> Any:
    """What the guard says from memory alone."""
    headers = Headers([("authorization", shown)] if shown else [])
    request = Request("GET", "/v2/team/app/manifests/v1", headers=headers)
    guard = world.serving.app.admission.guard
    return guard.at_once(request, wanted)


def status(client: Client, method: str = "GET", path: str = "manifests/v1") -> int:
    return client.at("team/app")(method, path).status


def test_the_second_request_is_answered_from_memory(world: World) -> None:
    dev = world.client.by("dev", PASSWORD)
    for client in (dev, world.client.bearing(token(world, dev))):
        if client is not dev:
            assert at_once(world, client.shown) is None
        assert status(client) == 200
        decision = at_once(world, client.shown)
        assert isinstance(decision, Allow)
        assert decision.principal.name == "dev"
        assert isinstance(at_once(world, client.shown, PUSH), Allow)


def test_public_projects_are_answered_from_memory_without_a_name(world: World) -> None:
    wanted = need("manifests", "open/app", "GET")
    assert at_once(world, "", wanted) is None
    assert world.client.at("open/app")("GET", "manifests/v1").status == 200
    assert isinstance(at_once(world, "", wanted), Allow)
    assert at_once(world, "", PULL) is None


def test_a_project_that_is_closed_is_closed_at_once(world: World) -> None:
    anybody = world.client.at("open/app")
    assert anybody("GET", "manifests/v1").status == 200

    def close(conn: Connection) -> None:
        conn.execute(update(t.projects).where(t.projects.c.name == "open").values(public=False))
        changed(conn, ("project", "open"))

    world.run(world.serving.app.catalog.database.write(close))
    assert anybody("GET", "manifests/v1").status == 401


def test_a_right_that_is_taken_away_ends_tokens_too(world: World) -> None:
    dev = world.client.by("dev", PASSWORD)
    bearer = world.client.bearing(token(world, dev))
    assert status(bearer, "POST", "blobs/uploads/") == 202
    world.run(world.access.members.put(SYSTEM, "team", "user", "dev", Role.GUEST))
    assert status(bearer, "POST", "blobs/uploads/") == 403
    assert status(bearer) == 200
    world.run(world.access.members.remove(SYSTEM, "team", "user", "dev"))
    assert status(bearer) == 403


def test_who_is_disabled_is_out_with_all_that_they_hold(world: World) -> None:
    dev = world.client.by("dev", PASSWORD)
    pat = world.client.by("dev", world.token("dev"))
    held = [dev, pat, *(world.client.bearing(token(world, client)) for client in (dev, pat))]
    assert [status(client) for client in held] == [200] * 4
    world.run(world.access.users.update(SYSTEM, "dev", UserChange(disabled=True)))
    assert [status(client) for client in held] == [401] * 4


def test_a_robot_that_is_disabled_is_out_and_in_again(world: World) -> None:
    name, secret = world.robot("ci", "repository:team/**:pull,push", project="team")
    robot = world.client.by(name, secret)
    held = [robot, world.client.bearing(token(world, robot))]
    root = world.principal("root")
    for disabled, expected in ((False, 200), (True, 401), (False, 200)):
        change = RobotChange(disabled=disabled)
        world.run(world.access.robots.update(SYSTEM, root, name, change))
        assert [status(client) for client in held] == [expected] * 2


def test_while_the_database_is_away_tokens_speak_for_themselves(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev = world.client.by("dev", PASSWORD)
    bearer = world.client.bearing(token(world, dev))
    assert status(bearer) == 200

    async def away(*_: Any) -> Any:
        raise StorageError("the database is away")

    monkeypatch.setattr(world.access.authority, "standing", away)
    monkeypatch.setattr(world.access.authority, "known", lambda _: None)
    assert status(bearer) == 200  # the manifest is in memory
    assert status(dev) == 500


def test_while_the_database_is_away_a_token_of_nobody_speaks_for_itself(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where memory knows still that the project is public."""
    given = token(world, world.client, "repository:open/app:pull")
    bearer = world.client.bearing(given).at("open/app")
    assert bearer("GET", "manifests/v1").status == 200

    async def away(*_: Any) -> Any:
        raise StorageError("the database is away")

    monkeypatch.setattr(world.access.authority, "standing", away)
    monkeypatch.setattr(world.access.authority, "known", lambda _: None)
    assert world.access.authority.known_public("open")
    assert bearer("GET", "manifests/v1").status == 200


def test_guessing_over_http_is_told_when_to_try_again(world: World) -> None:
    for number in range(5):
        assert world.client.by("dev", f"guess {number}")("GET", "/v2/").status == 401
    for path in ("/v2/", "/token"):
        slowed = world.client.by("dev", "guess again")("GET", path)
        assert slowed.status == 429
        assert int(slowed["Retry-After"]) >= 1
        assert slowed.code == "TOOMANYREQUESTS"
    assert status(world.client.by("dev", world.token("dev"))) == 200


@pytest.mark.parametrize(
    "shown",
    [
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
        "Bearer",
        "Bearer ",
        "Bearer x.y.z",
        "Bearer " + "A" * 30_000,
        "Digest username=dev",
        "arg_pat_x",
        "Bearer arg_pat_" + "a" * 36,
    ],
)
def test_what_is_no_credential_is_refused_and_never_fails(world: World, shown: str) -> None:
    refused = world.client("GET", "/v2/team/app/manifests/v1", headers={"Authorization": shown})
    assert refused.status in (401, 431)
    if refused.status == 401:
        assert "Bearer realm=" in refused["WWW-Authenticate"]


def test_a_personal_access_token_is_taken_as_bearer_as_well(world: World) -> None:
    assert status(world.client.bearing(world.token("dev"))) == 200
    narrow = world.client.bearing(world.token("dev", "repository:team/other:pull"))
    assert status(narrow) == 403


def test_pushing_and_pulling_as_a_robot_works_to_the_end(world: World) -> None:
    name, secret = world.robot("ci", "repository:team/**:pull,push", project="team")
    basic = world.client.by(name, secret).at("team/new")
    assert basic.push_image("v1")
    bearer = world.client.bearing(
        token(world, world.client.by(name, secret), "repository:team/new:pull,push")
    ).at("team/new")
    assert bearer.push_image("v2", seed="other")
    assert bearer("GET", "tags/list").json["tags"] == ["v1", "v2"]
    assert bearer("DELETE", "manifests/v1").status == 403


def test_a_tags_history_says_who_moved_it(world: World) -> None:
    dev = world.client.by("dev", PASSWORD).at("team/app")
    dev.push_image("mine")
    h = t.tag_history.c

    def actors(conn: Connection) -> list[str]:
        from sqlalchemy import select

        return list(conn.execute(select(h.actor).where(h.name == "mine")).scalars())

    assert world.run(world.serving.app.catalog.database.read(actors)) == ["dev"]


def test_denials_are_in_the_registrys_format(world: World) -> None:
    world.user("nobody")
    refused = world.client.by("nobody", PASSWORD).at("team/app")
    body = json.dumps(image(b"{}")).encode()
    for method, path, data in (("PUT", "manifests/v1", body), ("DELETE", "manifests/v1", None)):
        answer = refused(method, path, data)
        assert (answer.status, answer.code) == (403, "DENIED")
        assert answer["Docker-Distribution-Api-Version"] == "registry/2.0"
        detail = answer.json["errors"][0]["detail"][0]
        assert (detail["Type"], detail["Name"]) == ("repository", "team/app")
