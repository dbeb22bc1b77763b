"""Where a push goes: the repository, which a push makes, and the project that pays for it.

The project of a repository is the first component of its name. Where nobody is asked who
they are, a push makes the project too. Else it has to be there: who may make one does so
first (`Projects.create`), and the registry does it for a system admin who pushes.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, bindparam, select, update

from argosy.catalog import schema as t
from argosy.catalog.actor import Actor
from argosy.catalog.audit import Entry, record
from argosy.catalog.databases.announcing import changed
from argosy.catalog.databases.dialects import upsert
from argosy.catalog.databases.locks import Space, shared
from argosy.catalog.projects.quotas import Payer, Quota
from argosy.catalog.registry import rows
from argosy.errors import NotFound
from argosy.values import frozen

_NOBODY: Final = frozenset({"anonymous", "system"})  # kinds of actors without an account


@frozen
class Place:
    """A repository's key, and who pays for what is put there."""

    repository: int
    payer: Payer


class ProjectUnknown(NotFound):
    """There is no project of that name."""

    code = "project-unknown"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"no project {name}",
            why="the first part of a repository's name is its project, which has to be made first",
            remedy=f"argosy project create {name}, or ask who may",
            evidence={"project": name},
        )


def place(conn: Connection, name: str, by: Actor) -> Place:
    """The place of a repository, which is made if need be; ProjectUnknown."""
    if (found := _place(conn, name)) is not None:
        return found
    project = rows.project_of(name)
    shared(conn, Space.PROJECT, project)  # it stays until we have something in it
    payer = _payer(conn, project, by)
    row = {"name": name, "created_at": t.now(), "project_id": payer.id}
    upsert(conn, t.repositories, [row], key=("name",))  # somebody else may make it now
    orphan = (t.repositories.c.name == name) & t.repositories.c.project_id.is_(None)
    conn.execute(update(t.repositories).where(orphan).values(project_id=payer.id))
    r = t.repositories.c
    made = conn.execute(select(r.id, r.created_at).where(r.name == name)).one()
    if made.created_at == row["created_at"]:  # else somebody else has made it
        record(conn, by, Entry(action="repository.create", resource=name, project=project))
    return Place(made.id, payer)


_r, _p = t.repositories.c, t.projects.c
_PAYER: Final[Sequence[ColumnElement[Any]]] = (
    _p.id.label("project"),
    _p.name,
    _p.quota_bytes,
    _p.quota_artifacts,
)
_PLACE: Final = (
    select(_r.id, *_PAYER)
    .join(t.projects, _p.id == _r.project_id)
    .where(_r.name == bindparam("repository"))
)


def _place(conn: Connection, name: str) -> Place | None:
    row = conn.execute(_PLACE, {"repository": name}).one_or_none()
    return None if row is None else Place(row.id, _paying(row))


def _payer(conn: Connection, name: str, by: Actor) -> Payer:
    if (found := _find(conn, name)) is not None:
        return found
    if not makes_projects(by):
        raise ProjectUnknown(name)
    values = {"name": name, "created_at": t.now(), "created_by": by.name}
    upsert(conn, t.projects, [values], key=("name",))
    record(conn, by, Entry(action="project.create", resource=name, project=name))
    changed(conn, project_key(name))
    made = _find(conn, name)
    assert made is not None, "it has just been made"
    return made


def makes_projects(by: Actor) -> bool:
    """Whether a push by them makes the project: where nobody is asked who they are."""
    return by.kind in _NOBODY


def _find(conn: Connection, name: str) -> Payer | None:
    row = conn.execute(select(*_PAYER).where(_p.name == name)).one_or_none()
    return None if row is None else _paying(row)


def _paying(row: Row[Any]) -> Payer:
    return Payer(row.project, row.name, Quota(row.quota_bytes, row.quota_artifacts))


def project_key(name: str) -> tuple[str, str]:
    """What memory knows a project by: its settings, its members, whether it is public."""
    return ("project", name)
