"""Each role may what the table in the docs says, and nothing else; who may not is told what is missing."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from argosy.access.permissions.describing import page
from argosy.access.permissions.permission import ADDED, OF_EVERYBODY, OF_ROLE, Action, Role
from tests.guarded import PASSWORD, World, guarded
from tests.serving import Client, digest

# What the registry's operations are, each with the permission that the docs' table has for it.
OPERATIONS: Final = {
    "pull a manifest": (Action.PULL, "GET", "manifests/v1", 200),
    "look for a manifest": (Action.PULL, "HEAD", "manifests/v1", 200),
    "pull a blob": (Action.PULL, "GET", f"blobs/{digest(b'layer ')}", 200),
    "list tags": (Action.LIST, "GET", "tags/list", 200),
    "list referrers": (Action.PULL, "GET", f"referrers/{digest(b'layer ')}", 200),
    "begin an upload": (Action.PUSH, "POST", "blobs/uploads/", 202),
    "delete a tag": (Action.DELETE, "DELETE", "manifests/gone", 404),
    "delete a blob": (Action.DELETE, "DELETE", f"blobs/{digest(b'nothing')}", 404),
}
KINDS: Final = (None, *Role)
DOCS: Final = Path(__file__).parents[2] / "docs/access.md"


def told() -> dict[str, set[tuple[str, str]]]:
    """What the table in the docs says that each role may."""
    lines = [line for line in DOCS.read_text().splitlines() if line.startswith("| ")]
    heads = next(line for line in lines if line.startswith("| permission")).split("|")[1:-1]
    found: dict[str, set[tuple[str, str]]] = {head.strip(): set() for head in heads}
    for line in lines:
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if cells[0].startswith("`"):
            resource, _, action = cells[0].strip("`").partition(":")
            for head, cell in zip(found, cells, strict=True):
                if cell == "yes":
                    found[head].add((resource, action))
    return found


TOLD: Final = told()


def test_the_table_in_the_docs_is_the_one_that_decides() -> None:
    """`python scripts/write_docs.py` (make docs) writes it anew."""
    assert DOCS.read_text() == page(DOCS.read_text())
    for role in Role:
        assert TOLD[role] == OF_ROLE[role]
    assert TOLD["anybody, if public"] == OF_EVERYBODY


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with guarded(tmp_path_factory.mktemp("roles")) as found:
        for name in ("team/app", "open/app"):
            found.client.by("root", PASSWORD).at(name).push_image("v1")
        for role in Role:
            found.user(role, role)
        found.user("stranger")
        yield found


def as_role(world: World, role: Role | None) -> Client:
    return world.client.by(role or "stranger", PASSWORD)


@pytest.mark.parametrize(("role", "what"), list(itertools.product(KINDS, OPERATIONS)))
def test_a_role_may_exactly_what_the_table_says(world: World, role: Role | None, what: str) -> None:
    action, method, path, status = OPERATIONS[what]
    allowed = role is not None and ("repository", action) in TOLD[role]
    answer = as_role(world, role).at("team/app")(method, path)
    assert answer.status == (status if allowed else 403)
    if not allowed and method != "HEAD":
        assert answer.code == "DENIED"
        message = answer.json["errors"][0]["message"]
        assert f"lacks {action} on repository team/app" in message
        enough = next(one for one in Role if ("repository", action) in TOLD[one])
        assert message.endswith(
            f"ask an admin of the project for the role {enough} or a higher one"
        )


@pytest.mark.parametrize(
    ("path", "lacks"),
    [
        ("users", "read on the system"),
        ("audit", "read on audit of the system"),
        ("robots", "read on robot of the system"),
    ],
)
def test_what_no_role_has_is_a_system_admins_to_do(world: World, path: str, lacks: str) -> None:
    answer = as_role(world, Role.PROJECT_ADMIN)("GET", f"/api/v1/{path}")
    assert answer.status == 403
    assert f"lacks {lacks} (a system admin may)" in answer.json["detail"]
    assert answer.json["remedy"] == "ask a system admin"


@pytest.mark.parametrize(("role", "what"), list(itertools.product(KINDS, OPERATIONS)))
def test_a_token_may_exactly_what_the_table_says(
    world: World, role: Role | None, what: str
) -> None:
    action, method, path, status = OPERATIONS[what]
    allowed = role is not None and ("repository", action) in TOLD[role]
    asked = as_role(world, role)("GET", "/token?scope=repository:team/app:pull,push,delete")
    answer = world.client.bearing(asked.json["token"]).at("team/app")(method, path)
    assert answer.status == (status if allowed else 403)


@pytest.mark.parametrize("what", OPERATIONS)
def test_everybody_reads_in_a_public_project_and_nobody_else_writes(
    world: World, what: str
) -> None:
    action, method, path, status = OPERATIONS[what]
    allowed = ("repository", action) in TOLD["anybody, if public"]
    for client, refused in ((world.client, 401), (as_role(world, None), 403)):
        assert client.at("open/app")(method, path).status == (status if allowed else refused)


@pytest.mark.parametrize("what", OPERATIONS)
def test_a_system_admin_may_everything_everywhere(world: World, what: str) -> None:
    _, method, path, status = OPERATIONS[what]
    assert world.client.by("root", PASSWORD).at("team/app")(method, path).status == status


def test_each_role_has_all_that_those_before_it_have() -> None:
    for lower, higher in itertools.pairwise(Role):
        assert OF_ROLE[lower] < OF_ROLE[higher]
    assert set(ADDED) == set(Role)


def test_a_private_repository_and_one_that_is_not_there_look_the_same(world: World) -> None:
    for client in (world.client, as_role(world, None)):
        answers = [
            client.at(name)("GET", "manifests/v1") for name in ("team/app", "team/nil", "nil/nil")
        ]
        told = [
            (a.status, a.body.replace(n.encode(), b"*"), a.headers["WWW-Authenticate"] is None)
            for a, n in zip(answers, ("team/app", "team/nil", "nil/nil"), strict=True)
        ]
        assert told[0] == told[1] == told[2]


def test_a_member_is_told_what_is_not_there(world: World) -> None:
    answer = as_role(world, Role.GUEST).at("team/nil")("GET", "manifests/v1")
    assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")


def test_only_a_system_admin_makes_a_project_by_pushing(world: World) -> None:
    admin = as_role(world, Role.PROJECT_ADMIN)
    assert admin.at("elsewhere/app")("POST", "blobs/uploads/").status == 403
    assert world.client.by("root", PASSWORD).at("made/app").push_image("v1")


def test_a_name_that_no_project_can_have_is_refused_as_a_name(world: World) -> None:
    root = world.client.by("root", PASSWORD)
    answer = root.at("a" * 200 + "/x")("POST", "blobs/uploads/")
    assert (answer.status, answer.code) == (400, "NAME_INVALID")


def test_the_catalog_lists_what_one_may_pull_by_full_pages(world: World) -> None:
    root = world.client.by("root", PASSWORD)
    for number in range(3):
        root.at(f"hidden/a{number}").push_image("v1")
        root.at(f"open/b{number}").push_image("v1")
    seen, path = [], "/v2/_catalog?n=2"
    while path:
        page = as_role(world, Role.LIMITED_GUEST)("GET", path)
        assert page.status == 200
        found = page.json["repositories"]
        seen += found
        link = page.headers["Link"]
        path = link.partition("<")[2].partition(">")[0] if link else ""
        assert len(found) == 2 or not path
    everything = root("GET", "/v2/_catalog").json["repositories"]
    assert {"open/app", "open/b2", "team/app", "hidden/a0"} <= set(everything)
    assert seen == [name for name in everything if name.startswith(("open/", "team/"))]
    token = world.client("GET", "/token?scope=registry:catalog:*").json["token"]
    listed = world.client.bearing(token)("GET", "/v2/_catalog").json["repositories"]
    assert listed == [name for name in everything if name.startswith("open/")]


def test_mounts_come_only_from_what_one_may_pull(world: World) -> None:
    root = world.client.by("root", PASSWORD)
    secret = root.at("vault/app").push_blob(b"vaulted")
    shared = root.at("open/shared").push_blob(b"shared")
    mine = as_role(world, Role.DEVELOPER).at("team/mounted")
    assert mine("POST", f"blobs/uploads/?mount={secret}&from=vault/app").status == 202
    assert mine("POST", f"blobs/uploads/?mount={secret}").status == 202
    assert mine("HEAD", f"blobs/{secret}").status == 404
    assert mine("POST", f"blobs/uploads/?mount={shared}&from=open/shared").status == 201
    other = as_role(world, Role.DEVELOPER).at("team/other")
    assert other("POST", f"blobs/uploads/?mount={shared}").status == 201


def test_a_token_to_push_mounts_nothing_that_it_was_not_given_to_pull(world: World) -> None:
    world.client.by("root", PASSWORD).at("team/secrets").push_image("v1", seed="secrets")
    world.client.by("root", PASSWORD).at("open/known").push_image("v1", seed="known")
    secret, known = digest(b"layer secrets"), digest(b"layer known")
    for scopes, status in (
        ("repository:team/taker:push", 202),
        ("repository:team/taker:push&scope=repository:team/secrets:pull", 201),
    ):
        asked = as_role(world, Role.DEVELOPER)("GET", f"/token?service=argosy&scope={scopes}")
        taker = world.client.bearing(asked.json["token"]).at("team/taker")
        for source in ("&from=team/secrets", ""):
            answer = taker("POST", f"blobs/uploads/?mount={secret}{source}")
            assert answer.status == status
        assert taker("POST", f"blobs/uploads/?mount={known}").status == 201  # anybody's
