"""Quotas: what projects may hold, what they hold, and what would free space."""

from typing import Annotated, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from argosy.access.permissions.permission import Action, Resource
from argosy.catalog.projects.projects import Project as ProjectRow
from argosy.catalog.projects.projects import ProjectChange as Change
from argosy.catalog.projects.quotas import Amount as Used
from argosy.catalog.projects.quotas import Quota as QuotaValue
from argosy.server.manage.operation import IDENTIFIED, Call, Nothing, Operation, Page, Reply
from argosy.server.manage.paging import page
from argosy.server.manage.resources.projects import LIMIT, Bytes, ProjectsPaging, etag, seen
from argosy.server.manage.values import ProjectName, RepositoryName


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


async def quota(call: Call[Nothing, Nothing]) -> Reply:
    """Limits, and what is used of them now."""
    row, used = await call.services.projects.usage(call.names["project"])
    return Reply(value=_quota(row, used), etag=etag(row))


async def quota_changed(call: Call[Nothing, QuotaChange]) -> Reply:
    """Other limits."""
    projects, name, body = call.services.projects, call.names["project"], call.body
    before = await projects.get(name)
    call.expected.check(etag(before))
    limit = QuotaValue(
        before.quota.bytes if body.bytes is UNSET else body.bytes,
        before.quota.artifacts if body.artifacts is UNSET else body.artifacts,
    )
    await projects.update(name, Change(quota=limit), by=call.actor, version=before.version)
    row, used = await projects.usage(name)
    return Reply(value=_quota(row, used), etag=etag(row))


async def quotas(call: Call[ProjectsPaging, Nothing]) -> Reply:
    """Of every project whose quota the client may read."""
    found = await seen(call, await call.visible(), Resource.QUOTA, call.query)
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


def _quota(row: ProjectRow, used: Used) -> Quota:
    return Quota(
        project=row.name,
        used=Holding(used.bytes, used.artifacts),
        limit=QuotaLimit(row.quota.bytes, row.quota.artifacts),
    )


_QUOTA: Final = Quota(
    project="team",
    used=Holding(bytes=1_250_000_000, artifacts=40),
    limit=QuotaLimit(bytes=10_000_000_000),
)

_R: Final = Resource.QUOTA
_ONE: Final = "/projects/{project}/quota"

OPERATIONS: Final = (
    Operation(
        id="getQuota",
        group="quotas",
        method="GET",
        path=_ONE,
        summary="What a project may hold, and what it holds",
        need=(_R, Action.READ),
        handler=quota,
        answer=Quota,
        example=_QUOTA,
    ),
    Operation(
        id="updateQuota",
        group="quotas",
        method="PATCH",
        path=_ONE,
        summary="Limit what a project may hold",
        need=LIMIT,
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
        path=f"{_ONE}/recount",
        summary="Count anew what a project holds, and put the count right",
        need=LIMIT,
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
        path=f"{_ONE}/shares",
        summary="The repositories of a project whose deletion frees the most; ten of them",
        need=(_R, Action.READ),
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
