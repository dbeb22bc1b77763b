"""The groups that the registry has heard of: what directories and identity providers said."""

from typing import Annotated, Final

from msgspec import Meta, Struct
from sqlalchemy import Connection, func, select

from argosy.access.permissions.permission import Action, Resource
from argosy.catalog import schema as t
from argosy.errors import NotFound
from argosy.server.manage.operation import Call, Nothing, Operation, Page, Paging, Reply
from argosy.server.manage.paging import page
from argosy.server.manage.values import GroupName


class Group(Struct, frozen=True):
    """A group, and how many users were in it at their last login."""

    name: GroupName
    users: int


class GroupDetails(Group, frozen=True):
    """A group, its first users, and the projects in which it has a role."""

    members: Annotated[list[str], Meta(description="A hundred of its users at most, by name.")]
    projects: dict[str, str]


_g: Final = t.user_groups.c
_MOST: Final = 100


async def listed(call: Call[Paging, Nothing]) -> Reply:
    """A page, by name."""
    asked = call.query
    _ = call.people
    found = select(_g.name, func.count()).where(_g.name > asked.after).group_by(_g.name)
    wanted = found.order_by(_g.name).limit(asked.limit + 1)

    def read(conn: Connection) -> list[Group]:
        return [Group(name=name, users=count) for name, count in conn.execute(wanted)]

    rows = await call.services.database.read(read)
    return page(rows, asked.limit, lambda one: one, lambda one: one.name)


async def shown(call: Call[Nothing, Nothing]) -> Reply:
    """One group."""
    name = call.names["group"]
    _ = call.people
    return Reply(value=await call.services.database.read(lambda conn: _details(conn, name)))


def _details(conn: Connection, name: str) -> GroupDetails:
    u, m, p = t.users.c, t.members.c, t.projects.c
    users = select(u.name).join(t.user_groups, _g.user_id == u.id).where(_g.name == name)
    named = list(conn.execute(users.order_by(u.name).limit(_MOST)).scalars())
    roles = select(p.name, m.role).join(t.members, m.project_id == p.id)
    given = conn.execute(roles.where(m.kind == "group", m.name == name).order_by(p.name)).all()
    if not named and not given:
        raise NotFound(f"nobody was in a group {name}, and it has no role")
    count = conn.execute(select(func.count()).where(_g.name == name)).scalar_one()
    projects = {row.name: row.role for row in given}
    return GroupDetails(name=name, users=count, members=named, projects=projects)


_GROUP: Final = Group(name="builders", users=3)

OPERATIONS: Final = (
    Operation(
        id="listGroups",
        group="groups",
        method="GET",
        path="/groups",
        summary="The groups that users were in at their last login",
        need=(Resource.SYSTEM, Action.READ),
        handler=listed,
        query=Paging,
        answer=Page[Group],
        example=Page(items=[_GROUP]),
        refusals=(409,),
    ),
    Operation(
        id="getGroup",
        group="groups",
        method="GET",
        path="/groups/{group}",
        summary="One group: its users, and its roles",
        need=(Resource.SYSTEM, Action.READ),
        handler=shown,
        answer=GroupDetails,
        example=GroupDetails(
            name="builders", users=1, members=["ada"], projects={"team": "developer"}
        ),
        refusals=(409,),
    ),
)
