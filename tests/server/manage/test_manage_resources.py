"""What the management API does, asked over HTTP by people with names."""

import base64
import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from argosy.access.identity import totp
from argosy.catalog.people import users
from tests.company import PASSWORD, Company, Person
from tests.company import company as running
from tests.serving import escaped, index


def test_a_project_is_made_changed_and_deleted(company: Company) -> None:
    admin, name = company.admin, f"p{uuid.uuid4().hex[:12]}"
    made = admin("POST", "/projects", {"name": name, "description": "d", "quota_bytes": 10})
    assert (made.status, made["Location"]) == (201, f"/api/v1/projects/{name}")
    assert admin("POST", "/projects", {"name": name}).status == 409
    found = admin("GET", f"/projects/{name}")
    assert found["ETag"] == made["ETag"]
    assert (found.json["public"], found.json["created_by"]) == (False, "admin")
    body = {"public": True, "limits": {"requests": 5, "download": 1000}}
    changed = admin("PATCH", f"/projects/{name}", body, If_Match=found["ETag"])
    assert changed.json["public"]
    assert changed.json["limits"]["requests"] == 5
    assert changed.json["description"] == "d"
    late = admin("PATCH", f"/projects/{name}", {"public": False}, If_Match=found["ETag"])
    assert late.status == 412
    assert admin.get(f"/projects/{name}/quota")["limit"] == {"bytes": 10, "artifacts": None}
    assert admin("DELETE", f"/projects/{name}", If_Match=found["ETag"]).status == 412
    admin.delete(f"/projects/{name}")
    assert admin("GET", f"/projects/{name}").status == 404


def test_a_project_that_holds_something_is_deleted_only_by_force(company: Company) -> None:
    name = company.project()
    company.admin.push(f"{name}/app")
    refused = company.admin("DELETE", f"/projects/{name}")
    assert (refused.status, refused.json["code"]) == (409, "project-not-empty")
    company.admin.delete(f"/projects/{name}?force=true")
    assert company.admin("GET", f"/repositories/{name}%2Fapp").status == 404


def test_projects_are_made_by_admins_or_by_everybody_as_the_settings_say(
    company: Company, tmp_path: Path
) -> None:
    refused = company.user()("POST", "/projects", {"name": f"p{uuid.uuid4().hex[:12]}"})
    assert refused.status == 403
    with running(tmp_path, project_creation="everybody") as open_company:
        ada = open_company.user("ada")
        ada.post("/projects", {"name": "mine"})
        members = ada.get("/projects/mine/members")["items"]
        assert [(m["name"], m["role"]) for m in members] == [(ada.name, "project-admin")]
        robot = ada.post(
            "/projects/mine/robots", {"name": "r", "grants": ["repository:mine/**:pull"]}
        )
        machine = Person(open_company.client, robot["name"], robot["secret"])
        assert machine("POST", "/projects", {"name": "theirs"}).status == 403


def test_everybody_lists_the_projects_and_repositories_that_they_may_see(company: Company) -> None:
    mine, other, public = company.project(), company.project(), company.project(public=True)
    for project in (mine, other, public):
        company.admin.push(f"{project}/app")
    guest = company.member(mine, "guest")
    stranger = company.user()

    def names(who: Person, path: str) -> set[str]:
        found, after = set(), ""
        while True:
            page = who.get(f"{path}?limit=2&after={escaped(after)}")
            found |= {item["name"] for item in page["items"]}
            if page["next"] is None:
                return found
            after = page["next"]

    ours = {mine, other, public}
    assert names(company.admin, "/projects") & ours == ours
    assert names(guest, "/projects") & ours == {mine, public}
    assert names(stranger, "/projects") & ours == {public}
    assert names(guest, "/repositories") & {f"{p}/app" for p in ours} == {
        f"{mine}/app", f"{public}/app",
    }  # fmt: skip
    assert names(stranger, "/repositories") & {f"{p}/app" for p in ours} == {f"{public}/app"}


