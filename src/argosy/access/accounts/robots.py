"""Robot accounts: made, changed, given new secrets, adopted, removed.

    robot$team+ci     of the project team: it may nothing outside         robot$mirror  of the system

A robot may what it was given, as far as who made it may it now: when the maker loses a
right, is disabled or removed, the robot loses it as well. Whoever gives it grants anew
(`update`, `adopt`) stands for it from then on.
"""

import re
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from argosy.access.accounts.conflicts import Conflict, beyond
from argosy.access.permissions.authority import Authority
from argosy.access.permissions.grants import Grant, parse_grants, texts
from argosy.access.permissions.permission import Permission
from argosy.access.permissions.principal import Principal
from argosy.access.permissions.standing import Standing, shown
from argosy.access.secrets import Secret, hashed, new_secret
from argosy.access.signing_in.logins import ROBOT
from argosy.catalog.actor import Actor
from argosy.catalog.audit import Entry, record
from argosy.catalog.database import Database
from argosy.catalog.people import robots, tokens, users
from argosy.catalog.people.robots import Robot
from argosy.errors import NotFound, UsageError
from argosy.values import frozen

Check = Callable[[Robot], object]
_Look = Callable[[Connection, str], Robot | None]

_NAME: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_LONGEST: Final = 100
OVERLAP_MOST: Final = 30 * 86400.0


@frozen(kw_only=True)
class NewRobot:
    """A robot to make: its name without what comes before, and its grants as text.

    `project` is empty for one of the system. `expires_at` in microseconds; None: never.
    """

    name: str
    project: str = ""
    description: str = ""
    grants: Sequence[str]
    expires_at: int | None = None


@frozen(kw_only=True)
class RobotChange:
    """What to change; None leaves it. `expires_at` 0: never."""

    description: str | None = None
    grants: Sequence[str] | None = None
    disabled: bool | None = None
    expires_at: int | None = None


class Robots:
    """The robots of a registry."""

    def __init__(self, database: Database, authority: Authority) -> None:
        self._db = database
        self._authority = authority

    async def get(self, name: str) -> Robot:
        """The robot of that full name; NotFound."""
        return await self._db.read(lambda conn: _known(conn, name))

    async def page(self, project: str, after: str, count: int) -> list[Robot]:
        """At most `count` robots of a project (of the system, if empty) after a full name."""

        def find(conn: Connection) -> list[Robot]:
            key = users.project(conn, project) if project else None
            return robots.robots_page(conn, key, after, count)

        return await self._db.read(find)

    async def create(self, by: Actor, maker: Principal, new: NewRobot) -> tuple[Robot, str]:
        """A new robot and its secret, which nobody can show again; Conflict, Denied, UsageError."""
        if not _NAME.fullmatch(new.name) or len(new.name) > _LONGEST:
            raise UsageError(
                f"{new.name[:100]!r} cannot be a robot's name",
                why=f"it has at most {_LONGEST} of a-z, 0-9 and . _ - between them",
                remedy="give it a name such as ci or mirror-eu",
            )
        _in_the_future(new.expires_at)
        grants = parse_grants(new.grants)
        await self._vouches(maker, grants, new.project)
        secret, name = new_secret(Secret.ROBOT), full_name(new.project, new.name)
        values = {
            "name": name,
            "description": new.description[:1024],
            "secret": hashed(secret),
            "grants": texts(grants),
            "created_by_id": _maker(maker),
            "created_by": maker.name or by.name,
            "expires_at": new.expires_at,
        }

        def write(conn: Connection) -> Robot:
            key = users.project(conn, new.project) if new.project else None
            if robots.robot(conn, name) is not None:
                raise Conflict(f"there is a robot {name}", remedy="choose another name")
            robots.add_robot(conn, {**values, "project_id": key})
            record(conn, by, _entry("robot.create", new.project, name, {"grants": texts(grants)}))
            return _known(conn, name)

        return await self._db.write(write), secret

    async def update(
        self,
        by: Actor,
        who: Principal,
        name: str,
        change: RobotChange,
        check: Check | None = None,
    ) -> Robot:
        """The robot with that changed; who gives it grants stands for it from then on."""
        before = await self.get(name)
        values: dict[str, Any] = {}
        given = change.grants
        if given is None and before.maker is None and change.disabled is False:
            given = before.grants  # its maker was removed: who lets it in again stands for it
        if given is not None:
            grants = parse_grants(given)
            await self._vouches(who, grants, before.project)
            values |= {"grants": texts(grants), "created_by_id": _maker(who)}
            values["created_by"] = who.name or by.name
        if change.description is not None:
            values["description"] = change.description[:1024]
        if change.disabled is not None:
            values["disabled"] = change.disabled
        if change.expires_at is not None:
            _in_the_future(change.expires_at or None)
            values["expires_at"] = change.expires_at or None

        def write(conn: Connection) -> Robot:
            robot = _known(conn, name, robots.hold_robot)
            if check is not None:
                check(robot)
            if change.disabled is False and given is None and robot.maker is None:
                raise Conflict(f"the maker of {name} was removed just now", remedy="adopt it")
            if values:
                robots.change_robot(conn, robot.id, values)
                record(conn, by, _entry("robot.update", robot.project, name, values))
            return _known(conn, name)

        return await self._db.write(write)

    async def adopt(self, by: Actor, who: Principal, name: str) -> Robot:
        """`who` stands for the robot from now on, with the grants that it has; it works again."""
        grants = (await self.get(name)).grants
        return await self.update(by, who, name, RobotChange(grants=grants, disabled=False))

    async def may_be(self, who: Principal, name: str) -> None:
        """Denied unless somebody may all that a robot was given: with its secret they are it."""
        robot = await self.get(name)
        if who.kind == "system" or (who.kind == "robot" and who.id == robot.id):
            return
        standing = await self._authority.standing(who)
        for grant in parse_grants(robot.grants):
            for need in _needs(grant, robot.project):
                _refuse_more(standing, need, "who has a robot's secret has all that it may")

    async def rotate(self, by: Actor, name: str, *, overlap: float = 0.0) -> str:
        """A new secret; the old one is accepted for `overlap` seconds more (30 days at most)."""
        if not 0 <= overlap <= OVERLAP_MOST:
            raise UsageError("the overlap of a robot's secrets is 0 seconds to 30 days")
        secret = new_secret(Secret.ROBOT)

        def write(conn: Connection) -> None:
            robot = _known(conn, name, robots.hold_robot)
            until = int((time.time() + overlap) * 1e6) if overlap else None
            values = {
                "secret": hashed(secret),
                "previous_secret": robot.secret if overlap else None,
                "previous_until": until,
            }
            robots.change_robot(conn, robot.id, values)
            tokens.drop_refresh_tokens(conn, "robot", robot.id)
            record(conn, by, _entry("robot.rotate", robot.project, name, {"overlap": overlap}))

        await self._db.write(write)
        return secret

    async def remove(self, by: Actor, name: str, check: Check | None = None) -> None:
        """Forget a robot; NotFound."""

        def write(conn: Connection) -> None:
            robot = _known(conn, name, robots.hold_robot)
            if check is not None:
                check(robot)
            robots.remove_robot(conn, robot.id)
            record(conn, by, _entry("robot.delete", robot.project, name, {}))

        await self._db.write(write)

    async def _vouches(self, who: Principal, grants: Sequence[Grant], project: str) -> None:
        """Denied unless somebody may all of that themselves, and is somebody who may stand for it."""
        if who.kind == "system":
            return _within(grants, project)
        if who.kind != "user":
            raise beyond(
                f"a {who.kind} cannot stand for a robot",
                why="what it may could end, or be narrowed, behind the robot's back",
                remedy="log in as a user, with a password",
            )
        _within(grants, project)
        standing = await self._authority.standing(who)
        for grant in grants:
            for need in _needs(grant, project):
                _refuse_more(standing, need, "a robot cannot get more than who makes it has")
        return None


