"""Users: made, changed, locked out, removed; and their passwords."""

from datetime import datetime
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from argosy.access.accounts.users import NewUser as UserToMake
from argosy.access.accounts.users import UserChange as Change
from argosy.access.permissions.permission import Action, Resource
from argosy.access.secrets import as_name
from argosy.catalog.actor import Actor
from argosy.catalog.people import users
from argosy.catalog.people.users import User as UserRow
from argosy.server.guarding.who import address
from argosy.server.manage import validators
from argosy.server.manage.operation import (
    PUBLIC,
    Call,
    Nothing,
    Operation,
    Page,
    Paging,
    Reply,
)
from argosy.server.manage.paging import page
from argosy.server.manage.problems import refused
from argosy.server.manage.router import PREFIX
from argosy.server.manage.urls import url
from argosy.server.manage.values import (
    EXAMPLE_TIME,
    NewUserName,
    UserName,
    moment,
    moment_or_none,
)

Email = Annotated[str, Meta(pattern=r"^[^\x00-\x20\x7f]*\Z", max_length=320)]
Password = Annotated[
    str,
    Meta(min_length=8, max_length=256, pattern=r"^[^\x00-\x1f\x7f]*\Z", examples=["correct horse"]),
]


class User(Struct, frozen=True):
    """A user."""

    name: UserName
    email: str
    backend: Annotated[str, Meta(description="Who checks the password.", examples=["local"])]
    admin: Annotated[bool, Meta(description="Whether they may do everything.")]
    disabled: bool
    second_factor: bool
    must_change_password: bool
    created_at: datetime
    last_login_at: datetime | None


class UserDetails(User, frozen=True):
    """A user, with the groups that their back end said at the last login."""

    groups: list[str]


class NewUser(Struct, frozen=True, forbid_unknown_fields=True):
    """A local user to make."""

    name: NewUserName
    email: Email = ""
    admin: bool = False
    password: Annotated[
        Password | None,
        Meta(description="Without one, a password is made, to be changed at the first login."),
    ] = None


class MadeUser(User, frozen=True):
    """A new user."""

    password: Annotated[
        str | None, Meta(description="The one-time password that was made; shown only here.")
    ] = None


class UserChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What to change; what is left out, or null, stays."""

    email: Email | None = None
    admin: bool | None = None
    disabled: bool | None = None


class PasswordReset(Struct, frozen=True, forbid_unknown_fields=True):
    """Another password for a user; without one, a one-time password is made."""

    password: Password | None = None


class MadePassword(Struct, frozen=True):
    """The one-time password that was made, if none was given."""

    password: str | None


class PasswordChange(Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody's own password, with the one that was."""

    name: UserName
    current: Annotated[str, Meta(max_length=1024)]
    password: Password


async def listed(call: Call[Paging, Nothing]) -> Reply:
    """A page, by name."""
    limit = call.query.limit
    found = await call.people.users.page(call.query.after, limit + 1)
    return page(found, limit, _user, lambda one: one.name)


async def shown(call: Call[Nothing, Nothing]) -> Reply:
    """One user."""
    name = call.names["user"]
    row = await call.people.users.get(name)
    groups = await call.services.database.read(lambda conn: users.groups(conn, row.id))
    return Reply(value=UserDetails(**_fields(row), groups=groups), etag=_etag(row))


async def created(call: Call[Nothing, NewUser]) -> Reply:
    """A local user."""
    new = call.body
    asked = UserToMake(
        name=new.name, email=new.email, password=new.password or "", is_admin=new.admin
    )
    row, once = await call.people.users.create(call.actor, asked)
    return Reply(
        value=MadeUser(**_fields(row), password=once or None),
        etag=_etag(row),
        location=PREFIX + url("users", row.name),
        secret=True,
    )


async def changed(call: Call[Nothing, UserChange]) -> Reply:
    """Some of it."""
    body = call.body
    change = Change(email=body.email, is_admin=body.admin, disabled=body.disabled)
    row = await call.people.users.update(
        call.actor, call.names["user"], change, lambda one: call.expected.check(_etag(one))
    )
    return Reply(value=_user(row), etag=_etag(row))