def test_a_repository_is_shown_with_its_artifacts_and_deleted(company: Company) -> None:
    project = company.project()
    first = company.admin.push(f"{project}/x/app", "v1")
    company.admin.push(f"{project}/x/app", "v2")
    path = f"/repositories/{project}%2Fx%2Fapp"
    assert company.admin.get(path) | {"created_at": ""} == {
        "name": f"{project}/x/app", "project": project, "tags": 2, "artifacts": 2, "created_at": "",
    }  # fmt: skip
    one = company.admin("GET", f"{path}/artifacts/{escaped(first['digest'])}")
    assert one.json["tags"] == ["v1"]
    assert one["ETag"] == f'"{first["digest"]}"'
    page = company.admin.get(f"{path}/artifacts?limit=1")
    rest = company.admin.get(f"{path}/artifacts?limit=5&after={escaped(page['next'])}")
    listed = [*page["items"], *rest["items"]]
    assert [item["digest"] for item in listed] == sorted(item["digest"] for item in listed)
    assert len(listed) == 2
    company.admin.delete(f"{path}/artifacts/{escaped(first['digest'])}")
    assert company.admin("GET", f"{path}/artifacts/{escaped(first['digest'])}").status == 404
    company.admin.delete(path)
    assert company.admin("GET", path).status == 404
    assert company.admin("DELETE", path).status == 404


def test_what_an_index_needs_is_not_deleted(company: Company) -> None:
    project = company.project()
    child = company.admin.push(f"{project}/app", "child")
    done = company.admin.client.at(f"{project}/app").put_manifest("all", index(child))
    assert done.status == 201
    path = f"/repositories/{project}%2Fapp/artifacts/{escaped(child['digest'])}"
    refused = company.admin("DELETE", path)
    assert (refused.status, refused.json["code"]) == (409, "needed")


def test_who_is_limited_does_not_lift_the_limits(company: Company, tmp_path: Path) -> None:
    """They are the operator's: a project admin would have none of the server's either."""
    project = company.project()
    boss, where = company.member(project, "project-admin"), f"/projects/{project}"
    refused = boss("PATCH", where, {"limits": {"requests": 0}}, If_Match="*")
    assert refused.status == 403
    assert f"{boss.name} lacks write on quota {project}" in refused.json["detail"]
    assert boss.patch(where, {"description": "ours"})["limits"]["requests"] is None
    assert company.admin.patch(where, {"limits": {"requests": 9}})["limits"]["requests"] == 9
    with running(tmp_path, project_creation="everybody") as open_company:
        ada = open_company.user("ada")
        for more in ({"limits": {"uploads": 0}}, {"quota_bytes": 1 << 40}, {"quota_artifacts": 0}):
            assert ada("POST", "/projects", {"name": "mine", **more}).status == 403
        assert ada("POST", "/projects", {"name": "mine"}).status == 201


def test_members_are_given_roles_and_lose_them(company: Company) -> None:
    project, ada = company.project(), company.user("ada")
    members = f"/projects/{project}/members"
    assert ada("GET", f"/projects/{project}").status == 403
    made = company.admin("POST", members, {"name": ada.name, "role": "guest"})
    assert made.status == 201
    assert made["Location"] == f"/api/v1{members}/user/{ada.name}"
    assert company.admin("POST", members, {"name": ada.name, "role": "guest"}).status == 409
    assert ada("GET", f"/projects/{project}").status == 200
    where = f"{members}/user/{ada.name}"
    found = company.admin("GET", where)
    company.admin.patch(where, {"role": "maintainer"}, found["ETag"])
    assert company.admin("PATCH", where, {"role": "guest"}, If_Match=found["ETag"]).status == 412
    company.admin.post(members, {"name": "cn=team, ou=x/y", "kind": "group", "role": "guest"})
    listed = company.admin.get(members)["items"]
    assert [(m["kind"], m["name"], m["role"]) for m in listed] == [
        ("group", "cn=team, ou=x/y", "guest"), ("user", ada.name, "maintainer"),
    ]  # fmt: skip
    page = company.admin.get(f"{members}?limit=1")
    rest = company.admin.get(f"{members}?limit=1&after={escaped(page['next'])}")
    assert [m["name"] for m in rest["items"]] == [ada.name]
    company.admin.delete(f"{members}/group/{escaped('cn=team, ou=x/y')}")
    company.admin.delete(where)
    assert company.admin("DELETE", where).status == 404
    assert ada("GET", f"/projects/{project}").status == 403
    nobody = company.admin("POST", members, {"name": "who-is-that", "role": "guest"})
    assert nobody.status == 404


