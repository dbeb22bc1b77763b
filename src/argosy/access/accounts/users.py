"""Users: made, changed, removed; their passwords. Every change is in the audit log with it."""

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection

from argosy.access.accounts.conflicts import Conflict
from argosy.access.identity.onboarding import unusable
from argosy.access.secrets import one_time_password
from argosy.access.signing_in import passwords as rules
from argosy.access.signing_in import throttle
from argosy.access.signing_in.logins import WRONG, Logins
from argosy.access.signing_in.refused import Refused, Slowed
from argosy.catalog.actor import Actor
from argosy.catalog.audit import Entry, record
from argosy.catalog.database import Database
from argosy.catalog.databases.locks import Space, exclusive
from argosy.catalog.people import users
from argosy.catalog.people.users import LOCAL, User
from argosy.errors import NotFound, UsageError
from argosy.values import frozen

Check = Callable[[User], object]
"""Sees the user as it is in the transaction of the change, and may raise (If-Match)."""

_Look = Callable[[Connection, str], User | None]

ADMIN: Final = "admin"


@frozen(kw_only=True)
class NewUser:
    """A local user to make. No password: one is made, to be changed at the first login."""

    name: str
    email: str = ""
    password: str = ""
    is_admin: bool = False


@frozen(kw_only=True)
class UserChange:
    """What to change; None leaves it."""

    email: str | None = None
    is_admin: bool | None = None
    disabled: bool | None = None


class Users:
    """The users of a registry."""

    def __init__(self, database: Database, logins: Logins) -> None:
        self._db = database
        self._logins = logins

    async def get(self, name: str) -> User:
        """The user of that name; NotFound."""
        return await self._db.read(lambda conn: _known(conn, name))

    async def page(self, after: str, count: int) -> list[User]:
        """At most `count` users whose names come after `after`."""
        return await self._db.read(lambda conn: users.users_page(conn, after, count))

    async def create(self, by: Actor, new: NewUser) -> tuple[User, str]:
        """A new local user, and the one-time password if none was given; Conflict, UsageError."""
        if why := unusable(new.name):
            raise UsageError(
                f"{new.name[:100]!r} cannot be a user's name", why=why, remedy="choose another"
            )
        once = "" if new.password else one_time_password()
        if new.password:
            rules.check(new.password, new.name)
        stored = await self._logins.passwords.hash(new.password or once)
        made = await self._db.write(lambda conn: _made(conn, by, new, stored, bool(once)))
        return made, once

    async def update(
        self, by: Actor, name: str, change: UserChange, check: Check | None = None
    ) -> User:
        """The user with that changed; NotFound, Conflict if nobody would administer the system."""

        def write(conn: Connection) -> User:
            user = _known(conn, name, users.hold_user)
            if check is not None:
                check(user)
            values = {
                field: value
                for field in ("email", "is_admin", "disabled")
                if (value := getattr(change, field)) is not None and value != getattr(user, field)
            }
            if not values:
                return user
            if values.get("is_admin") is False or values.get("disabled"):
                _keep_an_admin(conn, user)
            users.change_user(conn, user.id, values)
            if values.get("disabled"):
                users.log_out(conn, user.id)
            record(conn, by, Entry(action="user.update", resource=name, details=values))
            return _known(conn, name)

        return await self._db.write(write)

    async def remove(self, by: Actor, name: str, check: Check | None = None) -> None:
        """Forget a user; the robots they made are disabled until somebody adopts them."""

        def write(conn: Connection) -> None:
            user = _known(conn, name, users.hold_user)
            if check is not None:
                check(user)
            _keep_an_admin(conn, user)
            users.remove_user(conn, user.id)
            record(conn, by, Entry(action="user.delete", resource=name))

        await self._db.write(write)

    async def set_password(self, by: Actor, name: str, password: str = "") -> str:
        """Give a local user another password; without one, a one-time password, which is returned.

        What was logged in with the old one is logged out; personal access tokens stay.
        """
        once = "" if password else one_time_password()
        if password:
            rules.check(password, name)
        stored = await self._logins.passwords.hash(password or once)

        def write(conn: Connection) -> None:
            user = _known(conn, name, users.hold_user)
            _set_password(conn, user, stored, must_change=bool(once))
            throttle.forget(conn, name)
            record(conn, by, Entry(action="user.password", resource=name))

        await self._db.write(write)
        return once

    async def change_password(self, by: Actor, old: str, new: str) -> Refused | None:
        """Somebody changes their own (`by.name`), knowing the old one; also a one-time password."""
        name = by.name
        async with self._logins.throttle.turn(name, by.address) as seconds:
            if seconds > 0:
                return Slowed("too many wrong passwords", f"wait {seconds:.0f} s", seconds=seconds)
            user, stored = await self._db.read(lambda conn: users.with_password(conn, name))
            right = await self._logins.passwords.verify(stored, old)
            if not right or user is None or user.disabled:
                await self._logins.throttle.failed(name, by.address)
                return WRONG
        rules.check(new, name)
        if new == old:
            raise rules.PasswordUnfit("the new password is the old one", remedy="choose another")
        made = await self._logins.passwords.hash(new)

        def write(conn: Connection) -> Refused | None:
            users.hold_user(conn, name)
            if users.password_of(conn, user.id) != stored:
                return WRONG  # somebody was quicker
            _set_password(conn, user, made, must_change=False)
            record(conn, by, Entry(action="user.password", resource=name))
            return None

        return await self._db.write(write)

    async def rescue(self, by: Actor, name: str) -> str:
        """A system admin of that name who can get in: made, let in again, without second factor.

        Returns the one-time password. For who owns the machine and has lost all others.
        """
        once = one_time_password()
        stored = await self._logins.passwords.hash(once)

        def write(conn: Connection) -> None:
            user = users.user(conn, name)
            if user is None:
                _made(conn, by, NewUser(name=name, is_admin=True), stored, True)
                return
            _set_password(conn, user, stored, must_change=True)
            values = {"is_admin": True, "disabled": False, "totp": None, "totp_confirmed": False}
            users.change_user(conn, user.id, values)
            throttle.forget(conn, name)
            record(conn, by, Entry(action="user.rescue", resource=name))

        await self._db.write(write)
        return once

    async def first_admin(self, by: Actor) -> str | None:
        """Make the user `admin` where there is none at all; the one-time password, None if there were."""
        if await self._db.read(users.there_are_users):
            return None
        once = one_time_password()
        stored = await self._logins.passwords.hash(once)
        new = NewUser(name=ADMIN, is_admin=True)

        def write(conn: Connection) -> bool:
            exclusive(conn, Space.WORK, "admins")  # nodes that start together would all see nobody
            if users.there_are_users(conn):
                return False
            _made(conn, by, new, stored, True)
            return True

        return once if await self._db.write(write) else None


