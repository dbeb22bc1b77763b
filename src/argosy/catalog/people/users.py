"""Rows of users, of the groups they are in, and of who is a member of which project.

Each function does one thing on an open connection. What memory knows of anybody's standing
goes by one key, `STANDINGS`: robots stand on their makers, members on their groups, and
all of it changes seldom.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, insert, select, update

from argosy.catalog import schema as t
from argosy.catalog.databases.announcing import Key, changed
from argosy.errors import NotFound
from argosy.values import frozen

LOCAL: Final = "local"
STANDINGS: Final[Key] = ("standings",)


@frozen(kw_only=True)
class User:
    """A user as the catalog has it. The hash of the password is apart: see `password_of`."""

    id: int
    name: str
    email: str
    backend: str
    is_admin: bool
    disabled: bool
    must_change: bool
    second_factor: bool
    version: int
    created_at: int
    last_login_at: int | None


@frozen(kw_only=True)
class Member:
    """A user or a group (`kind`) with a role in a project."""

    kind: str
    name: str
    role: str
    created_at: int
    created_by: str


_u = t.users.c
_COLUMNS: Final[Sequence[ColumnElement[Any]]] = (
    _u.id,
    _u.name,
    _u.email,
    _u.backend,
    _u.is_admin,
    _u.disabled,
    _u.must_change,
    _u.totp_confirmed,
    _u.version,
    _u.created_at,
    _u.last_login_at,
)


def user(conn: Connection, name: str) -> User | None:
    """The user of that name."""
    return _user(conn.execute(select(*_COLUMNS).where(_u.name == name)).one_or_none())


def hold_user(conn: Connection, name: str) -> User | None:
    """As `user`; nobody else changes them until the transaction ends."""
    found = select(*_COLUMNS).where(_u.name == name).with_for_update(key_share=True)
    return _user(conn.execute(found).one_or_none())


def user_by_id(conn: Connection, key: int) -> User | None:
    """The user with that key."""
    return _user(conn.execute(select(*_COLUMNS).where(_u.id == key)).one_or_none())


def user_by_external(conn: Connection, backend: str, external_id: str) -> User | None:
    """The user whom a back end knows by something that never changes there."""
    found = select(*_COLUMNS).where(_u.backend == backend, _u.external_id == external_id)
    return _user(conn.execute(found).one_or_none())


def users_page(conn: Connection, after: str, count: int) -> list[User]:
    """At most `count` users whose names come after `after`."""
    found = select(*_COLUMNS).where(_u.name > after).order_by(_u.name).limit(count)
    return [made for row in conn.execute(found) if (made := _user(row)) is not None]


def there_are_users(conn: Connection) -> bool:
    """Whether anybody has ever been made a user."""
    return conn.execute(select(_u.id).limit(1)).scalar() is not None


def other_admins(conn: Connection, key: int) -> bool:
    """Whether somebody else is a system admin who can log in."""
    found = select(_u.id).where(_u.is_admin, ~_u.disabled, _u.id != key)
    return conn.execute(found.limit(1)).scalar() is not None


def with_password(conn: Connection, name: str) -> tuple[User | None, str | None]:
    """The user of that name, and the hash of the password."""
    wanted = (*_COLUMNS, _u.password)
    row = conn.execute(select(*wanted).where(_u.name == name)).one_or_none()
    return _user(row), None if row is None else row.password


def password_of(conn: Connection, key: int) -> str | None:
    """The hash of a local user's password."""
    return conn.execute(select(_u.password).where(_u.id == key)).scalar()


def add_user(conn: Connection, name: str, values: Mapping[str, Any]) -> int:
    """A new row; its key."""
    made = conn.execute(insert(t.users).values(name=name, created_at=t.now(), **values))
    return int(made.inserted_primary_key[0])  # type: ignore[index]  # None only for bulk inserts


def change_user(conn: Connection, key: int, values: Mapping[str, Any]) -> None:
    """Set columns; the version goes up."""
    conn.execute(
        update(t.users).where(_u.id == key).values(**values, version=t.users.c.version + 1)
    )
    changed(conn, STANDINGS)


def touch_user(conn: Connection, key: int, values: Mapping[str, Any]) -> None:
    """Set columns that are nobody's business but ours: the version stays."""
    conn.execute(update(t.users).where(_u.id == key).values(**values))


def log_out(conn: Connection, key: int) -> None:
    """End what a user has logged in to: browsers, and the refresh tokens of clients."""
    refresh = t.refresh_tokens.c
    conn.execute(delete(t.sessions).where(t.sessions.c.user_id == key))
    conn.execute(
        delete(t.refresh_tokens).where(refresh.kind == "user", refresh.principal_id == key)
    )


