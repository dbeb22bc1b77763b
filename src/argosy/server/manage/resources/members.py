"""Members of projects: users and groups, and their roles."""

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta, Struct

from argosy.access.accounts.conflicts import Conflict
from argosy.access.permissions.permission import Action, Resource, Role
from argosy.catalog.people.users import Member as MemberRow
from argosy.server.manage import validators
from argosy.server.manage.operation import Call, Nothing, Operation, Page, Paging, Reply
from argosy.server.manage.paging import page
from argosy.server.manage.router import PREFIX
from argosy.server.manage.urls import url
from argosy.server.manage.values import EXAMPLE_TIME, GroupName, MemberKind, RoleName, moment


class Member(Struct, frozen=True):
    """A user or group with a role in a project."""

    kind: MemberKind
    name: GroupName
    role: Annotated[str, Meta(examples=["developer"])]
    created_at: datetime
    created_by: str


class NewMember(Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to give which role."""

    name: GroupName
    role: RoleName
    kind: MemberKind = "user"


class MemberChange(Struct, frozen=True, forbid_unknown_fields=True):
    """Another role."""

    role: RoleName


async def listed(call: Call[Paging, Nothing]) -> Reply:
    """A page, groups first."""
    kind, _, name = call.query.after.partition(":")
    people = call.people
    project, limit = call.names["project"], call.query.limit
    found = await people.members.page(project, (kind, name), limit + 1)
    return page(found, limit, _member, lambda one: f"{one.kind}:{one.name}")


async def shown(call: Call[Nothing, Nothing]) -> Reply:
    """One member."""
    names = call.names
    found = await call.people.members.get(names["project"], names["kind"], names["member"])
    return _reply(found)


async def added(call: Call[Nothing, NewMember]) -> Reply:
    """A role for somebody who has none there."""
    new, project = call.body, call.names["project"]

    def absent(before: MemberRow | None) -> None:
        if before is not None:
            raise Conflict(
                f"the {new.kind} {new.name} is a member of {project} already",
                why=f"with the role {before.role}",
                remedy="give another role with `argosy member set`",
            )

    made, _ = await call.people.members.put(
        call.actor, project, new.kind, new.name, Role(new.role), check=absent
    )
    return _reply(made, location=PREFIX + url("projects", project, "members", new.kind, new.name))


async def changed(call: Call[Nothing, MemberChange]) -> Reply:
    """Another role."""
    names = call.names
    members = call.people.members
    await members.get(names["project"], names["kind"], names["member"])
    made, _ = await members.put(
        call.actor,
        names["project"],
        names["kind"],
        names["member"],
        Role(call.body.role),
        check=lambda before: call.expected.check(_etag(before)),
    )
    return _reply(made)


async def removed(call: Call[Nothing, Nothing]) -> Reply:
    """No role any more."""
    names = call.names
    await call.people.members.remove(
        call.actor,
        names["project"],
        names["kind"],
        names["member"],
        check=lambda before: call.expected.check(_etag(before)),
    )
    return Reply()


def _reply(row: MemberRow, location: str = "") -> Reply:
    return Reply(value=_member(row), etag=_etag(row), location=location)


def _etag(row: MemberRow | None) -> str:
    return "" if row is None else validators.of_value(_member(row))


def _member(row: MemberRow) -> Member:
    kind: MemberKind = "group" if row.kind == "group" else "user"
    return Member(
        kind=kind,
        name=row.name,
        role=row.role,
        created_at=moment(row.created_at),
        created_by=row.created_by,
    )


_MEMBER: Final = Member(
    kind="user", name="ada", role="developer", created_at=EXAMPLE_TIME, created_by="admin"
)
_R: Final = Resource.MEMBER
_ONE: Final = "/projects/{project}/members/{kind}/{member}"

OPERATIONS: Final = (
    Operation(
        id="listMembers",
        group="members",
        method="GET",
        path="/projects/{project}/members",
        summary="The members of a project and their roles",
        need=(_R, Action.READ),
        handler=listed,
        query=Paging,
        answer=Page[Member],
        example=Page(items=[_MEMBER]),
        refusals=(409,),
    ),
    Operation(
        id="addMember",
        group="members",
        method="POST",
        path="/projects/{project}/members",
        summary="Give a user or group a role in a project",
        need=(_R, Action.WRITE),
        handler=added,
        body=NewMember,
        answer=Member,
        status=201,
        example=NewMember(name="ada", role="developer"),
    ),
    Operation(
        id="getMember",
        group="members",
        method="GET",
        path=_ONE,
        summary="One member of a project",
        need=(_R, Action.READ),
        handler=shown,
        answer=Member,
        example=_MEMBER,
        refusals=(409,),
    ),
    Operation(
        id="updateMember",
        group="members",
        method="PATCH",
        path=_ONE,
        summary="Give a member another role",
        need=(_R, Action.WRITE),
        handler=changed,
        body=MemberChange,
        answer=Member,
        guarded=True,
        example=MemberChange(role="maintainer"),
        refusals=(409,),
    ),
    Operation(
        id="removeMember",
        group="members",
        method="DELETE",
        path=_ONE,
        summary="Take a member's role away",
        need=(_R, Action.WRITE),
        handler=removed,
        refusals=(409,),
    ),
)
