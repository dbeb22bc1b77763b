"""What repositories hold, as people look at it: a page at a time, by key, never by offset."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, func, or_, select

from argosy.catalog import schema as t
from argosy.model.digest import Digest
from argosy.values import frozen

_TAGS_SHOWN: Final = 100  # of one artifact in a list: there may be thousands


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoriesQuery:
    """Which repositories to list: after a name, at most `count`, below `project`, if it is given.

    `visible` limits the list to projects; None does not.
    """

    after: str = ""
    count: int = 100
    project: str = ""
    visible: Sequence[str] | None = None


@frozen(kw_only=True)
class Repository:
    """A repository and how much it holds."""

    name: str
    created_at: int
    tags: int
    artifacts: int


@frozen(kw_only=True)
class Artifact:
    """A manifest or index; `tags` are those that name it, at most a hundred of them."""

    digest: Digest
    media_type: str
    artifact_type: str
    size: int
    subject: str | None
    annotations: dict[str, str]
    pushed_at: int
    tags: tuple[str, ...]


def repositories(conn: Connection, query: RepositoriesQuery) -> list[Repository]:
    """A page of repositories, by name."""
    r = t.repositories
    found = select(r.c.name, r.c.created_at, _count(t.tags), _count(t.manifests))
    found = found.where(r.c.name > query.after)
    if query.project:
        found = found.where(_below(query.project))
    if query.visible is not None:
        p = t.projects
        shown = select(p.c.id).where(p.c.name.in_(query.visible))
        found = found.where(r.c.project_id.in_(shown))
    rows = conn.execute(found.order_by(r.c.name).limit(query.count))
    return [Repository(name=n, created_at=at, tags=x, artifacts=m) for n, at, x, m in rows]


def repository(conn: Connection, name: str) -> Repository | None:
    """One of them; None if there is none of that name."""
    r = t.repositories
    found = select(r.c.name, r.c.created_at, _count(t.tags), _count(t.manifests))
    row = conn.execute(found.where(r.c.name == name)).one_or_none()
    if row is None:
        return None
    return Repository(name=row[0], created_at=row[1], tags=row[2], artifacts=row[3])


def _count(table: Any) -> Any:
    of = select(func.count()).select_from(table)
    return of.where(table.c.repository_id == t.repositories.c.id).scalar_subquery()


def _below(project: str) -> ColumnElement[bool]:
    # A range of the index on names: "0" follows "/" in every order by bytes.
    name = t.repositories.c.name
    return or_(name == project, (name > f"{project}/") & (name < f"{project}0"))


def artifacts(conn: Connection, repository_id: int, after: str, count: int) -> list[Artifact]:
    """A page of artifacts, by digest."""
    m = t.manifests
    found = select(*_shown()).where(m.c.repository_id == repository_id, m.c.digest > after)
    rows = conn.execute(found.order_by(m.c.digest).limit(count)).all()
    names = _tags_of(conn, repository_id, [row.digest for row in rows])
    return [_artifact(row, names.get(row.digest, ())) for row in rows]


def artifact(conn: Connection, repository_id: int, digest: Digest) -> Artifact | None:
    """One artifact; None if the repository has none of that digest."""
    m = t.manifests
    found = select(*_shown()).where(m.c.repository_id == repository_id, m.c.digest == digest)
    row = conn.execute(found).one_or_none()
    if row is None:
        return None
    return _artifact(row, _tags_of(conn, repository_id, [digest]).get(digest, ()))


def _shown() -> list[Any]:
    m = t.manifests.c
    wanted = (
        m.digest,
        m.media_type,
        m.artifact_type,
        m.size,
        m.subject,
        m.annotations,
        m.pushed_at,
    )
    return list(wanted)


def _artifact(row: Any, tags: Sequence[str]) -> Artifact:
    return Artifact(
        digest=Digest(row.digest),
        media_type=row.media_type,
        artifact_type=row.artifact_type,
        size=row.size,
        subject=row.subject,
        annotations=row.annotations,
        pushed_at=row.pushed_at,
        tags=tuple(tags),
    )


def _tags_of(conn: Connection, repository_id: int, digests: Sequence[str]) -> dict[str, list[str]]:
    tags = t.tags
    place = func.row_number().over(partition_by=tags.c.digest, order_by=tags.c.name).label("place")
    wanted = (tags.c.repository_id == repository_id) & tags.c.digest.in_(digests)
    ranked = select(tags.c.digest, tags.c.name, place).where(wanted).subquery()
    first = select(ranked.c.digest, ranked.c.name).where(ranked.c.place <= _TAGS_SHOWN)
    found: dict[str, list[str]] = {}
    for digest, name in conn.execute(first.order_by(ranked.c.digest, ranked.c.name)):
        found.setdefault(digest, []).append(name)
    return found