def test_a_robot_works_until_it_is_rotated_disabled_or_deleted(company: Company) -> None:
    project = company.project()
    boss = company.member(project, "project-admin")
    body = {"name": "ci", "grants": [f"repository:{project}/**:pull,push"], "days": 30}
    made = boss("POST", f"/projects/{project}/robots", body)
    assert made.status == 201
    assert made["Cache-Control"] == "no-store"
    name = f"robot${project}+ci"
    where = f"/robots/{escaped(name)}"
    assert made["Location"] == f"/api/v1{where}"
    robot = Person(company.client, name, made.json["secret"])
    robot.push(f"{project}/app")
    assert robot.get("/whoami")["kind"] == "robot"
    assert "secret" not in boss.get(where)
    fresh = boss.post(f"{where}/rotate", {"keep_old": True})
    assert fresh["previous_until"]
    assert robot("GET", "/whoami").status == 200
    newest = boss.post(f"{where}/rotate", {"keep_old": False})
    assert robot("GET", "/whoami").status == 401
    robot = Person(company.client, name, newest["secret"])
    assert robot("GET", "/whoami").status == 200
    found = boss("GET", where)
    changed = boss("PATCH", where, {"disabled": True}, If_Match=found["ETag"])
    assert changed.json["disabled"]
    assert robot("GET", "/whoami").status == 401
    boss.patch(where, {"disabled": False, "description": "again"})
    assert robot("GET", "/whoami").status == 200
    assert [r["name"] for r in boss.get(f"/projects/{project}/robots")["items"]] == [name]
    boss.delete(where)
    assert robot("GET", "/whoami").status == 401


def test_a_robot_gets_no_more_than_its_maker_has(company: Company) -> None:
    project, other = company.project(), company.project()
    boss = company.member(project, "project-admin")
    for grant in (f"repository:{other}/**:pull", "repository:**:pull"):
        body = {"name": "ci", "grants": [grant]}
        refused = boss("POST", f"/projects/{project}/robots", body)
        if grant.startswith("repository:**"):  # inside of its project, that is
            assert refused.status == 201
        else:
            assert refused.status == 422
    assert boss("POST", "/robots", {"name": "x", "grants": ["repository:**:pull"]}).status == 403


def test_a_token_stands_in_for_its_owner_until_it_is_revoked(company: Company) -> None:
    ada = company.user("ada")
    made = ada("POST", "/tokens", {"name": "laptop"})
    assert made.status == 201
    token = made.json["token"]
    with_token = Person(company.client, ada.name, token)
    assert with_token.get("/whoami") == {
        "name": ada.name, "kind": "token", "admin": False, "groups": [],
    }  # fmt: skip
    bearer = company.client("GET", "/api/v1/whoami", None, {"Authorization": f"Bearer {token}"})
    assert bearer.json["name"] == ada.name
    assert with_token("POST", "/tokens", {"name": "more"}).status == 403
    listed = ada.get("/tokens")["items"]
    assert [one["name"] for one in listed] == ["laptop"]
    assert token not in json.dumps(listed)
    other = company.user("bob")
    assert other("DELETE", f"/tokens/{listed[0]['id']}").status == 404
    ada.delete(f"/tokens/{listed[0]['id']}")
    assert with_token("GET", "/whoami").status == 401
    assert ada.get("/tokens")["items"][0]["revoked_at"]


