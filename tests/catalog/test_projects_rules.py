"""Projects: made, found, changed, and gone with all that is below them."""

import asyncio
import contextlib

import pytest
from sqlalchemy import insert, select

from argosy.catalog import schema as t
from argosy.catalog.actor import ANYBODY, SYSTEM, Actor
from argosy.catalog.catalog import Catalog
from argosy.catalog.projects.limits import Limits
from argosy.catalog.projects.places import ProjectUnknown
from argosy.catalog.projects.projects import (
    ProjectChange,
    ProjectChanged,
    ProjectExists,
    ProjectNotEmpty,
    Projects,
    ProjectsQuery,
)
from argosy.catalog.projects.quotas import Amount, Quota
from argosy.content.blob_storage import Stored
from argosy.errors import UsageError
from argosy.model.digest import Digest
from tests.catalog.pushing import image, push

ADA = Actor(name="ada", kind="user", address="192.0.2.1", request="r-1")
ROOM = Quota(bytes=1000, artifacts=5)


@pytest.fixture
def projects(catalog: Catalog) -> Projects:
    return Projects(catalog.database)


async def actions(catalog: Catalog) -> list[tuple[str, str]]:
    found = select(t.audit.c.action, t.audit.c.actor).order_by(t.audit.c.id)
    return await catalog.database.read(lambda conn: [tuple(row) for row in conn.execute(found)])


async def test_what_is_made_is_found_as_it_was_made(projects: Projects) -> None:
    about = ProjectChange(public=True, description="ours", quota=ROOM, limits=Limits(requests=5))
    made = await projects.create("team", about, by=ADA)
    assert (made.public, made.description, made.quota, made.version) == (True, "ours", ROOM, 1)
    assert (made.limits, made.created_by) == (Limits(requests=5), "ada")
    assert await projects.get("team") == made == await projects.find("team")
    held = projects.at_hand("team")
    assert held is None or held.project == made  # none: PostgreSQL, until it listens


async def test_a_name_is_taken_once(projects: Projects) -> None:
    await projects.create("team", by=ADA)
    with pytest.raises(ProjectExists) as caught:
        await projects.create("team", by=ADA)
    assert caught.value.status == 409


@pytest.mark.parametrize(
    "name", ["", "Team", "team/app", "-team", "team-", "a" * 129, "../up", "té", "a b", "team\n"]
)
async def test_a_name_that_no_repository_could_begin_with_is_refused(
    projects: Projects, name: str
) -> None:
    with pytest.raises(UsageError):
        await projects.create(name, by=ADA)


async def test_of_many_who_make_one_at_once_one_does(projects: Projects) -> None:
    made = await asyncio.gather(
        *(projects.create("team", by=ADA) for _ in range(16)), return_exceptions=True
    )
    assert sum(isinstance(one, ProjectExists) for one in made) == 15


async def test_changes_are_seen_by_who_keeps_it_in_memory(projects: Projects) -> None:
    await projects.create("team", by=ADA)
    assert await projects.find("team") is not None
    changed = await projects.update("team", ProjectChange(public=True), by=ADA)
    assert (changed.version, changed.public) == (2, True)
    assert await projects.find("team") == changed


async def test_that_there_is_none_is_forgotten_when_it_is_made(projects: Projects) -> None:
    assert await projects.find("team") is None
    made = await projects.create("team", by=ADA)
    assert await projects.find("team") == made


async def test_a_change_of_what_was_changed_meanwhile_is_refused(projects: Projects) -> None:
    await projects.create("team", by=ADA)
    await projects.update("team", ProjectChange(description="one"), by=ADA, version=1)
    with pytest.raises(ProjectChanged):
        await projects.update("team", ProjectChange(description="two"), by=ADA, version=1)
    assert (await projects.get("team")).description == "one"


async def test_a_quota_can_be_taken_away(projects: Projects) -> None:
    await projects.create("team", ProjectChange(quota=ROOM), by=ADA)
    assert (await projects.update("team", ProjectChange(quota=Quota()), by=ADA)).quota == Quota()


@pytest.mark.parametrize("quota", [Quota(bytes=-1), Quota(artifacts=-5), Quota(bytes=1 << 62)])
async def test_a_quota_that_cannot_be_is_refused(projects: Projects, quota: Quota) -> None:
    with pytest.raises(UsageError):
        await projects.create("team", ProjectChange(quota=quota), by=ADA)


async def test_pages_go_by_name_and_filters(catalog: Catalog, projects: Projects) -> None:
    for name in ("alpha", "beta", "beta-two", "gamma"):
        await projects.create(name, ProjectChange(public=name == "gamma"), by=ADA)
    ids = {name: (await projects.get(name)).id for name in ("alpha", "beta")}

    def join(conn: object, project: str, kind: str, name: str) -> None:
        row = {"project_id": ids[project], "kind": kind, "name": name, "created_at": 1}
        conn.execute(insert(t.members).values(role="guest", **row))

    await catalog.database.write(lambda conn: join(conn, "alpha", "user", "eve"))
    await catalog.database.write(lambda conn: join(conn, "beta", "group", "devs"))

    async def names(**query: object) -> list[str]:
        return [p.name for p in await projects.list(ProjectsQuery(**query))]

    assert await names(count=2) == ["alpha", "beta"]
    assert await names(count=2, after="beta") == ["beta-two", "gamma"]
    assert await names(prefix="beta") == ["beta", "beta-two"]
    assert await names(public=True) == ["gamma"]
    assert await names(member="eve") == ["alpha"]
    assert await names(member="eve", groups=["devs"]) == ["alpha", "beta"]
    assert await names(member="eve", visible=True) == ["alpha", "gamma"]
    assert await names(member="devs") == []


