"""The keys that sign access tokens, and the groups that the registry has heard of."""

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta, Struct

from argosy.access.permissions.permission import Action, Resource
from argosy.catalog import schema as t
from argosy.catalog.people import signing_keys
from argosy.catalog.people.signing_keys import StoredKey
from argosy.server.manage.operation import Call, Nothing, Operation, Page, Reply
from argosy.server.manage.values import EXAMPLE_TIME, moment, moment_or_none


class SigningKey(Struct, frozen=True):
    """A key; never its private half."""

    kid: Annotated[str, Meta(description="Its id, in the header of the tokens it signs.")]
    algorithm: Annotated[str, Meta(examples=["ES256"])]
    created_at: datetime
    signs_from: Annotated[datetime, Meta(description="Every node knows it by then.")]
    accepted_until: datetime | None


class Rotated(Struct, frozen=True):
    """The new key."""

    kid: str


async def listed(call: Call[Nothing, Nothing]) -> Reply:
    """Those that sign, will sign, or whose tokens are still good."""
    _ = call.people
    found = await call.services.database.read(lambda conn: signing_keys.keys(conn, t.now()))
    return Reply(value=Page(items=[_key(one) for one in found]))


async def rotated(call: Call[Nothing, Nothing]) -> Reply:
    """Another one, soon."""
    return Reply(value=Rotated(kid=await call.people.keys.rotate(call.actor)))


def _key(row: StoredKey) -> SigningKey:
    return SigningKey(
        kid=row.kid,
        algorithm=row.algorithm,
        created_at=moment(row.created_at),
        signs_from=moment(row.signs_from),
        accepted_until=moment_or_none(row.accepted_until),
    )


_KEY: Final = SigningKey(
    kid="4fe1a2b3",
    algorithm="ES256",
    created_at=EXAMPLE_TIME,
    signs_from=EXAMPLE_TIME,
    accepted_until=None,
)

OPERATIONS: Final = (
    Operation(
        id="listSigningKeys",
        group="signing keys",
        method="GET",
        path="/signing-keys",
        summary="The keys that sign access tokens",
        need=(Resource.SYSTEM, Action.READ),
        handler=listed,
        answer=Page[SigningKey],
        example=Page(items=[_KEY]),
        refusals=(409,),
    ),
    Operation(
        id="rotateSigningKey",
        group="signing keys",
        method="POST",
        path="/signing-keys/rotate",
        summary="Sign with a new key",
        description="It signs as soon as every node knows it; nothing stops for it.",
        need=(Resource.SYSTEM, Action.WRITE),
        handler=rotated,
        answer=Rotated,
        example=Rotated(kid="4fe1a2b3"),
    ),
)
