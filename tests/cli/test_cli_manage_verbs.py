"""The verbs of the management API, against a real registry with access control."""

import json
import sys
import uuid
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from tests.company import PASSWORD, Company
from tests.company import company as running

from .conftest import Argosy, Said


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with running(tmp_path_factory.mktemp("cli-company")) as found:
        yield found


class Desk:
    """A command line that is logged in as somebody."""

    def __init__(self, argosy: Argosy, company: Company, patch: pytest.MonkeyPatch) -> None:
        self.argosy, self.company, self._patch = argosy, company, patch
        patch.setenv("ARGOSY_REGISTRY", company.host)
        self.login("admin")

    def login(self, name: str, password: str = PASSWORD) -> None:
        said = self.argosy("login", self.company.host, "-u", name, "-p", password)
        assert said.code == 0, said.err

    def __call__(self, *words: object, stdin: str = "") -> Said:
        self._patch.setattr(sys, "stdin", StringIO(stdin))
        return self.argosy(*words)

    def good(self, *words: object, stdin: str = "") -> Said:
        said = self(*words, stdin=stdin)
        assert said.code == 0, said.err
        return said


@pytest.fixture
def desk(argosy: Argosy, company: Company, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(argosy, company, monkeypatch)


def name(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


def test_a_project_from_its_making_to_its_end(desk: Desk) -> None:
    project = name("p")
    made = desk.good("project", "create", project, "--description", "d", "--bytes", "1GB")
    assert f"Name:         {project}" in made.out
    assert desk.good("project", "show", project, "--format", "{{.public}}").out == "false\n"
    desk.good("project", "update", project, "--public", "--requests", "50", "--upload", "10MB")
    found = desk.good("project", "show", project, "--json").json
    assert (found["public"], found["limits"]["requests"], found["limits"]["upload"]) == (
        True, 50, 10_000_000,
    )  # fmt: skip
    desk.good("project", "update", project, "--public=false", "--requests", "none")
    found = desk.good("project", "show", project, "--json").json
    assert (found["public"], found["limits"]["requests"]) == (False, None)
    assert project in desk.good("project", "list", "-q").out.split()
    quota = desk.good("quota", "set", project, "--artifacts", "5", "--json").json
    assert quota[0]["limit"] == {"bytes": 10**9, "artifacts": 5}
    assert "0B of 1GB" in desk.good("quota", "show", project).out
    assert "Artifacts were off by:" in desk.good("quota", "recount", project).out
    assert desk.good("project", "delete", project).out == f"{project}\n"
    gone = desk("project", "show", project)
    assert (gone.code, gone.out) == (4, "")
    assert f"no project {project}" in gone.err


def test_members_by_name_and_by_group(desk: Desk) -> None:
    project, ada = desk.company.project(), desk.company.user("ada").name
    desk.good("member", "add", project, ada, "--role", "developer")
    desk.good("member", "add", project, "cn=team", "--group", "--role", "guest")
    desk.good("member", "set", project, ada, "--role", "maintainer")
    listed = desk.good("member", "list", project, "--format", "{{.kind}} {{.name}} {{.role}}").out
    assert listed == f"group cn=team guest\nuser {ada} maintainer\n"
    assert desk("member", "add", project, ada, "--role", "guest").code == 1
    assert desk("member", "add", project, ada, "--role", "king").code == 2
    desk.good("member", "remove", project, ada)
    desk.good("member", "remove", project, "cn=team", "--group")
    assert desk.good("member", "list", project, "-q").out == ""


def test_a_robot_whose_secret_is_shown_once(desk: Desk) -> None:
    project = desk.company.project()
    grant = f"repository:{project}/**:pull,push"
    made = desk.good(
        "robot", "create", "ci", "--project", project, "--allow", grant, "--days", "30"
    )
    robot = f"robot${project}+ci"
    assert "Keep the secret: it is not shown again." in made.err
    secret = next(line.split()[-1] for line in made.out.splitlines() if line.startswith("Secret"))
    assert secret not in desk.good("robot", "show", robot, "--json").out
    assert robot in desk.good("robot", "list", project).out
    desk.login(robot, secret)
    who = desk("project", "delete", project)
    assert who.code == 3
    assert f"{robot} lacks admin on project {project}" in who.err
    desk.login("admin")
    fresh = desk.good("robot", "rotate", robot, "--now", "--format", "{{.secret}}").out.strip()
    assert fresh.startswith("arg_rob_")
    assert fresh != secret
    refused = desk("login", desk.company.host, "-u", robot, "-p", secret)
    assert refused.code == 3
    changed = desk.good(
        "robot", "update", robot, "--allow", f"repository:{project}/a:pull", "--json"
    )
    assert changed.json["grants"] == [f"repository:{project}/a:pull"]
    assert changed.json["expires_at"]  # what is not named stays
    assert desk("robot", "update", robot).code == 2
    desk.good("robot", "disable", robot)
    assert desk.good("robot", "show", robot, "--json").json["disabled"]
    desk.good("robot", "disable", robot, "--enable")
    desk.good("robot", "delete", robot)
    assert desk("robot", "show", robot).code == 4


def test_tokens_are_made_listed_and_revoked(desk: Desk) -> None:
    user = desk.company.user("ada")
    desk.login(user.name)
    made = desk.good("token", "create", "laptop", "--days", "90d", "--json").json
    assert made["token"].startswith("arg_pat_")
    assert desk.good("token", "list", "-q").out == f"{made['id']}\n"
    desk.login(user.name, made["token"])
    assert desk("token", "create", "more").code == 3
    desk.login(user.name)
    assert desk.good("token", "revoke", made["id"]).out == f"{made['id']}\n"
    assert desk.good("token", "list", "--json").json[0]["revoked_at"]
    other = desk.good("token", "create", "desktop", "--json").json
    assert desk.good("token", "revoke", "desktop").out == f"{other['id']}\n"
    assert desk("token", "revoke", "desktop").code == 4


def test_users_are_made_locked_out_and_change_their_passwords(desk: Desk) -> None:
    user = name("u")
    made = desk.good("user", "create", user, "--generate", "--format", "{{.password}}")
    once = made.out.strip()
    new = "a new and long password"
    desk.good("user", "password", user, "--password-stdin", stdin=f"{PASSWORD} x\n")
    desk.good("logout", desk.company.host)
    # Not logged in: it is one's own, and the present password comes first.
    wrong = desk("user", "password", user, "--password-stdin", stdin=f"{once}\n{new}\n")
    assert wrong.code == 3
    desk.good("user", "password", user, "--password-stdin", stdin=f"{PASSWORD} x\n{new}\n")
    desk.login(user, new)
    assert desk("user", "list").code == 3
    desk.login("admin")
    assert user in desk.good("user", "list", "-q").out.split()
    desk.good("user", "disable", user)
    assert desk("login", desk.company.host, "-u", user, "-p", new).code == 3
    desk.good("user", "disable", user, "--enable")
    assert desk.good("user", "show", user, "--json").json["disabled"] is False
    changed = desk.good(
        "user", "update", user, "--admin", "--email", "u@example.org", "--json"
    ).json
    assert (changed["admin"], changed["email"]) == (True, "u@example.org")
    changed = desk.good("user", "update", user, "--admin=false", "--json").json
    assert (changed["admin"], changed["email"]) == (False, "u@example.org")
    assert desk("user", "update", user).code == 2
    other = name("u")
    desk.good("user", "create", other, "--password-stdin", "--admin", stdin=f"{PASSWORD}\n")
    desk.good("user", "delete", other)
    desk.good("user", "delete", user)
    assert desk("user", "show", user).code == 4


def test_a_tag_s_past_and_the_way_back(desk: Desk) -> None:
    project = desk.company.project()
    admin = desk.company.admin
    first, second = admin.push(f"{project}/app"), admin.push(f"{project}/app")
    image = f"{desk.company.host}/{project}/app:v1"
    told = desk.good("tags", "history", image, "--format", "{{.digest}}").out.split()
    assert told == [second["digest"], first["digest"]]
    assert (
        desk.good("tags", "undo", image, "--format", "{{.digest}}").out.strip() == first["digest"]
    )
    desk.good("tags", "undo", image, "--to", second["digest"])
    assert desk.good("tags", f"{desk.company.host}/{project}/app").out == "v1\n"
    desk.good("tags", "rules", project, "--tags", "v*")
    rule = desk.good("tags", "rules", project, "--json").json[0]
    assert (rule["tags"], rule["repositories"]) == ("v*", "**")
    kept = desk("tags", "undo", image)
    assert kept.code == 1
    assert "stays as it is" in kept.err
    assert desk.good("tags", "rules", project, "--remove", rule["id"], "-q").out == ""
    assert desk("tags", "history", f"{desk.company.host}/{project}/app").code == 2


def test_a_repository_is_deleted_whole_and_its_room_is_free_again(desk: Desk) -> None:
    project = desk.company.project()
    desk.company.admin.push(f"{project}/app")
    repository = f"{desk.company.host}/{project}/app"
    assert desk("repos", "delete", f"{repository}:v1").code == 2
    assert desk.good("quota", "show", project, "--json").json[0]["used"]["artifacts"] == 1
    assert desk.good("repos", "delete", repository).out == f"{repository}\n"
    used = desk.good("quota", "show", project, "--json").json[0]["used"]
    assert used == {"bytes": 0, "artifacts": 0}
    assert desk("tags", repository).code == 4
    assert desk("repos", "delete", repository).code == 4


def test_the_audit_log_is_listed_written_and_verified(desk: Desk, tmp_path: Path) -> None:
    project = desk.company.project()
    listed = desk.good("audit", "list", "--project", project, "--since", "1h")
    assert "project.create" in listed.out
    desk.good("audit", "export", "--project", project, "-o", tmp_path / "log")
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["action"] for line in lines] == ["project.create"]
    assert desk.good("audit", "export", "--action", "project.create").out.count("\n") >= 1
    assert "Intact:" in desk.good("audit", "verify").out
    assert desk("audit", "list", "--since", "yesterday-ish").code == 2


def test_the_registry_is_said_or_the_default(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGOSY_REGISTRY", "127.0.0.1:1")
    assert desk("project", "list").code == 6
    desk.good("project", "list", "--registry", desk.company.host)


def test_errors_are_json_for_scripts(desk: Desk) -> None:
    said = desk("project", "show", "no-such-project", "--json")
    assert (said.code, said.out) == (4, "")
    assert json.loads(said.err)["error"]["evidence"]["code"] == "project-unknown"


def test_a_registry_without_the_api_is_told_as_such(
    argosy: Argosy, docker_registry: "object", monkeypatch: pytest.MonkeyPatch
) -> None:
    said = argosy("project", "list", "--registry", docker_registry.host)  # type: ignore[attr-defined]
    assert said.code == 1
    assert "no management API" in said.err