def test_a_token_sent_twice_is_made_once_and_shown_twice(company: Company) -> None:
    ada, key = company.user("ada"), str(uuid.uuid4())
    first = ada("POST", "/tokens", {"name": "t"}, Idempotency_Key=key)
    again = ada("POST", "/tokens", {"name": "t"}, Idempotency_Key=key)
    assert first.json == again.json
    assert len(ada.get("/tokens")["items"]) == 1


def test_who_names_nobody_writes_no_rows_with_keys_of_their_own(company: Company) -> None:
    """Each would cost the database two writes, however often it is refused."""
    key, body = str(uuid.uuid4()), {"name": "nobody-here", "current": "x", "password": PASSWORD}
    first = company.nobody("POST", "/password", body, Idempotency_Key=key)
    other = company.nobody("POST", "/password", body | {"current": "y"}, Idempotency_Key=key)
    assert (first.status, other.status) == (403, 403)
    ada = company.user("ada")
    right = {"name": ada.name, "current": PASSWORD, "password": f"{PASSWORD}!"}
    assert company.nobody("POST", "/password", right, Idempotency_Key=key).status == 204
    again = company.nobody("POST", "/password", right, Idempotency_Key=key)
    assert (again.status, "Idempotent-Replayed" in again.headers) == (403, False)


def test_admins_see_and_revoke_the_tokens_of_others(company: Company) -> None:
    ada = company.user("ada")
    made = ada.post("/tokens", {"name": "t"})
    found = company.admin.get(f"/users/{ada.name}/tokens")["items"]
    assert [one["id"] for one in found] == [made["id"]]
    company.admin.delete(f"/users/{ada.name}/tokens/{made['id']}")
    assert Person(company.client, ada.name, made["token"])("GET", "/whoami").status == 401


def test_a_user_is_made_locked_out_and_deleted(company: Company) -> None:
    name = f"u-{uuid.uuid4().hex[:12]}"
    made = company.admin("POST", "/users", {"name": name, "password": PASSWORD, "email": "a@b.c"})
    assert made.status == 201
    assert made.json["password"] is None
    user = Person(company.client, name)
    assert user("GET", "/whoami").status == 200
    assert user("GET", "/users").status == 403
    found = company.admin("GET", f"/users/{name}")
    assert (found.json["email"], found.json["groups"]) == ("a@b.c", [])
    company.admin.patch(f"/users/{name}", {"disabled": True}, found["ETag"])
    assert user("GET", "/whoami").status == 401
    company.admin.patch(f"/users/{name}", {"disabled": False, "admin": True})
    assert user("GET", "/users").status == 200
    company.admin.delete(f"/users/{name}")
    assert user("GET", "/whoami").status == 401


def test_a_one_time_password_opens_nothing_but_the_door_to_change_it(company: Company) -> None:
    name = f"u-{uuid.uuid4().hex[:12]}"
    once = company.admin.post("/users", {"name": name})["password"]
    user = Person(company.client, name, once)
    assert user("GET", "/whoami").status == 401
    body = {"name": name, "current": "wrong-" + once, "password": PASSWORD}
    assert company.nobody("POST", "/password", body).status == 403
    assert company.nobody("POST", "/password", body | {"current": once}).status == 204
    assert Person(company.client, name)("GET", "/whoami").status == 200
    reset = company.admin.post(f"/users/{name}/password", {})
    assert reset["password"]
    assert Person(company.client, name)("GET", "/whoami").status == 401


def test_the_last_admin_stays(company: Company) -> None:
    refused = company.admin("PATCH", "/users/admin", {"admin": False}, If_Match="*")
    others = [u for u in company.admin.get("/users?limit=1000")["items"] if u["admin"]]
    if len(others) == 1:
        assert refused.status == 409
    else:
        pytest.fail("another test left an admin behind")


