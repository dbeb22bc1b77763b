"""What repositories hold, as people look at it: a page at a time, by key, never by offset."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, Table, func, or_, select

from argosy.catalog import schema as t
from argosy.model.digest import Digest
from argosy.values import frozen

_TAGS_SHOWN: Final = 100  # of one artifact in a list: there may be thousands


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoriesQuery:
    """Which repositories to list: after a name, at most `count`, of `project`, if it is given.

    `projects` limits the list to those, and to public ones with `public`; None does not.
    """

    after: str = ""
    count: int = 100
    project: str = ""
    projects: Sequence[str] | None = None
    public: bool = False


@frozen(kw_only=True)
class Repository:
    """A repository and how much it holds; `public`: everybody may pull from its project."""

    name: str
    public: bool
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
    r, p = t.repositories.c, t.projects.c
    found = _SHOWN.where(r.name > query.after)
    if query.project:
        found = found.where(_below(query.project))
    if query.projects is not None:
        open_to = p.name.in_(query.projects)
        found = found.where(open_to | p.public if query.public else open_to)
    return _repositories(conn, found.order_by(r.name).limit(query.count))


def repository(conn: Connection, name: str) -> Repository | None:
    """One of them; None if there is none of that name."""
    found = _repositories(conn, _SHOWN.where(t.repositories.c.name == name))
    return found[0] if found else None


def _repositories(conn: Connection, found: Select[Any]) -> list[Repository]:
    rows = conn.execute(found).all()
    ids = [row.id for row in rows]
    tags, artifacts = _counts(conn, t.tags, ids), _counts(conn, t.manifests, ids)
    return [
        Repository(
            name=row.name,
            public=bool(row.public),
            created_at=row.created_at,
            tags=tags.get(row.id, 0),
            artifacts=artifacts.get(row.id, 0),
        )
        for row in rows
    ]


def _counts(conn: Connection, table: Table, ids: Sequence[int]) -> dict[int, int]:
    """How many rows each of the repositories has.

    For all of them at once: where one repository has nearly all rows, PostgreSQL takes each for
    such a one, and would read the whole table anew for each.
    """
    of = table.c.repository_id
    found = select(of, func.count()).where(of.in_(ids)).group_by(of)
    return {row[0]: row[1] for row in conn.execute(found)}


_SHOWN: Final = select(
    t.repositories.c.id,
    t.repositories.c.name,
    t.repositories.c.created_at,
    t.projects.c.public,
).outerjoin(t.projects, t.projects.c.id == t.repositories.c.project_id)


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
