"""Who may do what: every role at every operation, over HTTP, against the table of roles."""

import re
from typing import Any

import msgspec
import pytest

from argosy.access.permissions.permission import OF_EVERYBODY, OF_ROLE, Action, Resource, Role
from argosy.server.manage.operation import IDENTIFIED, ONESELF, PUBLIC, Nothing, Operation
from argosy.server.manage.operations import OPERATIONS
from tests.company import Company, Person
from tests.serving import escaped

ROLES = {role.value for role in Role}
_DIGEST = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def cast(company: Company) -> dict[str, Person]:
    """Somebody of each kind, and the project they are asked about."""
    project = company.project("matrix")
    found = {role.value: company.member(project, role.value) for role in Role}
    found |= {"stranger": company.user("stranger"), "nobody": company.nobody}
    found["admin"] = company.admin
    company.matrix_project = project  # type: ignore[attr-defined]
    company.public_project = company.project("open", public=True)  # type: ignore[attr-defined]
    return found


def path_of(one: Operation, project: str) -> str:
    """The path with the project's name in it, and things that are not there."""
    names = {
        "project": project,
        "repository": f"{project}/none",
        "tag": "none",
        "digest": _DIGEST,
        "user": "nobody-here",
        "robot": f"robot${project}+none",
        "kind": "user",
        "member": "nobody-here",
        "group": "none",
        "token": "999999999",
        "rule": "999999999",
    }
    return re.sub(r"\{(\w+)\}", lambda m: escaped(names[m[1]]), one.path)


def body_of(one: Operation) -> Any:
    """A body that is refused after the permission was looked at, and never does anything."""
    return None if one.body is Nothing else "not an object"


def allowed(one: Operation, who: str, *, public: bool) -> bool:
    """What the table of roles says."""
    if one.need == PUBLIC or who == "admin":
        return True
    if one.need in (IDENTIFIED, ONESELF):
        return who != "nobody"
    assert not isinstance(one.need, str)
    if not one.parameters or one.parameters[0] in ("user", "token", "group"):
        return False  # the system's
    if public and one.need in OF_EVERYBODY:
        return True
    return who in ROLES and one.need in OF_ROLE[Role(who)]


HARMLESS = [one for one in OPERATIONS if one.safe or one.parameters or one.body is not Nothing]


@pytest.mark.parametrize("one", HARMLESS, ids=lambda one: one.id)
def test_every_role_may_do_what_the_table_says(
    one: Operation, company: Company, cast: dict[str, Person]
) -> None:
    for who, person in cast.items():
        for public in (False, True):
            project = company.public_project if public else company.matrix_project  # type: ignore[attr-defined]
            if public and who in ROLES:
                continue  # a member of the other one
            fields = {} if one.safe else {"If_Match": '"none"'}  # so that nothing changes
            sent = person(one.method, path_of(one, project), body_of(one), **fields)
            if allowed(one, who, public=public):
                assert sent.status not in (401, 403), (who, sent.body)
                assert sent.status < 500, (who, sent.body)
            else:
                assert sent.status == (401 if who == "nobody" else 403), (who, sent.body)
                told = sent.json["detail"]
                # The refusal names what is missing, and is the same for what is not there.
                assert one.need != PUBLIC
                if not isinstance(one.need, str):
                    assert one.need[1].value in told


def test_a_refusal_does_not_tell_whether_a_thing_exists(
    company: Company, cast: dict[str, Person]
) -> None:
    real = company.project()
    company.admin.push(f"{real}/app")
    for path in ("/projects/{}", "/repositories/{}%2Fapp", "/projects/{}/members"):
        one = cast["stranger"]("GET", path.format(real))
        other = cast["stranger"]("GET", path.format("no-such-project"))
        assert one.status == other.status == 403
        assert one.json["detail"].replace(real, "X") == other.json["detail"].replace(
            "no-such-project", "X"
        )


def test_the_roles_are_told_as_the_table_has_them(company: Company) -> None:
    told = {r["role"]: set(r["permissions"]) for r in company.nobody.get("/roles")["items"]}
    assert told == {
        role.value: {f"{resource.value}:{action.value}" for resource, action in permissions}
        for role, permissions in OF_ROLE.items()
    }
    assert set(told) == {role.value for role in Role}
    assert {Resource.SYSTEM.value} & {p.split(":")[0] for s in told.values() for p in s} == set()
    assert Action.PULL.value in {p.split(":")[1] for p in told["limited-guest"]}


def test_a_permission_is_asked_for_by_every_operation_that_changes_something() -> None:
    for one in OPERATIONS:
        if not one.safe:
            assert one.need != PUBLIC or one.id == "changePassword"
        msgspec.json.encode(one.summary)