def remove_user(conn: Connection, key: int) -> None:
    """Forget a user, their tokens, groups and sessions; what they made stays, without a maker."""
    robots = t.robots.c
    log_out(conn, key)
    for table in (t.user_groups, t.tokens, t.recovery_codes):
        conn.execute(delete(table).where(table.c.user_id == key))
    conn.execute(
        update(t.robots)
        .where(robots.created_by_id == key)
        .values(created_by_id=None, disabled=True, version=t.robots.c.version + 1)
    )
    name = conn.execute(select(_u.name).where(_u.id == key)).scalar()
    m = t.members.c
    conn.execute(delete(t.members).where(m.kind == "user", m.name == name))
    conn.execute(delete(t.users).where(_u.id == key))
    changed(conn, STANDINGS)


def groups(conn: Connection, key: int) -> list[str]:
    """The groups a user was in at the last login."""
    g = t.user_groups.c
    return list(conn.execute(select(g.name).where(g.user_id == key).order_by(g.name)).scalars())


def set_groups(conn: Connection, key: int, names: Iterable[str]) -> None:
    """What the back end says now."""
    wanted, present = set(names), set(groups(conn, key))
    if wanted == present:
        return
    g = t.user_groups.c
    if gone := present - wanted:
        conn.execute(delete(t.user_groups).where(g.user_id == key, g.name.in_(gone)))
    for name in sorted(wanted - present):
        conn.execute(insert(t.user_groups).values(user_id=key, name=name))
    changed(conn, STANDINGS)


def roles(conn: Connection, name: str, in_groups: Iterable[str]) -> list[tuple[str, str]]:
    """(project, role) for each role that a user has by name or by a group."""
    m, p = t.members.c, t.projects.c
    is_group = (m.kind == "group") & m.name.in_(list(in_groups))
    found = select(p.name, m.role).join(t.members, m.project_id == p.id)
    rows = conn.execute(found.where(((m.kind == "user") & (m.name == name)) | is_group))
    return [(row.name, row.role) for row in rows]


def member(conn: Connection, project: int, kind: str, name: str) -> Member | None:
    """One member of a project."""
    row = conn.execute(_one_member(project, kind, name)).one_or_none()
    return None if row is None else _member(row)


def hold_member(conn: Connection, project: int, kind: str, name: str) -> Member | None:
    """As `member`; nobody else changes the role until the transaction ends."""
    row = conn.execute(_one_member(project, kind, name).with_for_update()).one_or_none()
    return None if row is None else _member(row)


def _one_member(project: int, kind: str, name: str) -> Select[Any]:
    m = t.members.c
    return select(t.members).where(m.project_id == project, m.kind == kind, m.name == name)


def members_page(
    conn: Connection, project: int, after: tuple[str, str], count: int
) -> list[Member]:
    """At most `count` members after (kind, name)."""
    m = t.members.c
    kind, name = after
    later = (m.kind > kind) | ((m.kind == kind) & (m.name > name))
    found = select(t.members).where(m.project_id == project, later)
    return [_member(row) for row in conn.execute(found.order_by(m.kind, m.name).limit(count))]


def set_member(conn: Connection, project: int, new: Member) -> bool:
    """Give a role; False if they were a member already, with whatever role."""
    m = t.members.c
    same = (m.project_id == project) & (m.kind == new.kind) & (m.name == new.name)
    changed(conn, STANDINGS)
    if conn.execute(update(t.members).where(same).values(role=new.role)).rowcount:
        return False
    row = {"project_id": project, "kind": new.kind, "name": new.name, "role": new.role}
    row |= {"created_at": new.created_at, "created_by": new.created_by}
    conn.execute(insert(t.members).values(row))
    return True


def remove_member(conn: Connection, project: int, kind: str, name: str) -> bool:
    """Take the role away; False if there was none."""
    m = t.members.c
    gone = conn.execute(
        delete(t.members).where(m.project_id == project, m.kind == kind, m.name == name)
    )
    changed(conn, STANDINGS)
    return gone.rowcount > 0


def project(conn: Connection, name: str) -> int:
    """The key of a project, where people and robots belong to one; NotFound."""
    p = t.projects.c
    if (found := conn.execute(select(p.id).where(p.name == name)).scalar()) is None:
        raise NotFound(f"no project {name}", evidence={"project": name})
    return int(found)


def is_public(conn: Connection, name: str) -> bool:
    """Whether everybody may pull from a project; of one that is not there: no."""
    p = t.projects.c
    return bool(conn.execute(select(p.public).where(p.name == name)).scalar())


def _user(row: Row[Any] | None) -> User | None:
    if row is None:
        return None
    return User(
        id=row.id,
        name=row.name,
        email=row.email,
        backend=row.backend,
        is_admin=row.is_admin,
        disabled=row.disabled,
        must_change=row.must_change,
        second_factor=row.totp_confirmed,
        version=row.version,
        created_at=row.created_at,
        last_login_at=row.last_login_at,
    )


def _member(row: Row[Any]) -> Member:
    return Member(
        kind=row.kind,
        name=row.name,
        role=row.role,
        created_at=row.created_at,
        created_by=row.created_by,
    )