def _made(conn: Connection, by: Actor, new: NewUser, stored: str, once: bool) -> User:
    if users.user(conn, new.name) is not None:
        raise Conflict(f"there is a user {new.name}", remedy="choose another name")
    values: dict[str, Any] = {"email": new.email, "is_admin": new.is_admin, "backend": LOCAL}
    users.add_user(conn, new.name, {**values, "password": stored, "must_change": once})
    details = {"is_admin": new.is_admin, "backend": LOCAL}
    record(conn, by, Entry(action="user.create", resource=new.name, details=details))
    return _known(conn, new.name)


def _set_password(conn: Connection, user: User, stored: str, *, must_change: bool) -> None:
    if user.backend != LOCAL:
        raise Conflict(
            f"the password of {user.name} is not kept here",
            why=f"it is a user of {user.backend}",
            remedy="change it there",
        )
    users.change_user(conn, user.id, {"password": stored, "must_change": must_change})
    users.log_out(conn, user.id)


def _keep_an_admin(conn: Connection, user: User) -> None:
    if not user.is_admin or user.disabled:
        return
    exclusive(conn, Space.WORK, "admins")  # two admins at once may each be the other's last
    if not users.other_admins(conn, user.id):
        raise Conflict(
            f"{user.name} is the last system admin",
            why="nobody could administer the registry any more",
            remedy="make somebody else a system admin first",
        )


def _known(conn: Connection, name: str, look: _Look = users.user) -> User:
    if (found := look(conn, name)) is None:
        raise NotFound(f"no user {name}")
    return found