def test_a_second_factor_is_set_up_and_taken_away(company: Company) -> None:
    ada = company.user("ada")
    token = Person(company.client, ada.name, ada.post("/tokens", {"name": "t"})["token"])
    key = ada.post("/totp")["key"]
    secret = base64.b32decode(key + "=" * (-len(key) % 8))
    assert ada("POST", "/totp/confirm", {"code": "000000"}).status in (403, 200)
    code = totp.hotp(secret, totp.step_at(time.time()))
    codes = ada.post("/totp/confirm", {"code": code})["codes"]
    assert len(codes) == 10
    assert ada("GET", "/whoami").status == 401
    assert token("GET", "/whoami").status == 200
    assert token("POST", "/totp").status == 409
    assert token("POST", "/totp/remove", {"code": "aaaaa-aaaaa-aaaaa"}).status == 403
    fresh = token.post("/totp/recovery-codes", {"code": codes[0]})["codes"]
    assert token("POST", "/totp/remove", {"code": codes[1]}).status == 403
    assert token("POST", "/totp/remove", {"code": fresh[0]}).status == 204
    assert ada("GET", "/whoami").status == 200


def test_an_admin_takes_a_lost_second_factor_away(company: Company) -> None:
    ada = company.user("ada")
    key = ada.post("/totp")["key"]
    secret = base64.b32decode(key + "=" * (-len(key) % 8))
    ada.post("/totp/confirm", {"code": totp.hotp(secret, totp.step_at(time.time()))})
    company.admin.delete(f"/users/{ada.name}/totp")
    assert ada("GET", "/whoami").status == 200


def test_a_quota_is_set_and_shown(company: Company) -> None:
    project = company.project()
    developer = company.member(project, "developer")
    found = company.admin("GET", f"/projects/{project}/quota")
    assert found.json["limit"] == {"bytes": None, "artifacts": None}
    changed = company.admin.patch(f"/projects/{project}/quota", {"artifacts": 1}, found["ETag"])
    assert changed["limit"] == {"bytes": None, "artifacts": 1}
    company.admin.patch(f"/projects/{project}/quota", {"bytes": 10**6})
    assert developer.get(f"/projects/{project}/quota")["limit"] == {"bytes": 10**6, "artifacts": 1}
    assert (
        developer("PATCH", f"/projects/{project}/quota", {"bytes": 1}, If_Match="*").status == 403
    )
    company.admin.patch(f"/projects/{project}/quota", {"bytes": None})
    assert [q["project"] for q in developer.get("/quotas")["items"]] == [project]


def test_a_quota_is_recounted_and_says_what_would_free_space(company: Company) -> None:
    project = company.project()
    company.admin.push(f"{project}/big")
    found = company.admin.post(f"/projects/{project}/quota/recount")
    used = company.admin.get(f"/projects/{project}/quota")["used"]
    assert (found["bytes"], found["artifacts"]) == (used["bytes"], used["artifacts"])
    assert (found["bytes_off"], found["artifacts_off"]) == (0, 0)
    shares = company.admin.get(f"/projects/{project}/quota/shares")["items"]
    assert [share["repository"] for share in shares] == [f"{project}/big"]


def test_a_tag_has_a_past_and_a_way_back(company: Company) -> None:
    project = company.project()
    ada = company.member(project, "developer")
    first, second = ada.push(f"{project}/app"), ada.push(f"{project}/app")
    path = f"/repositories/{project}%2Fapp/tags"
    assert [t["digest"] for t in ada.get(path)["items"]] == [second["digest"]]
    found = ada("GET", f"{path}/v1")
    assert found["ETag"] == f'"{second["digest"]}"'
    told = ada.get(f"{path}/v1/history")["items"]
    assert [(m["digest"], m["previous"], m["actor"]) for m in told] == [
        (second["digest"], first["digest"], ada.name), (first["digest"], None, ada.name),
    ]  # fmt: skip
    page = ada.get(f"{path}/v1/history?limit=1")
    older = ada.get(f"{path}/v1/history?limit=1&after={page['next']}")
    assert [m["digest"] for m in (*page["items"], *older["items"])] == [
        second["digest"], first["digest"],
    ]  # fmt: skip
    late = ada("POST", f"{path}/v1/undo", {}, If_Match=f'"{first["digest"]}"')
    assert late.status == 412
    done = ada("POST", f"{path}/v1/undo", {}, If_Match=found["ETag"])
    assert done.json["digest"] == first["digest"]
    assert (
        ada.client.at(f"{project}/app")("GET", "manifests/v1")["Docker-Content-Digest"]
        == first["digest"]
    )
    assert ada.post(f"{path}/v1/undo", {"to": second["digest"]})["digest"] == second["digest"]
    never = ada("POST", f"{path}/v1/undo", {"to": "sha256:" + "0" * 64})
    assert (never.status, never.json["code"]) == (409, "nothing-to-undo")
    assert ada("DELETE", f"{path}/v1").status == 403
    company.admin.delete(f"{path}/v1")
    assert ada("GET", f"{path}/v1").status == 404
    assert ada.post(f"{path}/v1/undo", {})["digest"] == second["digest"]


