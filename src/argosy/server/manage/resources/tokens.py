"""Personal access tokens: one's own."""

import time
from datetime import datetime
from typing import Annotated, Any, Final

from msgspec import Meta, Struct, field

from argosy.access.accounts.personal import NewToken as TokenToMake
from argosy.access.permissions.permission import Action, Resource
from argosy.catalog.people.tokens import PersonalToken
from argosy.server.manage import validators
from argosy.server.manage.operation import ONESELF, Call, Nothing, Operation, Page, Reply
from argosy.server.manage.paging import page
from argosy.server.manage.router import PREFIX
from argosy.server.manage.urls import url
from argosy.server.manage.values import (
    EXAMPLE_TIME,
    LONGEST,
    Days,
    GrantText,
    Label,
    Number,
    moment,
    moment_or_none,
)

_DAY: Final = 86_400_000_000  # microseconds


class TokenPaging(Struct, frozen=True, forbid_unknown_fields=True):
    """Which page of them, the oldest first."""

    limit: Annotated[int, Meta(ge=1, le=1000, description="Entries on a page, at most.")] = 100
    after: Annotated[int, Meta(ge=0, le=LONGEST, description="`next` of the page before.")] = 0


class Token(Struct, frozen=True):
    """A personal access token; never the token itself."""

    id: Number
    name: str
    scopes: Annotated[list[str], Meta(description="What it is for; empty: all its owner may.")]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class NewToken(Struct, frozen=True, forbid_unknown_fields=True):
    """A token to make."""

    name: Label
    scopes: Annotated[list[GrantText], Meta(max_length=100)] = field(default_factory=list)
    days: Days | None = 90


class MadeToken(Token, frozen=True):
    """A new token."""

    token: Annotated[str, Meta(description="The token; shown only here.")] = ""


async def listed(call: Call[TokenPaging, Nothing]) -> Reply:
    """A page of one's own."""
    limit, owner = call.query.limit, call.principal.name
    found = await call.people.personal.page(owner, call.query.after, limit + 1)
    return page(found, limit, _token, lambda one: one.id)


async def shown(call: Call[Nothing, Nothing]) -> Reply:
    """One of one's own."""
    found = await call.people.personal.get(call.principal.name, call.names["token"])
    return Reply(value=_token(found), etag=validators.of_value(_token(found)))


async def created(call: Call[Nothing, NewToken]) -> Reply:
    """A token for oneself."""
    new = call.body
    asked = TokenToMake(name=new.name, scopes=new.scopes, expires_at=expiry(new.days))
    row, secret = await call.people.personal.create(call.actor, call.principal, asked)
    return Reply(
        value=MadeToken(**_fields(row), token=secret),
        location=PREFIX + url("tokens", row.id),
        secret=True,
    )


async def revoked(call: Call[Nothing, Nothing]) -> Reply:
    """It opens nothing any more."""
    personal = call.people.personal
    await personal.revoke(call.actor, call.principal.name, call.names["token"])
    return Reply()


async def of_user(call: Call[TokenPaging, Nothing]) -> Reply:
    """A page of somebody's."""
    limit = call.query.limit
    personal = call.people.personal
    found = await personal.page(call.names["user"], call.query.after, limit + 1)
    return page(found, limit, _token, lambda one: one.id)


async def revoked_of_user(call: Call[Nothing, Nothing]) -> Reply:
    """Somebody's opens nothing any more."""
    personal = call.people.personal
    await personal.revoke(call.actor, call.names["user"], call.names["token"])
    return Reply()


def expiry(days: int | None) -> int | None:
    """So many days from now, in microseconds since 1970; None for never."""
    return None if days is None else time.time_ns() // 1000 + days * _DAY


def _token(row: PersonalToken) -> Token:
    return Token(**_fields(row))


def _fields(row: PersonalToken) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "scopes": list(row.scopes),
        "created_at": moment(row.created_at),
        "expires_at": moment_or_none(row.expires_at),
        "last_used_at": moment_or_none(row.last_used_at),
        "revoked_at": moment_or_none(row.revoked_at),
    }


_TOKEN: Final = Token(
    id=7,
    name="laptop",
    scopes=["repository:team/**:pull"],
    created_at=EXAMPLE_TIME,
    expires_at=None,
    last_used_at=EXAMPLE_TIME,
    revoked_at=None,
)

OPERATIONS: Final = (
    Operation(
        id="listTokens",
        group="tokens",
        method="GET",
        path="/tokens",
        summary="Your personal access tokens, also revoked ones",
        need=ONESELF,
        handler=listed,
        query=TokenPaging,
        answer=Page[Token],
        example=Page(items=[_TOKEN]),
        refusals=(404, 409),
    ),
    Operation(
        id="createToken",
        group="tokens",
        method="POST",
        path="/tokens",
        summary="Make a personal access token",
        description="Only users themselves can, logged in with their password.",
        need=ONESELF,
        handler=created,
        body=NewToken,
        answer=MadeToken,
        status=201,
        example=NewToken(name="laptop", scopes=["repository:team/**:pull"], days=90),
    ),
    Operation(
        id="getToken",
        group="tokens",
        method="GET",
        path="/tokens/{token}",
        summary="One of your personal access tokens",
        need=ONESELF,
        handler=shown,
        answer=Token,
        example=_TOKEN,
        refusals=(409,),
    ),
    Operation(
        id="revokeToken",
        group="tokens",
        method="DELETE",
        path="/tokens/{token}",
        summary="Revoke one of your personal access tokens",
        need=ONESELF,
        handler=revoked,
        refusals=(409,),
    ),
    Operation(
        id="listUserTokens",
        group="tokens",
        method="GET",
        path="/users/{user}/tokens",
        summary="A user's personal access tokens",
        need=(Resource.SYSTEM, Action.READ),
        handler=of_user,
        query=TokenPaging,
        answer=Page[Token],
        example=Page(items=[_TOKEN]),
        refusals=(409,),
    ),
    Operation(
        id="revokeUserToken",
        group="tokens",
        method="DELETE",
        path="/users/{user}/tokens/{token}",
        summary="Revoke one of a user's personal access tokens",
        need=(Resource.SYSTEM, Action.WRITE),
        handler=revoked_of_user,
        refusals=(409,),
    ),
)