def full_name(project: str, name: str) -> str:
    """What a robot logs in as."""
    return f"{ROBOT}{project}+{name}" if project else f"{ROBOT}{name}"


def _needs(grant: Grant, project: str) -> list[Permission]:
    """What somebody must have who gives that; roles are of a whole project."""
    return [Permission(grant.resource, action, project) for action in sorted(grant.actions)]


def _refuse_more(standing: Standing, need: Permission, what: str) -> None:
    # Without a project it is about all of them: only a system admin has that.
    of_all = standing.principal.is_admin and not standing.gone
    if not (standing.may(need) if need.project else of_all):
        raise beyond(
            what,
            why=f"{standing.principal.name} lacks {shown(need)}"
            if need.project
            else "only a system admin can make robots of the system, or be them",
            remedy="leave that action out, or ask somebody who has it",
        )


def _within(grants: Sequence[Grant], project: str) -> None:
    """UsageError for grants outside of the robot's project: they would do nothing."""
    if not grants:
        raise UsageError(
            "a robot needs at least one grant",
            remedy="give one, such as repository:team/**:pull",
        )
    for grant in grants:
        first = grant.pattern.partition("/")[0]
        if project and first not in (project, "**"):
            raise UsageError(
                f"{grant} is not in project {project}",
                why="a robot of a project may nothing outside of it",
                remedy=f"write repository:{project}/**:…, or make a robot of the system",
            )


def _maker(who: Principal) -> int | None:
    return who.id if who.kind == "user" else None


def _in_the_future(expires_at: int | None) -> None:
    if expires_at is not None and expires_at <= time.time() * 1e6:
        raise UsageError("it would have expired already", remedy="give a time to come")


def _known(conn: Connection, name: str, look: _Look = robots.robot) -> Robot:
    if (found := look(conn, name)) is None:
        raise NotFound(f"no robot {name}")
    return found


def _entry(action: str, project: str, name: str, values: dict[str, Any]) -> Entry:
    details = {key: value for key, value in values.items() if "secret" not in key}
    return Entry(action=action, resource=name, project=project, details=details)
