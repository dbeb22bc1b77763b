"""Projects, the tenants: made, changed, limited, removed; and their quotas."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from argosy.access.permissions import standing as standings
from argosy.access.permissions.permission import Action, Permission, Resource, Role
from argosy.access.permissions.visible import Visible
from argosy.catalog.projects.limits import Limits as LimitsValue
from argosy.catalog.projects.projects import Project as ProjectRow
from argosy.catalog.projects.projects import ProjectChange as Change
from argosy.catalog.projects.projects import ProjectsQuery
from argosy.catalog.projects.quotas import Amount as Used
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
    RepositoryName,
    moment,
)

_MOST: Final = 1 << 50
_LIMIT: Final = (Resource.QUOTA, Action.WRITE)
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


class Quota(Struct, frozen=True):
    """What a project may hold, and what it holds. A blob counts once in a project."""

    project: ProjectName
    used: "Holding"
    limit: "QuotaLimit"


class Holding(Struct, frozen=True):
    """An amount held."""

    bytes: int
    artifacts: Annotated[int, Meta(description="Manifests and indexes.")]


class QuotaLimit(Struct, frozen=True):
    """The most that may be held; null: any amount."""

    bytes: int | None = None
    artifacts: int | None = None


class QuotaChange(Struct, frozen=True, forbid_unknown_fields=True):
    """Other limits: null lifts one, what is left out stays. Below what is held is fine."""

    bytes: Bytes | UnsetType | None = UNSET
    artifacts: Bytes | UnsetType | None = UNSET


class Recount(Struct, frozen=True):
    """What a project holds, counted anew, and by how much the count was off: 0 but for a fault."""

    project: ProjectName
    bytes: int
    artifacts: int
    bytes_off: int
    artifacts_off: int


class Share(Struct, frozen=True):
    """A repository, and what deleting it would free: bytes that no other one of the project has."""

    repository: RepositoryName
    bytes: int


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
    found = await _seen(call, await call.visible(), Resource.PROJECT, call.query)
    return page(found, call.query.limit, _project, lambda one: one.name)


async def _seen(
    call: Call[ProjectsPaging, Nothing], eyes: Visible, what: Resource, asked: ProjectsPaging
) -> list[ProjectRow]:
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
    standing, need = (await call.visible()).standing, Permission(*_LIMIT, project)
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
    call.expected.check(_etag(before))
    return await projects.update(name, change, by=call.actor, version=before.version)


async def deleted(call: Call[Force, Nothing]) -> Reply:
    """With members, robots and rules; with repositories if that is said."""
    projects, name = call.services.projects, call.names["project"]
    before = await projects.get(name)
    call.expected.check(_etag(before))
    version = before.version if call.expected.given else None
    await projects.delete(name, by=call.actor, force=call.query.force, version=version)
    return Reply()


async def quota(call: Call[Nothing, Nothing]) -> Reply:
    """Limits, and what is used of them now."""
    row, used = await call.services.projects.usage(call.names["project"])
    return Reply(value=_quota(row, used), etag=_etag(row))


async def quota_changed(call: Call[Nothing, QuotaChange]) -> Reply:
    """Other limits."""
    projects, name, body = call.services.projects, call.names["project"], call.body
    before = await projects.get(name)
    call.expected.check(_etag(before))
    limit = QuotaValue(
        before.quota.bytes if body.bytes is UNSET else body.bytes,
        before.quota.artifacts if body.artifacts is UNSET else body.artifacts,
    )
    await projects.update(name, Change(quota=limit), by=call.actor, version=before.version)
    row, used = await projects.usage(name)
    return Reply(value=_quota(row, used), etag=_etag(row))


async def quotas(call: Call[ProjectsPaging, Nothing]) -> Reply:
    """Of every project whose quota the client may read."""
    found = await _seen(call, await call.visible(), Resource.QUOTA, call.query)
    used = await call.services.projects.usages(found[: call.query.limit])
    return page(
        found, call.query.limit, lambda one: _quota(one, used[one.id]), lambda one: one.name
    )


async def recounted(call: Call[Nothing, Nothing]) -> Reply:
    """What was charged, what is there; and the count put right."""
    found = await call.services.accounts.mend(call.names["project"], by=call.actor)
    return Reply(
        value=Recount(
            project=found.project,
            bytes=found.counted.bytes,
            artifacts=found.counted.artifacts,
            bytes_off=found.off.bytes,
            artifacts_off=found.off.artifacts,
        )
    )


async def shares(call: Call[Nothing, Nothing]) -> Reply:
    """The repositories whose deletion frees the most."""
    found = await call.services.accounts.largest(call.names["project"])
    items = [Share(repository=one.repository, bytes=one.bytes) for one in found]
    return Reply(value=Page(items=items))


def _limits(body: Limits | None) -> LimitsValue | None:
    if body is None:
        return None
    return LimitsValue(**{name: getattr(body, name) for name in Limits.__struct_fields__})


def _reply(row: ProjectRow, location: str = "") -> Reply:
    return Reply(value=_project(row), etag=_etag(row), location=location)


def _etag(row: ProjectRow) -> str:
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


def _quota(row: ProjectRow, used: Used) -> Quota:
    return Quota(
        project=row.name,
        used=Holding(used.bytes, used.artifacts),
        limit=QuotaLimit(row.quota.bytes, row.quota.artifacts),
    )


_PROJECT: Final = Project(
    name="team",
    public=False,
    description="what the team builds",
    limits=Limits(requests=200.0, download=50_000_000),
    created_at=EXAMPLE_TIME,
    created_by="admin",
)
_QUOTA: Final = Quota(
    project="team",
    used=Holding(bytes=1_250_000_000, artifacts=40),
    limit=QuotaLimit(bytes=10_000_000_000),
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
    Operation(
        id="getQuota",
        group="quotas",
        method="GET",
        path=f"{_ONE}/quota",
        summary="What a project may hold, and what it holds",
        need=(Resource.QUOTA, Action.READ),
        handler=quota,
        answer=Quota,
        example=_QUOTA,
    ),
    Operation(
        id="updateQuota",
        group="quotas",
        method="PATCH",
        path=f"{_ONE}/quota",
        summary="Limit what a project may hold",
        need=_LIMIT,
        handler=quota_changed,
        body=QuotaChange,
        answer=Quota,
        guarded=True,
        example=QuotaChange(bytes=10_000_000_000),
    ),
    Operation(
        id="recountQuota",
        group="quotas",
        method="POST",
        path=f"{_ONE}/quota/recount",
        summary="Count anew what a project holds, and put the count right",
        need=_LIMIT,
        handler=recounted,
        answer=Recount,
        example=Recount(
            project="team", bytes=1_250_000_000, artifacts=40, bytes_off=0, artifacts_off=0
        ),
    ),
    Operation(
        id="listShares",
        group="quotas",
        method="GET",
        path=f"{_ONE}/quota/shares",
        summary="The repositories of a project whose deletion frees the most; ten of them",
        need=(Resource.QUOTA, Action.READ),
        handler=shares,
        answer=Page[Share],
        example=Page(items=[Share(repository="team/app", bytes=900_000_000)]),
    ),
    Operation(
        id="listQuotas",
        group="quotas",
        method="GET",
        path="/quotas",
        summary="What projects may hold and what they hold: those whose quota you may see",
        need=IDENTIFIED,
        handler=quotas,
        query=ProjectsPaging,
        answer=Page[Quota],
        example=Page(items=[_QUOTA]),
    ),
)
