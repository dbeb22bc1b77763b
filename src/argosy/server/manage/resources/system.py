"""The registry itself: whether it is well, what it is, who asks, and what may be asked for."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from argosy import __version__
from argosy.access.permissions.permission import OF_ROLE
from argosy.errors import ArgosyError
from argosy.server.manage.operation import (
    IDENTIFIED,
    PUBLIC,
    Call,
    Nothing,
    Operation,
    Page,
    Reply,
)
from argosy.server.manage.problems import Refusal


class Health(Struct, frozen=True):
    """That the registry can read its catalog."""

    status: Annotated[str, Meta(examples=["ok"])]


class SystemInfo(Struct, frozen=True):
    """What the registry is."""

    version: Annotated[str, Meta(examples=["0.1.0"])]
    api: Annotated[list[str], Meta(description="The versions of this API.", examples=[["v1"]])]
    authentication: Annotated[bool, Meta(description="Whether access is controlled.")]
    database: Annotated[str, Meta(examples=["sqlite", "postgresql"])]


class Identity(Struct, frozen=True):
    """Who the registry takes the client for."""

    name: str
    kind: Annotated[str, Meta(description="user, robot, token (a user's), anonymous or system.")]
    admin: Annotated[bool, Meta(description="Whether they may do everything.")]
    groups: list[str]


class RoleTable(Struct, frozen=True):
    """A role and all it may do in its project."""

    role: Annotated[str, Meta(examples=["developer"])]
    permissions: Annotated[list[str], Meta(examples=[["repository:pull", "repository:push"]])]


async def health(call: Call[Nothing, Nothing]) -> Reply:
    """Whether the catalog can be read."""
    try:
        await call.services.catalog.repositories("", 1)
    except ArgosyError as e:
        raise Refusal(503, "unavailable", "the catalog cannot be read") from e
    return Reply(value=Health(status="ok"))


async def info(call: Call[Nothing, Nothing]) -> Reply:
    """Version and shape."""
    return Reply(
        value=SystemInfo(
            version=__version__,
            api=["v1"],
            authentication=call.services.access is not None,
            database=await call.services.database.read(lambda conn: conn.dialect.name),
        )
    )


async def whoami(call: Call[Nothing, Nothing]) -> Reply:
    """The principal."""
    who = call.principal
    return Reply(
        value=Identity(name=who.name, kind=who.kind, admin=who.is_admin, groups=sorted(who.groups))
    )


async def roles(_call: Call[Nothing, Nothing]) -> Reply:
    """The table of roles."""
    return Reply(value=_ROLES)


_ROLES: Final = Page(
    items=[
        RoleTable(
            role=role.value, permissions=sorted(f"{r.value}:{a.value}" for r, a in permissions)
        )
        for role, permissions in OF_ROLE.items()
    ]
)


OPERATIONS: Final = (
    Operation(
        id="getHealth",
        group="system",
        method="GET",
        path="/health",
        summary="Whether the registry can work",
        need=PUBLIC,
        handler=health,
        answer=Health,
        example=Health(status="ok"),
    ),
    Operation(
        id="getSystem",
        group="system",
        method="GET",
        path="/system",
        summary="Version and shape of the registry",
        need=IDENTIFIED,
        handler=info,
        answer=SystemInfo,
        example=SystemInfo(version="0.1.0", api=["v1"], authentication=True, database="postgresql"),
    ),
    Operation(
        id="whoAmI",
        group="system",
        method="GET",
        path="/whoami",
        summary="Who the registry takes you for",
        need=IDENTIFIED,
        handler=whoami,
        answer=Identity,
        example=Identity(name="ada", kind="user", admin=False, groups=["builders"]),
    ),
    Operation(
        id="listRoles",
        group="system",
        method="GET",
        path="/roles",
        summary="The roles of projects, and what each may do",
        need=PUBLIC,
        handler=roles,
        answer=Page[RoleTable],
        example=Page(
            items=[RoleTable(role="limited-guest", permissions=["project:read", "repository:pull"])]
        ),
    ),
)
