"""Repositories for somebody who may not see all of them: those of some projects, and public ones."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, false, or_, select

from argosy.catalog import schema as t
from argosy.model.digest import Digest
from argosy.values import frozen


@frozen(kw_only=True)
class Among:
    """Where to look: in these projects (None: in all), and in public ones too if `public`."""

    projects: Sequence[str] | None = None
    public: bool = True


def repositories(conn: Connection, last: str, count: int, among: Among) -> list[tuple[str, bool]]:
    """At most `count` (repository, whether its project is public) after `last`, by name."""
    name = t.repositories.c.name
    found = _repositories(among).where(name > last).order_by(name).limit(count)
    return [(row.name, bool(row.public)) for row in conn.execute(found)]


def holders(conn: Connection, digest: Digest, count: int, among: Among) -> list[tuple[str, bool]]:
    """At most `count` (repository, whether its project is public) that have a blob."""
    links = t.repository_blobs.c
    found = _repositories(among).join(
        t.repository_blobs, links.repository_id == t.repositories.c.id
    )
    rows = conn.execute(found.where(links.digest == digest).limit(count))
    return [(row.name, bool(row.public)) for row in rows]


def _repositories(among: Among) -> Select[Any]:
    r, p = t.repositories.c, t.projects.c
    found = select(r.name, p.public).outerjoin(t.projects, p.id == r.project_id)
    if among.projects is None:
        return found
    mine = p.name.in_(among.projects) if among.projects else false()
    return found.where(or_(mine, p.public) if among.public else mine)