def test_a_rule_keeps_tags_until_it_is_off(company: Company) -> None:
    project = company.project()
    maintainer = company.member(project, "maintainer")
    maintainer.push(f"{project}/app", "v1")
    rules = f"/projects/{project}/tag-rules"
    made = maintainer("POST", rules, {"tags": "v*"})
    assert made.status == 201
    where = made["Location"].removeprefix("/api/v1")
    assert [r["tags"] for r in maintainer.get(rules)["items"]] == ["v*"]
    kept = maintainer("DELETE", f"/repositories/{project}%2Fapp/tags/v1")
    assert (kept.status, kept.json["code"]) == (409, "tag-kept")
    found = maintainer("GET", where)
    maintainer.patch(where, {"disabled": True}, found["ETag"])
    assert maintainer("PATCH", where, {"disabled": False}, If_Match=found["ETag"]).status == 412
    maintainer.delete(f"/repositories/{project}%2Fapp/tags/v1")
    maintainer.delete(where)
    assert maintainer("GET", where).status == 404


def test_the_audit_log_tells_of_a_change_and_is_intact(company: Company) -> None:
    project = company.project()
    maintainer = company.member(project, "maintainer")
    entries = company.admin.get(f"/audit?project={project}&action=project.")["items"]
    assert [(e["action"], e["actor"], e["resource"]) for e in entries] == [
        ("project.create", "admin", project)
    ]
    assert maintainer.get(f"/projects/{project}/audit")["items"]
    assert maintainer("GET", "/audit").status == 403
    lines = company.admin("GET", f"/audit/export?project={project}")
    assert lines["Content-Type"] == "application/jsonl"
    told = [json.loads(line) for line in lines.body.splitlines()]
    assert "project.create" in [entry["action"] for entry in told]
    first = company.admin.get("/audit?limit=2")
    later = company.admin.get(f"/audit?limit=2&after={first['next']}")
    numbers = [e["id"] for e in (*first["items"], *later["items"])]
    assert numbers == sorted(numbers, reverse=True)
    assert company.admin.get("/audit/verify")["intact"]
    assert company.admin.get("/audit?until=1969-01-01T00:00:00Z")["items"] == []
    assert company.admin.get("/audit?since=1969-01-01T00:00:00%2B23:00&limit=1")["items"]
    for query in ("since=2026-11-21", "since=x", "outcome=x"):
        assert company.admin("GET", f"/audit?{query}").status == 400


def test_a_signing_key_is_rotated(company: Company) -> None:
    before = {key["kid"] for key in company.admin.get("/signing-keys")["items"]}
    made = company.admin.post("/signing-keys/rotate")["kid"]
    after = {key["kid"] for key in company.admin.get("/signing-keys")["items"]}
    assert made not in before
    assert after >= before | {made}
    told: Any = json.dumps(company.admin.get("/signing-keys"))
    assert "private" not in told


