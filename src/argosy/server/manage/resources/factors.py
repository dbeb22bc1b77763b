"""The second factor of people: an authenticator app, and recovery codes."""

from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from argosy.access.permissions.permission import Action, Resource
from argosy.access.signing_in.refused import Refused
from argosy.catalog.people.users import User
from argosy.server.guarding.who import address
from argosy.server.manage.operation import ONESELF, Call, Nothing, Operation, Reply
from argosy.server.manage.problems import Refusal, refused

Code = Annotated[str, Meta(pattern=r"^[0-9]{6}\Z", examples=["492039"])]
AnyCode = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-z-]{6,20}\Z",
        description="A code of the app, or a recovery code.",
        examples=["492039"],
    ),
]


class Enrolment(Struct, frozen=True):
    """What the app needs; shown only here."""

    uri: Annotated[str, Meta(description="To be shown as a QR code.")]
    key: Annotated[str, Meta(description="The same, to be typed.")]


class Confirmation(Struct, frozen=True, forbid_unknown_fields=True):
    """Proof that the app has it."""

    code: Code


class Proof(Struct, frozen=True, forbid_unknown_fields=True):
    """Proof that it is you."""

    code: AnyCode


class RecoveryCodes(Struct, frozen=True):
    """Codes that stand in for the app, each once; shown only here."""

    codes: list[str]


async def begun(call: Call[Nothing, Nothing]) -> Reply:
    """A secret for the app."""
    found = await call.services.second_factor.begin(await _self(call))
    if isinstance(found, Refused):
        raise Refusal(409, "conflict", found.reason, remedy=found.remedy)
    return Reply(value=Enrolment(uri=found.uri, key=found.secret), secret=True)


async def confirmed(call: Call[Nothing, Confirmation]) -> Reply:
    """It is asked for from now on."""
    user = await _self(call)
    found = await call.services.second_factor.confirm(user, call.body.code, call.actor)
    if isinstance(found, Refused):
        raise Refusal(403, "wrong-code", found.reason, remedy=found.remedy)
    return Reply(value=RecoveryCodes(codes=found), secret=True)


async def renewed(call: Call[Nothing, Proof]) -> Reply:
    """Other recovery codes."""
    user = await _proven(call)
    return Reply(
        value=RecoveryCodes(codes=await call.services.second_factor.renew_codes(user, call.actor)),
        secret=True,
    )


async def ended(call: Call[Nothing, Proof]) -> Reply:
    """One's own."""
    user = await _proven(call)
    await call.services.second_factor.remove(user, call.actor)
    return Reply()


async def removed(call: Call[Nothing, Nothing]) -> Reply:
    """Somebody's, who has lost it."""
    user = await call.people.users.get(call.names["user"])
    await call.services.second_factor.remove(user, call.actor)
    return Reply()


async def _self(call: Call[Nothing, Any]) -> User:
    who = call.principal
    people = call.people
    if who.kind not in ("user", "token"):
        raise Refusal(
            403, "denied", "only people have a second factor", why=f"this is a {who.kind}"
        )
    return await people.users.get(who.name)


async def _proven(call: Call[Nothing, Proof]) -> User:
    user, people = await _self(call), call.people
    failed = await call.services.second_factor.guessed(
        people.logins.throttle, user, call.body.code, address(call.request)
    )
    if failed is not None:
        raise refused(failed, "wrong-code")
    return user


_CODES: Final = RecoveryCodes(codes=["ab2cd-ef3gh-jk4mn"])

OPERATIONS: Final = (
    Operation(
        id="beginTotp",
        group="second factor",
        method="POST",
        path="/totp",
        summary="Begin to set up your second factor: the key for an authenticator app",
        description="Nothing changes before it is confirmed with a code of the app.",
        need=ONESELF,
        handler=begun,
        answer=Enrolment,
        example=Enrolment(
            uri="otpauth://totp/Argosy:ada?secret=JBSWY3DPEHPK3PXP&issuer=Argosy",
            key="JBSWY3DPEHPK3PXP",
        ),
        refusals=(404,),
    ),
    Operation(
        id="confirmTotp",
        group="second factor",
        method="POST",
        path="/totp/confirm",
        summary="Ask for the second factor from now on",
        description="After this a password alone opens nothing: docker needs an access token.",
        need=ONESELF,
        handler=confirmed,
        body=Confirmation,
        answer=RecoveryCodes,
        example=Confirmation(code="492039"),
        refusals=(404,),
    ),
    Operation(
        id="renewRecoveryCodes",
        group="second factor",
        method="POST",
        path="/totp/recovery-codes",
        summary="Other recovery codes in place of those before",
        need=ONESELF,
        handler=renewed,
        body=Proof,
        answer=RecoveryCodes,
        example=Proof(code="492039"),
        refusals=(404,),
    ),
    Operation(
        id="endTotp",
        group="second factor",
        method="POST",
        path="/totp/remove",
        summary="Have no second factor any more",
        need=ONESELF,
        handler=ended,
        body=Proof,
        example=Proof(code="492039"),
        refusals=(404,),
    ),
    Operation(
        id="removeUserTotp",
        group="second factor",
        method="DELETE",
        path="/users/{user}/totp",
        summary="Take a user's second factor away, who has lost it",
        need=(Resource.SYSTEM, Action.WRITE),
        handler=removed,
        refusals=(409,),
    ),
)
