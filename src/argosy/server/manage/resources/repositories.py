"""Repositories, and the artifacts in them."""

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta, Struct
from sqlalchemy import Connection

from argosy.access.permissions.permission import Action, Resource
from argosy.catalog.registry import browsing, rows
from argosy.catalog.registry.browsing import Artifact as ArtifactRow
from argosy.catalog.registry.browsing import RepositoriesQuery
from argosy.catalog.registry.browsing import Repository as RepositoryRow
from argosy.catalog.registry.removing import remove_repository
from argosy.errors import NotFound, RegistryError
from argosy.model.digest import Digest
from argosy.server.manage.operation import (
    IDENTIFIED,
    Call,
    Nothing,
    Operation,
    Page,
    Paging,
    Reply,
)
from argosy.server.manage.paging import looked_through, page
from argosy.server.manage.problems import Refusal
from argosy.server.manage.values import (
    EXAMPLE_DIGEST,
    EXAMPLE_TIME,
    PLAIN,
    Amount,
    DigestText,
    ProjectName,
    RepositoryName,
    Tag,
    moment,
    project_of,
)


class Repository(Struct, frozen=True):
    """A repository and how much it holds."""

    name: RepositoryName
    project: ProjectName
    tags: Amount
    artifacts: Amount
    created_at: datetime


class Artifact(Struct, frozen=True):
    """A manifest or index of a repository."""

    digest: DigestText
    media_type: str
    artifact_type: str
    size: Annotated[Amount, Meta(description="Bytes of the manifest itself.")]
    tags: Annotated[list[Tag], Meta(description="What names it; at most a hundred.")]
    annotations: dict[str, str]
    pushed_at: datetime
    subject: Annotated[str | None, Meta(description="The digest it is about, if any.")] = None


class RepositoriesPaging(Paging, frozen=True, forbid_unknown_fields=True):
    """Which repositories."""

    project: Annotated[
        str,
        Meta(pattern=PLAIN, max_length=128, description="Only those of this project."),
    ] = ""


async def listed(call: Call[RepositoriesPaging, Nothing]) -> Reply:
    """Those that the client may see."""
    eyes, asked = await call.visible(), call.query

    async def read(after: str, count: int) -> list[RepositoryRow]:
        query = RepositoriesQuery(
            after=after,
            count=count,
            project=asked.project,
            projects=eyes.projects,
            public=eyes.public,
        )
        return await call.services.database.read(lambda conn: browsing.repositories(conn, query))

    def fits(one: RepositoryRow) -> bool:
        return eyes.all or eyes.sees(one.name, public=one.public)

    found = await looked_through(read, fits, lambda one: one.name, asked)
    return page(found, asked.limit, _repository, lambda one: one.name)


async def shown(call: Call[Nothing, Nothing]) -> Reply:
    """One repository."""
    name = call.names["repository"]
    found = await call.services.database.read(lambda conn: browsing.repository(conn, name))
    if found is None:
        raise rows.RepositoryUnknown(name)
    return Reply(value=_repository(found))


async def deleted(call: Call[Nothing, Nothing]) -> Reply:
    """With all that it holds."""
    name, by = call.names["repository"], call.actor
    gone = await call.services.database.write(lambda conn: remove_repository(conn, name, by))
    if not gone:
        raise rows.RepositoryUnknown(name)
    return Reply()


async def artifacts(call: Call[Paging, Nothing]) -> Reply:
    """What is in it, by digest."""
    name, query = call.names["repository"], call.query

    def find(conn: Connection) -> list[ArtifactRow]:
        return browsing.artifacts(conn, rows.known(conn, name), query.after, query.limit + 1)

    found = await call.services.database.read(find)
    return page(found, query.limit, _artifact, lambda one: one.digest)