async def test_a_push_makes_the_project_where_nobody_is_asked_who_they_are(
    catalog: Catalog, projects: Projects
) -> None:
    await catalog.link_blob("team/app", Digest.of(b"{}"), Stored(2), by=ANYBODY)
    assert (await projects.get("team")).public is False
    assert ("project.create", "") in await actions(catalog)


@pytest.mark.parametrize("kind", ["user", "robot", "token"])
async def test_a_push_by_somebody_needs_the_project(
    catalog: Catalog, projects: Projects, kind: str
) -> None:
    by = Actor(name="ada", kind=kind)
    with pytest.raises(ProjectUnknown):
        await catalog.link_blob("team/app", Digest.of(b"{}"), Stored(2), by=by)
    assert await catalog.repositories("", 10) == []
    await projects.create("team", by=ADA)
    await catalog.link_blob("team/app", Digest.of(b"{}"), Stored(2), by=by)
    await catalog.put_manifest("team/app", image(b"{}"), ["v1"], by=by)
    assert await catalog.repositories("", 10) == ["team/app"]


async def test_a_project_that_holds_something_stays(catalog: Catalog, projects: Projects) -> None:
    await push(catalog, "v1", name="team/app")
    with pytest.raises(ProjectNotEmpty) as caught:
        await projects.delete("team", by=ADA)
    assert "team/app" in caught.value.summary
    assert await catalog.manifest("team/app", "v1") is not None


async def test_by_force_everything_below_it_goes_and_nothing_else(
    catalog: Catalog, projects: Projects
) -> None:
    for name in ("team/app", "team/x/y", "team", "teams/app"):
        await push(catalog, "v1", "v2", name=name)
    assert await catalog.manifest("team/app", "v1") is not None  # now in memory
    await projects.delete("team", by=ADA, force=True)
    assert await catalog.repositories("", 10) == ["teams/app"]
    assert await catalog.manifest("team/app", "v1") is None
    assert await catalog.blob("team/x/y", Digest.of(b"{}")) is None
    with pytest.raises(ProjectUnknown):
        await projects.get("team")
    done = await actions(catalog)
    assert done[-4:] == [("repository.delete", "ada")] * 3 + [("project.delete", "ada")]
    await push(catalog, "v1", name="team/app")  # and it can be made anew
    assert (await projects.usage("team"))[1].artifacts == 1


async def test_an_empty_project_goes_with_its_members_and_robots(
    catalog: Catalog, projects: Projects
) -> None:
    made = await projects.create("team", ProjectChange(quota=ROOM), by=ADA)
    robot = {"name": "robot$team+ci", "secret": "x", "grants": [], "project_id": made.id}

    def fill(conn: object) -> None:
        conn.execute(insert(t.robots).values(created_at=1, **robot))
        row = {"project_id": made.id, "kind": "user", "name": "eve", "role": "guest"}
        conn.execute(insert(t.members).values(created_at=1, **row))

    await catalog.database.write(fill)
    await projects.delete("team", by=ADA)

    def left(conn: object) -> int:
        return len(conn.execute(select(t.robots)).all()) + len(
            conn.execute(select(t.members)).all()
        )

    assert await catalog.database.read(left) == 0


async def test_the_wrong_version_is_not_deleted(projects: Projects) -> None:
    await projects.create("team", by=ADA)
    with pytest.raises(ProjectChanged):
        await projects.delete("team", by=ADA, version=7)
    assert await projects.get("team")


async def test_every_change_is_in_the_audit_log(catalog: Catalog, projects: Projects) -> None:
    await projects.create("team", by=ADA)
    await projects.update("team", ProjectChange(public=True), by=ADA)
    await projects.delete("team", by=ADA)
    expected = ["project.create", "project.update", "project.delete"]
    assert await actions(catalog) == [(action, "ada") for action in expected]


async def test_pushes_while_the_project_is_removed_leave_no_half_of_anything(
    catalog: Catalog, projects: Projects
) -> None:
    await projects.create("team", by=ADA)
    await push(catalog, "v1", name="team/app0")

    async def one(number: int) -> None:
        seed = b"%d" % number
        name = f"team/app{number % 4}"
        await catalog.link_blob(name, Digest.of(seed), Stored(len(seed)), by=SYSTEM)

    async def remove() -> None:
        with contextlib.suppress(ProjectNotEmpty):
            await projects.delete("team", by=ADA, force=True)

    await asyncio.gather(*(one(n) for n in range(24)), remove(), return_exceptions=False)
    r, p = t.repositories.c, t.projects.c
    strays = select(r.name).outerjoin(t.projects, p.id == r.project_id).where(p.id.is_(None))
    assert await catalog.database.read(lambda conn: conn.execute(strays).all()) == []
    left = await projects.find("team")
    used = (await projects.usage("team"))[1] if left else Amount()
    held = select(t.project_blobs.c.size)
    sizes = await catalog.database.read(lambda conn: list(conn.execute(held).scalars()))
    assert used.bytes == sum(sizes)
