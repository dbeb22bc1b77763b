"""Projects, the tenants: made, changed, limited, removed."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from argosy.access.permissions import standing as standings
from argosy.access.permissions.permission import Action, Permission, Resource, Role
from argosy.access.permissions.visible import Visible
from argosy.catalog.projects.limits import Limits as LimitsValue
from argosy.catalog.projects.projects import Project as ProjectRow
from argosy.catalog.projects.projects import ProjectChange as Change
from argosy.catalog.projects.projects import ProjectsQuery
from argosy.catalog.projects.quotas import Quota as QuotaValue
from argosy.server.manage import validators
from argosy.server.manage.operation import (
    IDENTIFIED,
    ONESELF,
    Call,
    Nothing,
    Operation,
    Page,
    Paging,
    Reply,
)
from argosy.server.manage.paging import looked_through, page
from argosy.server.manage.problems import Refusal
from argosy.server.manage.router import PREFIX
from argosy.server.manage.urls import url
from argosy.server.manage.values import (
    EXAMPLE_TIME,
    PLAIN,
    Line,
    ProjectName,
    moment,
)

_MOST: Final = 1 << 50
LIMIT: Final = (Resource.QUOTA, Action.WRITE)
"""The permission to say how much and how fast."""

Rate = Annotated[float, Meta(ge=0, le=_MOST)]
Bytes = Annotated[int, Meta(ge=0, le=_MOST)]


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """How fast a project may be used. Null: as the server's settings say; 0: no limit."""

    requests: Annotated[Rate | None, Meta(description="A second.")] = None
    burst: Annotated[Rate | None, Meta(description="Requests that may come at once.")] = None
    download: Annotated[Bytes | None, Meta(description="Bytes a second.")] = None
    upload: Annotated[Bytes | None, Meta(description="Bytes a second.")] = None
    uploads: Annotated[Bytes | None, Meta(description="Blobs on their way in at once.")] = None


class Project(Struct, frozen=True):
    """A project."""

    name: ProjectName
    public: Annotated[bool, Meta(description="Whether everybody may pull from it.")]
    description: str
    limits: Limits
    created_at: datetime
    created_by: str


class NewProject(Struct, frozen=True, forbid_unknown_fields=True):
    """A project to make. No quota: it may hold any amount."""

    name: ProjectName
    public: bool = False
    description: Line = ""
    limits: Limits | None = None
    quota_bytes: Bytes | None = None
    quota_artifacts: Bytes | None = None


class ProjectChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What to change; what is left out, or null, stays. `limits` are set as a whole."""

    public: bool | None = None
    description: Line | None = None
    limits: Limits | None = None


class ProjectsPaging(Paging, frozen=True, forbid_unknown_fields=True):
    """Which projects."""

    prefix: Annotated[
        str, Meta(pattern=PLAIN, max_length=128, description="Only names that begin so.")
    ] = ""
    public: Annotated[bool | None, Meta(description="Only public ones, or only others.")] = None


class Force(Struct, frozen=True, forbid_unknown_fields=True):
    """How to delete."""

    force: Annotated[bool, Meta(description="With every repository in it.")] = False


async def listed(call: Call[ProjectsPaging, Nothing]) -> Reply:
    """Those that the client may read."""
    found = await seen(call, await call.visible(), Resource.PROJECT, call.query)
    return page(found, call.query.limit, _project, lambda one: one.name)


async def seen(
    call: Call[ProjectsPaging, Nothing], eyes: Visible, what: Resource, asked: ProjectsPaging
) -> list[ProjectRow]:
    """A page, and one more, of the projects whose `what` the client may read."""
    who, standing = call.principal, eyes.standing
    groups: Sequence[str] = sorted(who.groups)
    mine = eyes.projects is not None and who.kind != "robot"

    async def read(after: str, count: int) -> list[ProjectRow]:
        query = ProjectsQuery(
            after=after,
            count=count,
            prefix=asked.prefix,
            public=asked.public,
            member=who.name if mine else None,
            groups=groups,
            visible=True,
        )
        return await call.services.projects.list(query)

    def fits(one: ProjectRow) -> bool:
        need = Permission(what, Action.READ, one.name)
        return eyes.all or standing.may(need, public=one.public and eyes.public)

    return await looked_through(read, fits, lambda one: one.name, asked)


async def created(call: Call[Nothing, NewProject]) -> Reply:
    """A project."""
    new, who = call.body, call.principal
    everybody = call.services.everybody_makes_projects and who.kind != "robot"
    if not (who.is_admin or everybody):
        raise Refusal(
            403,
            "denied",
            f"{who.name} lacks write on the system (a system admin may)",
            remedy="ask a system admin to make the project",
        )
    if (new.quota_bytes, new.quota_artifacts, new.limits) != (None, None, None):
        await _limiting(call, new.name)
    about = Change(
        public=new.public,
        description=new.description,
        quota=QuotaValue(new.quota_bytes, new.quota_artifacts),
        limits=_limits(new.limits),
    )
    row = await call.services.projects.create(new.name, about, by=call.actor)
    if not who.is_admin and who.kind in ("user", "token"):
        await call.people.members.put(call.actor, row.name, "user", who.name, Role.PROJECT_ADMIN)
    return _reply(row, PREFIX + url("projects", row.name))


async def shown(call: Call[Nothing, Nothing]) -> Reply:
    """One project."""
    return _reply(await call.services.projects.get(call.names["project"]))


async def changed(call: Call[Nothing, ProjectChange]) -> Reply:
    """Some of it."""
    body = call.body
    if body.limits is not None:
        await _limiting(call, call.names["project"])
    change = Change(public=body.public, description=body.description, limits=_limits(body.limits))
    return _reply(await _update(call, change))


async def _limiting(call: Call[Any, Any], project: str) -> None:
    """Refusal 403 for who is limited: their own admins would lift the limits of the server."""
    standing, need = (await call.visible()).standing, Permission(*LIMIT, project)
    if not standing.may(need):
        raise Refusal(
            403,
            "denied",
            f"{call.principal.name} lacks {standings.shown(need)}",
            why="how much and how fast is not for who is limited by it",
            remedy="leave quota and limits out, or ask a system admin to set them",
        )


async def _update(call: Call[Nothing, ProjectChange], change: Change) -> ProjectRow:
    projects, name = call.services.projects, call.names["project"]
    before = await projects.get(name)
    call.expected.check(etag(before))
    return await projects.update(name, change, by=call.actor, version=before.version)


async def deleted(call: Call[Force, Nothing]) -> Reply:
    """With members, robots and rules; with repositories if that is said."""
    projects, name = call.services.projects, call.names["project"]
    before = await projects.get(name)
    call.expected.check(etag(before))
    version = before.version if call.expected.given else None
    await projects.delete(name, by=call.actor, force=call.query.force, version=version)
    return Reply()


def _limits(body: Limits | None) -> LimitsValue | None:
    if body is None:
        return None
    return LimitsValue(**{name: getattr(body, name) for name in Limits.__struct_fields__})


def _reply(row: ProjectRow, location: str = "") -> Reply:
    return Reply(value=_project(row), etag=etag(row), location=location)


def etag(row: ProjectRow) -> str:
    """Of a project's state, its quota with it."""
    return validators.of_version("p", row.id, row.version)


def _project(row: ProjectRow) -> Project:
    return Project(
        name=row.name,
        public=row.public,
        description=row.description,
        limits=Limits(**row.limits.to_json()),
        created_at=moment(row.created_at),
        created_by=row.created_by,
    )


_PROJECT: Final = Project(
    name="team",
    public=False,
    description="what the team builds",
    limits=Limits(requests=200.0, download=50_000_000),
    created_at=EXAMPLE_TIME,
    created_by="admin",
)
_R: Final = Resource.PROJECT
_ONE: Final = "/projects/{project}"

OPERATIONS: Final = (
    Operation(
        id="listProjects",
        group="projects",
        method="GET",
        path="/projects",
        summary="The projects that you may see",
        need=IDENTIFIED,
        handler=listed,
        query=ProjectsPaging,
        answer=Page[Project],
        example=Page(items=[_PROJECT], next="team"),
    ),
    Operation(
        id="createProject",
        group="projects",
        method="POST",
        path="/projects",
        summary="Make a project",
        description="System admins may, and everybody where the setting auth.project_creation says"
        " so: then who makes it is its first project admin. Quota and limits are set by system admins.",
        need=ONESELF,
        handler=created,
        body=NewProject,
        answer=Project,
        status=201,
        example=NewProject(name="team", description="what the team builds"),
    ),
    Operation(
        id="getProject",
        group="projects",
        method="GET",
        path=_ONE,
        summary="One project",
        need=(_R, Action.READ),
        handler=shown,
        answer=Project,
        example=_PROJECT,
    ),
    Operation(
        id="updateProject",
        group="projects",
        method="PATCH",
        path=_ONE,
        summary="Change a project: its description, who may see it, how fast it may be used",
        description="Limits, like quotas, are set by who has `quota:write`: a system admin.",
        need=(_R, Action.WRITE),
        handler=changed,
        body=ProjectChange,
        answer=Project,
        guarded=True,
        example=ProjectChange(public=True),
    ),
    Operation(
        id="deleteProject",
        group="projects",
        method="DELETE",
        path=_ONE,
        summary="Delete a project, with its members, robots and rules",
        description="Refused (409) while it holds repositories, unless `force` is given.",
        need=(_R, Action.ADMIN),
        handler=deleted,
        query=Force,
        refusals=(409,),
    ),
)