async def artifact(call: Call[Nothing, Nothing]) -> Reply:
    """One artifact."""
    name, digest = call.names["repository"], Digest.parse(call.names["digest"])

    def find(conn: Connection) -> ArtifactRow:
        if (found := browsing.artifact(conn, rows.known(conn, name), digest)) is None:
            raise NotFound(f"no manifest {digest} in {name}")
        return found

    found = await call.services.database.read(find)
    return Reply(value=_artifact(found), etag=f'"{digest}"')


async def delete_artifact(call: Call[Nothing, Nothing]) -> Reply:
    """Forget it and its tags."""
    digest = Digest.parse(call.names["digest"])
    call.expected.check(f'"{digest}"')
    catalog, name = call.services.catalog, call.names["repository"]
    try:
        await catalog.delete_manifest(name, digest, by=call.actor)
    except RegistryError as e:
        if e.status != 405:
            raise
        raise Refusal(409, "needed", e.summary, why=e.why, remedy=e.remedy) from e
    return Reply()


def _repository(row: RepositoryRow) -> Repository:
    return Repository(
        name=row.name,
        project=project_of(row.name),
        tags=row.tags,
        artifacts=row.artifacts,
        created_at=moment(row.created_at),
    )


def _artifact(row: ArtifactRow) -> Artifact:
    return Artifact(
        digest=str(row.digest),
        media_type=row.media_type,
        artifact_type=row.artifact_type,
        size=row.size,
        tags=list(row.tags),
        annotations=dict(row.annotations),
        pushed_at=moment(row.pushed_at),
        subject=row.subject,
    )


_REPOSITORY: Final = Repository(
    name="team/app", project="team", tags=12, artifacts=40, created_at=EXAMPLE_TIME
)
_ARTIFACT: Final = Artifact(
    digest=EXAMPLE_DIGEST,
    media_type="application/vnd.oci.image.index.v1+json",
    artifact_type="",
    size=1024,
    tags=["v1", "latest"],
    annotations={"org.opencontainers.image.revision": "4fe1"},
    pushed_at=EXAMPLE_TIME,
)
_R: Final = Resource.REPOSITORY

OPERATIONS: Final = (
    Operation(
        id="listRepositories",
        group="repositories",
        method="GET",
        path="/repositories",
        summary="The repositories that you may see",
        need=IDENTIFIED,
        handler=listed,
        query=RepositoriesPaging,
        answer=Page[Repository],
        example=Page(items=[_REPOSITORY], next="team/app"),
    ),
    Operation(
        id="getRepository",
        group="repositories",
        method="GET",
        path="/repositories/{repository}",
        summary="One repository",
        need=(_R, Action.READ),
        handler=shown,
        answer=Repository,
        example=_REPOSITORY,
    ),
    Operation(
        id="deleteRepository",
        group="repositories",
        method="DELETE",
        path="/repositories/{repository}",
        summary="Delete a repository, with all its tags and artifacts",
        description="At once, and for good: the history of its tags goes, too.",
        need=(_R, Action.DELETE),
        handler=deleted,
        refusals=(409,),
    ),
    Operation(
        id="listArtifacts",
        group="artifacts",
        method="GET",
        path="/repositories/{repository}/artifacts",
        summary="The manifests and indexes of a repository, by digest",
        need=(_R, Action.LIST),
        handler=artifacts,
        query=Paging,
        answer=Page[Artifact],
        example=Page(items=[_ARTIFACT]),
    ),
    Operation(
        id="getArtifact",
        group="artifacts",
        method="GET",
        path="/repositories/{repository}/artifacts/{digest}",
        summary="One manifest or index, and its tags",
        need=(_R, Action.READ),
        handler=artifact,
        answer=Artifact,
        example=_ARTIFACT,
    ),
    Operation(
        id="deleteArtifact",
        group="artifacts",
        method="DELETE",
        path="/repositories/{repository}/artifacts/{digest}",
        summary="Delete a manifest or index, and every tag on it",
        description="Refused (409) while an index needs it, and when a rule keeps one of its tags.",
        need=(_R, Action.DELETE),
        handler=delete_artifact,
        refusals=(409,),
    ),
)
