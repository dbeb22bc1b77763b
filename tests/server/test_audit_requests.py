"""What requests leave in the audit log: every change, every denial, and who it was."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from argosy.access.permissions.permission import Role
from argosy.catalog import schema as t
from argosy.catalog.auditing.chain import GENESIS, link
from argosy.catalog.auditing.sealing import Sealer
from argosy.catalog.auditing.verifying import verify
from argosy.meters import declared as meters
from argosy.server.config.sections import AuditSection
from argosy.server.observing import managed
from argosy.server.starting.opening import embedded
from tests.guarded import ADMIN, PASSWORD, World, guarded
from tests.serving import Serving, served


def entries(serving: Serving, **wanted: str) -> list[dict[str, Any]]:
    """The entries with these values, oldest first; what is held in memory is written first."""
    serving.run(serving.app.auditing.denials.flush())
    found = serving.run(
        serving.app.catalog.database.read(
            lambda conn: conn.execute(select(t.audit).order_by(t.audit.c.id)).mappings().all()
        )
    )
    return [dict(row) for row in found if all(row[k] == v for k, v in wanted.items())]


def as_json(value: Any, tag: str | None = None) -> tuple[bytes, dict[str, str]]:
    """A body of the management API, and its headers."""
    known = {"If-Match": tag} if tag else {}
    return json.dumps(value).encode(), {"Content-Type": "application/json", **known}


def test_every_change_of_a_repository_is_an_entry_with_its_request(tmp_path: Path) -> None:
    with served(tmp_path) as (client, serving):
        repo = client.at("team/app")
        image = repo.push_image("v1", "x")
        body = repo("GET", "manifests/v1").body
        kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        put = repo("PUT", "manifests/v2", body, {**kind, "X-Request-Id": "ci-4711"})
        assert put["X-Request-Id"] == "ci-4711"
        assert repo("DELETE", "manifests/v2").status == 202
        assert repo("DELETE", f"manifests/{image['digest']}").status == 202
        blob = json.loads(body)["layers"][0]["digest"]
        assert repo("DELETE", f"blobs/{blob}").status == 202
        found = entries(serving)
        said = [(e["action"], e["resource"], e["digest"], e["outcome"]) for e in found]
        assert [s for s in said if s[0].startswith(("manifest", "tag", "blob"))] == [
            ("manifest.push", "team/app:v1", image["digest"], "done"),
            ("manifest.push", "team/app:v2", image["digest"], "done"),
            ("tag.delete", "team/app:v2", said[-3][2], "done"),
            ("manifest.delete", "team/app:v1", image["digest"], "done"),
            ("blob.delete", "team/app", blob, "done"),
        ]
        pushed = next(e for e in found if e["request"] == "ci-4711")
        assert (pushed["resource"], pushed["address"], pushed["project"]) == (
            "team/app:v2",
            "127.0.0.1",
            "team",
        )
        assert (pushed["actor"], pushed["actor_kind"]) == ("", "anonymous")
        assert len({e["request"] for e in found}) >= 5
        serving.run(Sealer(serving.app.catalog.database).once())
        assert serving.run(verify(serving.app.catalog.database)).broken is None


def test_a_change_that_fails_is_no_entry(tmp_path: Path) -> None:
    with served(tmp_path) as (client, serving):
        repo = client.at("team/app")
        assert repo.put_manifest("v1", b'{"schemaVersion":2}').status == 400
        assert repo("DELETE", "manifests/none").status == 404
        assert entries(serving) == []


def test_who_is_denied_what_and_why_is_an_entry(tmp_path: Path) -> None:
    with guarded(tmp_path) as world:
        guest = world.user("gina", Role.GUEST).at("team/app")
        stranger = world.user("sam").at("team/app")
        before = len(entries(world.serving, outcome="denied"))
        assert before == 0
        assert guest("POST", "blobs/uploads/").status == 403
        assert guest("DELETE", "manifests/v1").status == 403
        for _ in range(5):
            assert stranger("GET", "manifests/v1").status in (401, 403, 404)
        found = entries(world.serving, outcome="denied")
        said = [
            (e["actor"], e["actor_kind"], e["action"], e["resource"], e["count"]) for e in found
        ]
        assert ("gina", "user", "blob.push", "team/app", 1) in said
        assert ("gina", "user", "manifest.delete", "team/app:v1", 1) in said
        assert ("sam", "user", "manifest.pull", "team/app:v1", 5) in said
        assert all(e["details"]["reason"] for e in found)
        assert all(e["address"] == "127.0.0.1" for e in found)


def test_what_a_rule_or_a_quota_keeps_from_somebody_is_an_entry_with_the_reason(
    tmp_path: Path,
) -> None:
    with guarded(tmp_path) as world:
        admin = world.client.by(ADMIN, PASSWORD)
        dana = world.user("dana", Role.MAINTAINER).at("team/app")
        dana.push_image("v1", "x")
        before = dana("GET", "manifests/v1").body
        dana.push_image("v2", "z")
        dana.push_image("v2", "y")
        rule = {"tags": "v*"}
        assert admin("POST", "/api/v1/projects/team/tag-rules", *as_json(rule)).status == 201
        kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        assert dana("PUT", "manifests/v2", before, kind).status == 412
        assert dana("DELETE", "manifests/v1").status == 412
        stale = dana("PUT", "manifests/v2", before, {**kind, "If-Match": '"sha256:0"'})
        assert stale.status == 412  # lost a race: nothing was kept from anybody
        full = {"artifacts": 1}
        tag = admin("GET", "/api/v1/projects/team/quota")["ETag"]
        set_ = admin("PATCH", "/api/v1/projects/team/quota", *as_json(full, tag))
        assert set_.status == 200, set_.body
        said = [
            (e["actor"], e["action"], e["resource"], e["project"], e["details"]["reason"])
            for e in entries(world.serving, outcome="denied")
        ]
        kept = "a rule of the project keeps the tag"
        assert said == [
            ("dana", "manifest.push", "team/app:v2", "team", kept),
            ("dana", "manifest.delete", "team/app:v1", "team", kept),
        ]
        undo = world.client.by("dana", PASSWORD)
        path = "/api/v1/repositories/team%2Fapp/tags/v2"
        assert undo("POST", f"{path}/undo", *as_json({})).status == 409
        (undone,) = entries(world.serving, outcome="denied")[2:]
        assert (undone["action"], undone["project"]) == ("tag.undo", "team")
        other = json.loads(before) | {"annotations": {"a": "b"}}
        assert dana("PUT", "manifests/v3", json.dumps(other).encode(), kind).status == 403
        (last,) = entries(world.serving, outcome="denied")[3:]
        assert (last["resource"], last["details"]["reason"]) == (
            "team/app:v3",
            "the quota of the project",
        )


def test_who_is_denied_something_of_the_api_is_found_as_who_did_it_would_be(tmp_path: Path) -> None:
    with guarded(tmp_path) as world:
        sam = world.user("sam")
        assert sam("DELETE", "/api/v1/users/ada").status == 403
        robot = {"name": "ci", "grants": ["repository:team/**:pull"]}
        asked = sam("POST", "/api/v1/projects/team/robots", *as_json(robot))
        assert asked.status == 403
        assert sam("DELETE", "/api/v1/repositories/team%2Fapp/tags/v1").status == 403
        said = [
            (e["action"], e["resource"], e["project"])
            for e in entries(world.serving, outcome="denied")
        ]
        assert said == [
            ("user.delete", "users/ada", ""),
            ("robot.create", "projects/team/robots", "team"),
            ("tag.delete", "repositories/team/app/tags/v1", "team"),
        ]


@pytest.mark.parametrize(
    ("operation", "action"),
    [
        ("createSystemRobot", "robot.create"),
        ("revokeUserToken", "token.revoke"),
        ("deleteTagRule", "tag-rule.delete"),
        ("listRepositories", "repository.list"),
        ("updateProject", "project.update"),
        ("updateMember", "member.set"),
        ("changePassword", "user.password"),
        ("manifests", ""),
    ],
)
def test_an_operation_is_called_what_its_change_is(operation: str, action: str) -> None:
    assert managed.action(operation) == action


def test_a_wrong_password_is_an_entry_with_the_name_that_was_tried(tmp_path: Path) -> None:
    with guarded(tmp_path) as world:
        world.user("alice", Role.DEVELOPER)
        before = _logins("wrong")
        wrong = world.client.by("alice", "hush-hush")
        assert wrong("GET", "/token?service=argosy").status == 401
        assert wrong.at("team/app")("GET", "manifests/v1").status == 401
        found = entries(world.serving, outcome="denied")
        assert {(e["action"], e["details"]["as"]) for e in found} == {
            ("user.login", "alice"),
            ("manifest.pull", "alice"),
        }
        assert all(e["actor"] == "" for e in found)
        assert "hush" not in str(entries(world.serving))
        assert _logins("wrong") - before == 2


def _logins(outcome: str) -> float:
    return sum(cell[0] for labels, cell in meters.LOGINS.read().items() if labels[1] == outcome)


def test_being_asked_who_one_is_is_no_denial_and_is_counted(tmp_path: Path) -> None:
    with guarded(tmp_path) as world:
        before = meters.DENIALS.read().get(("anonymous",), [0.0])[0]
        assert world.client("GET", "/v2/").status == 401
        assert world.client.at("team/app")("GET", "manifests/v1").status == 401
        assert entries(world.serving, outcome="denied") == []
        assert meters.DENIALS.read()["anonymous",][0] - before == 2


@pytest.mark.parametrize(
    "act",
    [
        lambda w: w.project_by_api("fresh"),
        lambda w: w.user("new-one", Role.DEVELOPER),
        lambda w: w.robot("ci", "repository:team/**:pull,push", project="team"),
        lambda w: w.token(ADMIN, "repository:**:pull"),
    ],
    ids=["project", "user and member", "robot", "token"],
)
def test_changes_of_who_may_do_what_are_entries_without_secrets(
    tmp_path: Path, act: Callable[[Any], Any]
) -> None:
    class Wide(World):
        def project_by_api(self, name: str) -> str:
            made = self.client.by(ADMIN, PASSWORD)(
                "POST",
                "/api/v1/projects",
                json.dumps({"name": name}),
                {"Content-Type": "application/json"},
            )
            assert made.status == 201, made.body
            return ""

    with guarded(tmp_path) as world:
        before = len(entries(world.serving))
        found = act(Wide(world.client, world.serving))
        made = entries(world.serving)[before:]
        assert made
        secrets = [PASSWORD]
        if isinstance(found, tuple):
            secrets.append(found[1])
        if isinstance(found, str) and found:
            secrets.append(found)
        assert not [s for s in secrets if s in str(made)]


def test_pulls_are_entries_where_the_settings_say_so(tmp_path: Path) -> None:
    settings = replace(embedded(str(tmp_path)), audit=AuditSection(pulls=True))
    with served(tmp_path, settings=settings) as (client, serving):
        repo = client.at("team/app")
        image = repo.push_image("v1", "x")
        for _ in range(3):
            assert repo("GET", "manifests/v1").status == 200
        repo("HEAD", "manifests/v1")
        repo("GET", "manifests/none")
        (found,) = entries(serving, action="manifest.pull")
        assert (found["resource"], found["digest"], found["count"]) == (
            "team/app:v1",
            image["digest"],
            3,
        )


def test_pulls_are_no_entries_otherwise(tmp_path: Path) -> None:
    with served(tmp_path) as (client, serving):
        client.at("team/app").push_image("v1", "x")
        client.at("team/app")("GET", "manifests/v1")
        assert entries(serving, action="manifest.pull") == []


def test_an_address_is_only_taken_from_a_proxy_that_is_trusted(tmp_path: Path) -> None:
    plain = embedded(str(tmp_path))
    trusting = replace(plain, server=replace(plain.server, trusted_proxies=("127.0.0.1",)))
    for settings, address in ((plain, "127.0.0.1"), (trusting, "2001:db8::7")):
        with served(tmp_path, settings=settings) as (client, serving):
            repo = client.at("team/app")
            repo.push_image("v1", "x")
            body = repo("GET", "manifests/v1").body
            kind = "application/vnd.oci.image.manifest.v1+json"
            said = {"Content-Type": kind, "X-Forwarded-For": "6.6.6.6, 2001:DB8:0::7"}
            assert repo("PUT", "manifests/v2", body, said).status == 201
            assert entries(serving)[-1]["address"] == address


def test_metrics_of_a_guarded_registry_are_for_this_machine_or_who_has_the_token(
    tmp_path: Path,
) -> None:
    with guarded(tmp_path) as world:
        assert world.client("GET", "/metrics").status == 200
        passed_on = world.client("GET", "/metrics", None, {"X-Forwarded-For": "1.2.3.4"})
        assert passed_on.status == 403
    plain = embedded(str(tmp_path))
    settings = replace(plain, metrics=replace(plain.metrics, token="scrape-me"))
    with served(tmp_path, settings=settings) as (client, _):
        assert client("GET", "/metrics").status == 403
        for token, status in (("scrape-me", 200), ("scrape-m", 403), ("", 403)):
            header = {"Authorization": f"Bearer {token}"}
            assert client("GET", "/metrics", None, header).status == status
        basic = base64.b64encode(b"x:scrape-me").decode()
        assert client("GET", "/metrics", None, {"Authorization": f"Basic {basic}"}).status == 403


def test_denials_of_many_names_are_bounded(tmp_path: Path) -> None:
    with guarded(tmp_path) as world:
        gina = world.user("gina", Role.GUEST)
        denials = world.serving.app.auditing.denials
        denials._most = 20
        for number in range(60):
            assert gina.at(f"team/x{number}")("POST", "blobs/uploads/").status == 403
            assert len(denials._held) <= 21
        found = entries(world.serving, outcome="denied")
        assert sum(e["count"] for e in found) == 60


def test_a_repository_that_a_push_makes_and_a_blob_that_it_takes_over_are_entries(
    tmp_path: Path,
) -> None:
    with served(tmp_path) as (client, serving):
        blob = client.at("team/app").push_blob(b"x")
        other = client.at("team/other")
        assert other("POST", f"blobs/uploads/?mount={blob}&from=team/app").status == 201
        assert other("POST", f"blobs/uploads/?mount={blob}&from=team/none").status == 202
        found = [(e["action"], e["resource"], e["project"]) for e in entries(serving)]
        assert found == [
            ("project.create", "team", "team"),
            ("repository.create", "team/app", "team"),
            ("repository.create", "team/other", "team"),
            ("blob.mount", "team/other", "team"),
        ]
        (mounted,) = entries(serving, action="blob.mount")
        assert (mounted["digest"], mounted["details"]) == (blob, {"from": "team/app"})


def test_a_checkpoint_of_an_earlier_check_finds_a_log_that_was_chained_anew(tmp_path: Path) -> None:
    with guarded(tmp_path) as world:
        admin = world.client.by(ADMIN, PASSWORD)
        database = world.serving.app.catalog.database
        world.run(Sealer(database).once())
        first = admin("GET", "/api/v1/audit/verify").json
        assert first["intact"]
        known = f"/api/v1/audit/verify?checkpoint={first['last']}:{first['hash']}"
        assert admin("GET", known).json["intact"]
        world.run(database.write(_chained_anew))
        assert admin("GET", "/api/v1/audit/verify").json["intact"]
        again = admin("GET", known).json
        assert (again["intact"], again["broken_at"]) == (False, first["last"])
        assert admin("GET", "/api/v1/audit/verify?checkpoint=17:zz").status == 400


def _chained_anew(conn: Connection) -> None:
    """Change the first entry, and every hash after it."""
    before = GENESIS
    ordered = select(t.audit).where(t.audit.c.sequence > 0).order_by(t.audit.c.sequence)
    for number, row in enumerate(conn.execute(ordered).mappings().all()):
        made = {**row, **({"actor": "somebody else"} if number == 0 else {})}
        before = link(before, made)
        values = {"actor": made["actor"], "hash": before}
        conn.execute(update(t.audit).where(t.audit.c.id == row["id"]).values(values))