def test_no_rule_names_an_issuer_that_the_settings_do_not(company: Company) -> None:
    """A URL given here is never fetched: not of this machine, not of the cloud's metadata."""
    project = company.project()
    boss = company.member(project, "project-admin")
    grants = {"name": "ci", "grants": [f"repository:{project}/**:pull"]}
    robot = boss.post(f"/projects/{project}/robots", grants)["name"]
    where = f"/robots/{escaped(robot)}/workload-rules"
    for issuer in ("https://127.0.0.1", "https://169.254.169.254/x", "https://metadata.internal"):
        body = {"issuer": issuer, "audience": "a", "claims": {"repository": "team/app"}}
        assert boss("POST", where, body).status in (409, 422)
    for issuer in ("http://gitlab.com", "file:///etc/passwd", "gopher://x", "https://a b"):
        body = {"issuer": issuer, "audience": "a", "claims": {"repository": "team/app"}}
        assert boss("POST", where, body).status == 400
    assert boss.get(where)["items"] == []


def test_wrong_passwords_are_slowed_and_say_when_to_come_back(company: Company) -> None:
    user = company.user()
    wrong = Person(company.client, user.name, "wrong")
    statuses = {wrong("GET", "/whoami").status for _ in range(12)}
    assert 429 in statuses
    late = wrong("GET", "/whoami")
    assert int(late["Retry-After"]) >= 1


def test_groups_are_shown_with_their_users_and_roles(company: Company) -> None:
    ada, project, group = company.user("ada"), company.project(), f"g {uuid.uuid4().hex}"
    key = company.serving.run(company.access.users.get(ada.name)).id
    database = company.serving.app.catalog.database
    company.serving.run(database.write(lambda conn: users.set_groups(conn, key, [group])))
    company.admin.post(
        f"/projects/{project}/members", {"name": group, "kind": "group", "role": "guest"}
    )
    assert company.admin.get(f"/groups/{escaped(group)}") == {
        "name": group, "users": 1, "members": [ada.name], "projects": {project: "guest"},
    }  # fmt: skip
    assert group in [g["name"] for g in company.admin.get("/groups?limit=1000")["items"]]
    assert ada("GET", f"/projects/{project}").status == 200
    assert company.admin("GET", "/groups/none-of-that-name").status == 404


@pytest.mark.parametrize(
    "name",
    [
        "..%2F..%2Fetc", "%2e%2e", "..", "a%2F..%2Fb", "a%2F%2Fb", "%2Fa", "a%2F", "a%00b", "a%0d%0ab",
        "a%252Fb", "A%2Fb", "a%5Cb", "a%20b", "%C0%AE%C0%AE", "%FF", "a;b", "a%3Fb", "%F0%9F%98%80", "a" * 300,
    ],
)  # fmt: skip
def test_no_trick_in_a_repository_s_name_leads_anywhere(company: Company, name: str) -> None:
    for method, path in (
        ("GET", f"/repositories/{name}"),
        ("DELETE", f"/repositories/{name}"),
        ("GET", f"/repositories/{name}/tags/v1"),
        ("DELETE", f"/repositories/x/artifacts/{name}"),
    ):
        sent = company.admin(method, path)
        assert sent.status in (400, 404), sent.body
        assert sent["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        "/projects?after=%00", "/projects?prefix=%00", "/repositories?project=a%00", "/users?after=%00",
        "/audit?actor=%00", "/groups?after=%00", "/quotas?after=%00", "/robots?after=a%00", "/users/%00",
        "/groups/a%00", "/robots/robot$a%00",
    ],
)  # fmt: skip
def test_no_database_is_asked_for_text_that_it_cannot_have(company: Company, path: str) -> None:
    assert company.admin("GET", path).status == 400


@pytest.mark.parametrize(
    "path",
    ["_catalog?last=%00", "a/b/manifests/v%00", "a/b/tags/list?last=%00", "a/b/blobs/uploads/%00"],
)
def test_no_nul_reaches_the_database_through_the_registry_either(
    company: Company, path: str
) -> None:
    assert company.admin.client("GET", f"/v2/{path}").status == 400
