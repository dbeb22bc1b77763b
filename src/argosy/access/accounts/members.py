"""Members of projects: users and groups with a role."""

from collections.abc import Callable
from typing import Literal

from sqlalchemy import Connection

from argosy.access.permissions.permission import Role
from argosy.catalog import schema as t
from argosy.catalog.actor import Actor
from argosy.catalog.audit import Entry, record
from argosy.catalog.database import Database
from argosy.catalog.people import users
from argosy.catalog.people.users import Member
from argosy.errors import NotFound, UsageError

MemberKind = Literal["user", "group"]
Check = Callable[[Member | None], object]
"""Sees the member as it is in the transaction of the change, and may raise (If-Match)."""


class Members:
    """Who belongs to which project."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def page(self, project: str, after: tuple[str, str], count: int) -> list[Member]:
        """At most `count` members of a project after (kind, name); NotFound."""
        return await self._db.read(
            lambda conn: users.members_page(conn, users.project(conn, project), after, count)
        )

    async def get(self, project: str, kind: MemberKind, name: str) -> Member:
        """One member; NotFound."""
        return await self._db.read(lambda conn: _known(conn, project, kind, name))

    async def put(
        self,
        by: Actor,
        project: str,
        kind: MemberKind,
        name: str,
        role: Role,
        *,
        check: Check | None = None,
    ) -> tuple[Member, bool]:
        """Give a role, instead of the one that was; and whether they are new. NotFound.

        A user must exist. A group is what a directory or identity provider says it is.
        """
        new = Member(kind=kind, name=name, role=role, created_at=t.now(), created_by=by.name)
        if not name or len(name) > 255:
            raise UsageError(f"a {kind} has a name of 1 to 255 characters")

        def write(conn: Connection) -> tuple[Member, bool]:
            key = users.project(conn, project)
            if kind == "user" and users.user(conn, name) is None:
                raise NotFound(f"no user {name}", remedy="they become one at their first login")
            before = users.hold_member(conn, key, kind, name)
            if check is not None:
                check(before)
            if before is None or before.role != role:
                users.set_member(conn, key, new)
                was = "" if before is None else before.role
                details = {"role": str(role), "was": was}
                record(conn, by, _entry("member.set", project, (kind, name), details))
            return _known(conn, project, kind, name), before is None

        return await self._db.write(write)

    async def remove(
        self,
        by: Actor,
        project: str,
        kind: MemberKind,
        name: str,
        *,
        check: Check | None = None,
    ) -> None:
        """Take the role away; NotFound."""

        def write(conn: Connection) -> None:
            key = users.project(conn, project)
            if (found := users.hold_member(conn, key, kind, name)) is None:
                raise _not_one(project, kind, name)
            if check is not None:
                check(found)
            users.remove_member(conn, key, kind, name)
            details = {"was": found.role}
            record(conn, by, _entry("member.remove", project, (kind, name), details))

        await self._db.write(write)


def _known(conn: Connection, project: str, kind: str, name: str) -> Member:
    if (found := users.member(conn, users.project(conn, project), kind, name)) is None:
        raise _not_one(project, kind, name)
    return found


def _not_one(project: str, kind: str, name: str) -> NotFound:
    return NotFound(f"no {kind} {name} in project {project}")


def _entry(action: str, project: str, member: tuple[str, str], details: dict[str, str]) -> Entry:
    kind, name = member
    resource = f"{project}/{kind}/{name}"
    return Entry(action=action, resource=resource, project=project, details=details)
