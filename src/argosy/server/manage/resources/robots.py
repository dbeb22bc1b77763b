"""Robot accounts of projects and of the system, and the CI jobs that may be them."""

from datetime import datetime
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from argosy.access.accounts.robots import NewRobot as RobotToMake
from argosy.access.accounts.robots import RobotChange as Change
from argosy.access.permissions.permission import Action, Resource
from argosy.catalog.people.robots import Robot as RobotRow
from argosy.server.manage import validators
from argosy.server.manage.operation import Call, Nothing, Operation, Page, Paging, Reply
from argosy.server.manage.paging import page
from argosy.server.manage.resources.tokens import expiry
from argosy.server.manage.router import PREFIX
from argosy.server.manage.urls import url
from argosy.server.manage.values import (
    EXAMPLE_TIME,
    Days,
    GrantText,
    Line,
    RobotName,
    RobotShortName,
    moment,
    moment_or_none,
)

_OVERLAP: Final = 86400.0  # seconds: a day to tell every job the new secret


class Robot(Struct, frozen=True):
    """A robot account; never its secret."""

    name: RobotName
    project: Annotated[str, Meta(description="Whose it is; empty: the system's.")]
    description: str
    grants: Annotated[list[str], Meta(description="What it may, as far as its maker may it now.")]
    disabled: bool
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None
    previous_until: Annotated[
        datetime | None, Meta(description="Until when the secret before is accepted.")
    ]


Grants = Annotated[list[GrantText], Meta(min_length=1, max_length=100)]


class NewRobot(Struct, frozen=True, forbid_unknown_fields=True):
    """A robot to make."""

    name: RobotShortName
    grants: Grants
    description: Line = ""
    days: Days | None = None


class MadeRobot(Robot, frozen=True):
    """A robot and its new secret."""

    secret: Annotated[str, Meta(description="The secret; shown only here.")] = ""


class RobotChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What to change; what is left out, or null, stays. Who gives grants stands for the robot."""

    description: Line | None = None
    grants: Grants | None = None
    disabled: bool | None = None
    days: Days | None = None


class Rotation(Struct, frozen=True, forbid_unknown_fields=True):
    """How to rotate."""

    keep_old: Annotated[bool, Meta(description="Accept the secret before for another day.")] = True


async def of_project(call: Call[Paging, Nothing]) -> Reply:
    """A page of a project's, or of the system's."""
    limit, project = call.query.limit, call.names.get("project", "")
    found = await call.people.robots.page(project, call.query.after, limit + 1)
    return page(found, limit, _robot, lambda one: one.name)


async def created(call: Call[Nothing, NewRobot]) -> Reply:
    """A robot and its secret."""
    new = call.body
    asked = RobotToMake(
        name=new.name,
        project=call.names.get("project", ""),
        description=new.description,
        grants=new.grants,
        expires_at=expiry(new.days),
    )
    row, secret = await call.people.robots.create(call.actor, call.principal, asked)
    return _made(row, secret, PREFIX + url("robots", row.name))


async def shown(call: Call[Nothing, Nothing]) -> Reply:
    """One robot."""
    return _reply(await call.people.robots.get(call.names["robot"]))


async def changed(call: Call[Nothing, RobotChange]) -> Reply:
    """Some of it."""
    body = call.body
    change = Change(
        description=body.description,
        grants=body.grants,
        disabled=body.disabled,
        expires_at=expiry(body.days),
    )
    row = await call.people.robots.update(
        call.actor,
        call.principal,
        call.names["robot"],
        change,
        lambda one: call.expected.check(_etag(one)),
    )
    return _reply(row)


async def adopted(call: Call[Nothing, Nothing]) -> Reply:
    """Stand for it from now on."""
    name = call.names["robot"]
    return _reply(await call.people.robots.adopt(call.actor, call.principal, name))


async def rotated(call: Call[Nothing, Rotation]) -> Reply:
    """A new secret."""
    robots, name = call.people.robots, call.names["robot"]
    await robots.may_be(call.principal, name)
    overlap = _OVERLAP if call.body.keep_old else 0.0
    secret = await robots.rotate(call.actor, name, overlap=overlap)
    return _made(await robots.get(name), secret)


async def removed(call: Call[Nothing, Nothing]) -> Reply:
    """It opens nothing any more."""
    await call.people.robots.remove(
        call.actor, call.names["robot"], lambda one: call.expected.check(_etag(one))
    )
    return Reply()


def _made(row: RobotRow, secret: str, location: str = "") -> Reply:
    value = MadeRobot(**_fields(row), secret=secret)
    return Reply(value=value, etag=_etag(row), location=location, secret=True)


def _reply(row: RobotRow) -> Reply:
    return Reply(value=_robot(row), etag=_etag(row))


def _etag(row: RobotRow) -> str:
    return validators.of_version("r", row.id, row.version)


def _robot(row: RobotRow) -> Robot:
    return Robot(**_fields(row))


def _fields(row: RobotRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "project": row.project,
        "description": row.description,
        "grants": list(row.grants),
        "disabled": row.disabled,
        "created_at": moment(row.created_at),
        "created_by": row.created_by,
        "expires_at": moment_or_none(row.expires_at),
        "last_used_at": moment_or_none(row.last_used_at),
        "previous_until": moment_or_none(row.previous_until),
    }


_ROBOT: Final = Robot(
    name="robot$team+ci",
    project="team",
    description="builds of the main branch",
    grants=["repository:team/**:pull,push"],
    disabled=False,
    created_at=EXAMPLE_TIME,
    created_by="ada",
    expires_at=None,
    last_used_at=EXAMPLE_TIME,
    previous_until=None,
)
_NEW: Final = NewRobot(name="ci", grants=["repository:team/**:pull,push"], days=90)
_READ: Final = (Resource.ROBOT, Action.READ)
_WRITE: Final = (Resource.ROBOT, Action.WRITE)

OPERATIONS: Final = (
    Operation(
        id="listProjectRobots",
        group="robots",
        method="GET",
        path="/projects/{project}/robots",
        summary="The robots of a project",
        need=_READ,
        handler=of_project,
        query=Paging,
        answer=Page[Robot],
        example=Page(items=[_ROBOT]),
        refusals=(409,),
    ),
    Operation(
        id="createProjectRobot",
        group="robots",
        method="POST",
        path="/projects/{project}/robots",
        summary="Make a robot of a project",
        description="It never may more than its maker; the secret is shown once.",
        need=_WRITE,
        handler=created,
        body=NewRobot,
        answer=MadeRobot,
        status=201,
        example=_NEW,
    ),
    Operation(
        id="listSystemRobots",
        group="robots",
        method="GET",
        path="/robots",
        summary="The robots of the system",
        need=_READ,
        handler=of_project,
        query=Paging,
        answer=Page[Robot],
        example=Page(items=[_ROBOT]),
        refusals=(409,),
    ),
    Operation(
        id="createSystemRobot",
        group="robots",
        method="POST",
        path="/robots",
        summary="Make a robot of the system, which may work in any project",
        need=_WRITE,
        handler=created,
        body=NewRobot,
        answer=MadeRobot,
        status=201,
        example=_NEW,
    ),
    Operation(
        id="getRobot",
        group="robots",
        method="GET",
        path="/robots/{robot}",
        summary="One robot",
        need=_READ,
        handler=shown,
        answer=Robot,
        example=_ROBOT,
        refusals=(409,),
    ),
    Operation(
        id="updateRobot",
        group="robots",
        method="PATCH",
        path="/robots/{robot}",
        summary="Change a robot: what it may, until when, whether at all",
        need=_WRITE,
        handler=changed,
        body=RobotChange,
        answer=Robot,
        guarded=True,
        example=RobotChange(disabled=True),
        refusals=(409,),
    ),
    Operation(
        id="deleteRobot",
        group="robots",
        method="DELETE",
        path="/robots/{robot}",
        summary="Delete a robot",
        need=_WRITE,
        handler=removed,
        refusals=(409,),
    ),
    Operation(
        id="rotateRobot",
        group="robots",
        method="POST",
        path="/robots/{robot}/rotate",
        summary="Give a robot a new secret",
        description="The secret before is accepted for another day, unless `keep_old` is false.",
        need=_WRITE,
        handler=rotated,
        body=Rotation,
        answer=MadeRobot,
        example=Rotation(keep_old=True),
    ),
    Operation(
        id="adoptRobot",
        group="robots",
        method="POST",
        path="/robots/{robot}/adopt",
        summary="Stand for a robot whose maker is gone",
        need=_WRITE,
        handler=adopted,
        answer=Robot,
        example=_ROBOT,
    ),
)