async def removed(call: Call[Nothing, Nothing]) -> Reply:
    """With tokens and memberships."""
    await call.people.users.remove(
        call.actor, call.names["user"], lambda one: call.expected.check(_etag(one))
    )
    return Reply()


async def password_reset(call: Call[Nothing, PasswordReset]) -> Reply:
    """By a system admin."""
    once = await call.people.users.set_password(
        call.actor, call.names["user"], call.body.password or ""
    )
    return Reply(value=MadePassword(password=once or None), secret=True)


async def password_changed(call: Call[Nothing, PasswordChange]) -> Reply:
    """By who has it: the old one is the proof, also where nobody could log in with it any more."""
    body = call.body
    call.request.tried = as_name(body.name)
    by = Actor(name=body.name, kind="user", address=address(call.request), request=call.request.id)
    failed = await call.people.users.change_password(by, body.current, body.password)
    if failed is not None:
        raise refused(failed)
    return Reply()


def _user(row: UserRow) -> User:
    return User(**_fields(row))


def _etag(row: UserRow) -> str:
    return validators.of_version("u", row.id, row.version)


def _fields(row: UserRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "email": row.email,
        "backend": row.backend,
        "admin": row.is_admin,
        "disabled": row.disabled,
        "second_factor": row.second_factor,
        "must_change_password": row.must_change,
        "created_at": moment(row.created_at),
        "last_login_at": moment_or_none(row.last_login_at),
    }


_USER: Final = User(
    name="ada",
    email="ada@example.org",
    backend="local",
    admin=False,
    disabled=False,
    second_factor=True,
    must_change_password=False,
    created_at=EXAMPLE_TIME,
    last_login_at=EXAMPLE_TIME,
)
_READ: Final = (Resource.SYSTEM, Action.READ)
_WRITE: Final = (Resource.SYSTEM, Action.WRITE)

OPERATIONS: Final = (
    Operation(
        id="listUsers",
        group="users",
        method="GET",
        path="/users",
        summary="The users that the registry knows",
        need=_READ,
        handler=listed,
        query=Paging,
        answer=Page[User],
        example=Page(items=[_USER]),
        refusals=(409,),
    ),
    Operation(
        id="createUser",
        group="users",
        method="POST",
        path="/users",
        summary="Make a local user",
        need=_WRITE,
        handler=created,
        body=NewUser,
        answer=MadeUser,
        status=201,
        example=NewUser(name="ada", email="ada@example.org"),
    ),
    Operation(
        id="getUser",
        group="users",
        method="GET",
        path="/users/{user}",
        summary="One user",
        need=_READ,
        handler=shown,
        answer=UserDetails,
        example=UserDetails(**{f: getattr(_USER, f) for f in User.__struct_fields__}, groups=[]),
        refusals=(409,),
    ),
    Operation(
        id="updateUser",
        group="users",
        method="PATCH",
        path="/users/{user}",
        summary="Change a user: lock them out, make them a system admin",
        need=_WRITE,
        handler=changed,
        body=UserChange,
        answer=User,
        guarded=True,
        example=UserChange(disabled=True),
        refusals=(409,),
    ),
    Operation(
        id="deleteUser",
        group="users",
        method="DELETE",
        path="/users/{user}",
        summary="Delete a user, with tokens and memberships",
        description="The robots they made are disabled until somebody adopts them.",
        need=_WRITE,
        handler=removed,
        refusals=(409,),
    ),
    Operation(
        id="resetPassword",
        group="users",
        method="POST",
        path="/users/{user}/password",
        summary="Give a local user another password",
        description="What was logged in with the old one is logged out; access tokens stay.",
        need=_WRITE,
        handler=password_reset,
        body=PasswordReset,
        answer=MadePassword,
        example=PasswordReset(password="correct horse battery"),  # noqa: S106 - an example
    ),
    Operation(
        id="changePassword",
        group="users",
        method="POST",
        path="/password",
        summary="Change your own password",
        description="The present password is the proof: a one-time password is changed so.",
        need=PUBLIC,
        handler=password_changed,
        body=PasswordChange,
        example=PasswordChange(
            name="ada",
            current="abcdef-ghjkmn-pqrstu-vwxyz2",
            password="correct horse battery",  # noqa: S106 - an example
        ),
        refusals=(403,),
    ),
)
