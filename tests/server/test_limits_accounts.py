"""Limits where people have names: each account has its own, whatever it shows to prove itself."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from argosy.access.permissions.permission import Role
from argosy.catalog.actor import SYSTEM
from argosy.catalog.projects.places import ProjectUnknown
from argosy.catalog.projects.projects import ProjectChange, Projects
from argosy.catalog.projects.quotas import Quota
from argosy.server.config.sections import LimitsSection, ServerSettings
from argosy.server.starting.opening import embedded
from tests.guarded import ADMIN, PASSWORD, guarded
from tests.serving import digest


def limited(path: Path, burst: int) -> ServerSettings:
    return replace(embedded(str(path)), limits=LimitsSection(requests=0.001, burst=burst))


def test_each_account_has_its_own_limit_and_a_token_is_its_owner_s(tmp_path: Path) -> None:
    with guarded(tmp_path, plain=limited(tmp_path, 6)) as world:
        ada, eve = world.user("ada", Role.DEVELOPER), world.user("eve", Role.DEVELOPER)
        token = world.client.by("ada", world.token("ada"))
        robot = world.client.by(*world.robot("ci", "repository:team/**:pull", project="team"))

        def asked(*clients: Any, times: int = 4) -> list[int]:
            turns = [c.at("team/app") for _ in range(times) for c in clients]
            return [repo("GET", "tags/list").status for repo in turns]

        # Six for ada, with her password and with her token together.
        assert sorted(asked(ada, token)) == [404] * 6 + [429] * 2
        assert asked(eve) == [404] * 4
        assert 429 not in asked(robot)
        refused = ada.at("team/app")("GET", "tags/list")
        assert "account ada" in refused.json["errors"][0]["message"]


def test_all_addresses_of_one_network_are_one_client(tmp_path: Path) -> None:
    """Of IPv6, who has one address has all of a /64."""
    plain = limited(tmp_path, 6)
    plain = replace(plain, server=replace(plain.server, trusted_proxies=("127.0.0.1",)))
    with guarded(tmp_path, plain=plain) as world:

        def asked(network: str) -> list[int]:
            places = [{"X-Forwarded-For": f"{network}:{n:x}"} for n in range(8)]
            return [world.client("GET", "/v2/open/a/tags/list", headers=at).status for at in places]

        assert asked("2001:db8:1:2:") == [404] * 6 + [429] * 2
        assert asked("2001:db8:1:3:") == [404] * 6 + [429] * 2


def test_who_may_not_is_told_so_and_charged_nothing(tmp_path: Path) -> None:
    with guarded(tmp_path, plain=limited(tmp_path, 2)) as world:
        eve = world.user("eve")
        denied = [eve.at("team/app")("GET", "tags/list").status for _ in range(5)]
        assert 429 not in denied


def test_only_an_admin_s_push_makes_a_project(tmp_path: Path) -> None:
    with guarded(tmp_path) as world:
        robot = world.client.by(*world.robot("all", "repository:**:pull,push"))
        for query, body in ((f"?digest={digest(b'x')}", b"x"), ("", None)):
            refused = robot.at("fresh/app")("POST", f"blobs/uploads/{query}", body)
            assert (refused.status, refused.code) == (404, "NAME_UNKNOWN")
        assert not [f for f in (tmp_path / "blobs").rglob("*") if f.is_file()]
        projects = Projects(world.serving.app.catalog.database)
        with pytest.raises(ProjectUnknown):
            world.run(projects.get("fresh"))
        admin = world.client.by(ADMIN, PASSWORD)
        asked = admin("GET", "/token?service=argosy&scope=repository:by-token/app:push")
        admin.bearing(asked.json["token"]).at("by-token/app").push_blob(b"x")
        admin.at("fresh/app").push_blob(b"x")
        robot.at("fresh/app").push_blob(b"y")


def test_a_quota_refusal_is_for_who_may_push_only(tmp_path: Path) -> None:
    with guarded(tmp_path) as world:
        projects = Projects(world.serving.app.catalog.database)
        world.run(projects.update("team", ProjectChange(quota=Quota(bytes=0)), by=SYSTEM))
        ada, eve = world.user("ada", Role.DEVELOPER), world.user("eve", Role.GUEST)
        told = ada.at("team/app")("POST", "blobs/uploads/")
        assert (told.status, told.code) == (403, "DENIED")
        assert "quota" in told.json["errors"][0]["message"]
        other = eve.at("team/app")("POST", "blobs/uploads/")
        assert other.status == 403
        assert b"quota" not in other.body
