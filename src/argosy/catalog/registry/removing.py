"""Removing whole repositories and projects: every row below them, and what they were charged.

The bytes of blobs stay until the collector finds that nobody has them.
"""

from sqlalchemy import Connection, delete, select, update

from argosy.catalog import schema as t
from argosy.catalog.actor import Actor
from argosy.catalog.audit import Entry, record
from argosy.catalog.databases.announcing import EVERYTHING, changed
from argosy.catalog.databases.locks import Space, exclusive
from argosy.catalog.people.robots import remove_robot
from argosy.catalog.projects.quotas import credit_repository
from argosy.catalog.registry import rows
from argosy.catalog.tagging.rules import refuse_if_any_kept

_HELD = (
    t.tags,
    t.tag_history,
    t.manifest_children,
    t.manifests,
    t.repository_blobs,
)


def remove_repository(conn: Connection, name: str, by: Actor) -> bool:
    """Remove a repository with all it holds; False if there is none of that name. TagKept."""
    exclusive(conn, Space.REPOSITORY, name)
    if (repository := rows.repository(conn, name)) is None:
        return False
    refuse_if_any_kept(conn, repository)
    if (project := rows.project(conn, repository)) is not None:
        credit_repository(conn, project, repository)
    for table in _HELD:
        conn.execute(delete(table).where(table.c.repository_id == repository))
    # Nobody finds them any more; the sweeper does, which knows by their rows what they have stored.
    u = t.uploads
    conn.execute(update(u).where(u.c.repository == name).values(repository=""))
    conn.execute(delete(t.repositories).where(t.repositories.c.id == repository))
    record(
        conn,
        by,
        Entry(action="repository.delete", resource=name, project=rows.project_of(name)),
    )
    changed(conn, EVERYTHING)  # there may be thousands of keys
    return True


def remove_below(conn: Connection, project: int) -> None:
    """Remove what hangs on a project without repositories: members, robots, rules, accounts."""
    robots = select(t.robots.c.id).where(t.robots.c.project_id == project)
    for key in list(conn.execute(robots).scalars()):
        remove_robot(conn, key)
    for table in (t.members, t.tag_rules, t.project_blobs, t.quota_deltas, t.quota_usage):
        conn.execute(delete(table).where(table.c.project_id == project))
