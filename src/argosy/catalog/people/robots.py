"""Rows of robot accounts."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, insert, select, update

from argosy.catalog import schema as t
from argosy.catalog.databases.announcing import changed
from argosy.catalog.people.users import STANDINGS
from argosy.values import frozen


@frozen(kw_only=True)
class Robot:
    """A robot account; `project` is empty for one of the system. Times in microseconds."""

    id: int
    name: str  # robot$project+name, robot$name
    project: str
    description: str
    grants: Sequence[str]
    maker: int | None
    created_by: str
    disabled: bool
    version: int
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    secret: str = field(repr=False)  # hashes
    previous_secret: str | None = field(repr=False)
    previous_until: int | None


_r = t.robots.c
_ALL: Final = select(t.robots, t.projects.c.name.label("project")).outerjoin(
    t.projects, t.projects.c.id == _r.project_id
)


def robot(conn: Connection, name: str) -> Robot | None:
    """The robot of that full name."""
    return _robot(conn.execute(_ALL.where(_r.name == name)).one_or_none())


def hold_robot(conn: Connection, name: str) -> Robot | None:
    """As `robot`; nobody else changes it until the transaction ends."""
    found = _ALL.where(_r.name == name).with_for_update(of=t.robots, key_share=True)
    return _robot(conn.execute(found).one_or_none())


def robot_by_id(conn: Connection, key: int) -> Robot | None:
    """The robot with that key."""
    return _robot(conn.execute(_ALL.where(_r.id == key)).one_or_none())


def robots_page(conn: Connection, project: int | None, after: str, count: int) -> list[Robot]:
    """At most `count` robots of a project (of the system, if None) after a full name."""
    of = _r.project_id.is_(None) if project is None else _r.project_id == project
    found = _ALL.where(of, _r.name > after).order_by(_r.name).limit(count)
    return [made for row in conn.execute(found) if (made := _robot(row)) is not None]


def add_robot(conn: Connection, values: Mapping[str, Any]) -> int:
    """A new row; its key."""
    made = conn.execute(insert(t.robots).values(created_at=t.now(), **values))
    return int(made.inserted_primary_key[0])  # type: ignore[index]  # None only for bulk inserts


def change_robot(conn: Connection, key: int, values: Mapping[str, Any]) -> None:
    """Set columns; the version goes up."""
    conn.execute(
        update(t.robots).where(_r.id == key).values(**values, version=t.robots.c.version + 1)
    )
    changed(conn, STANDINGS)


def touch_robots(conn: Connection, used: Mapping[int, int]) -> None:
    """When robots were used last, by key."""
    for key, at in sorted(used.items()):
        conn.execute(update(t.robots).where(_r.id == key).values(last_used_at=at))


def remove_robot(conn: Connection, key: int) -> None:
    """Forget a robot, its refresh tokens and the rules that let CI jobs be it."""
    refresh, rules = t.refresh_tokens.c, t.workload_rules.c
    conn.execute(
        delete(t.refresh_tokens).where(refresh.kind == "robot", refresh.principal_id == key)
    )
    conn.execute(delete(t.workload_rules).where(rules.robot_id == key))
    conn.execute(delete(t.robots).where(_r.id == key))
    changed(conn, STANDINGS)


def _robot(row: Row[Any] | None) -> Robot | None:
    if row is None:
        return None
    return Robot(
        id=row.id,
        name=row.name,
        project=row.project or "",
        description=row.description,
        grants=tuple(row.grants),
        maker=row.created_by_id,
        created_by=row.created_by,
        disabled=row.disabled,
        version=row.version,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        secret=row.secret,
        previous_secret=row.previous_secret,
        previous_until=row.previous_until,
    )
