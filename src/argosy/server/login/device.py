"""/auth/device: a command line asks for a token, a person says yes in a browser (RFC 8628).

    POST /auth/device           client=NAME [flow=provider]   what to show, and what to poll with
    GET  /auth/device           the page where the code is typed and yes is said
    POST /auth/device/token     device_code=…                 the token, or that it is not time yet

Where the identity provider has a device flow of its own and it is asked for, the person goes
there instead of to our page; the command line does the same either way.
"""

import json
import secrets
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from argosy.access.accounts.conflicts import Conflict
from argosy.access.accounts.personal import NewToken
from argosy.access.identity.flows import Flows
from argosy.access.identity.oidc.values import Pending
from argosy.access.permissions.principal import Principal
from argosy.access.service import Access
from argosy.access.signing_in.backends import Identity
from argosy.access.signing_in.refused import Refused
from argosy.access.signing_in.sessions import Session
from argosy.catalog.database import Database
from argosy.catalog.people import users
from argosy.catalog.people.users import User
from argosy.server.http.messages import Response
from argosy.server.login import pages
from argosy.server.login.entering import Entering
from argosy.server.login.visit import Visit

if TYPE_CHECKING:  # slow to import, and only where there is a provider
    from argosy.access.identity.oidc.login import Oidc

PAGE: Final = "/auth/device"
_DEVICE: Final = "device"
_CODE: Final = "device-code"
_MINUTES: Final = 10
_INTERVAL: Final = 3
_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"  # RFC 8628 §6.1: no words, nothing to confuse
_TOKEN_DAYS: Final = 90
_JSON: Final = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))


class Device:
    """Both ends of it."""

    def __init__(
        self,
        access: Access,
        database: Database,
        flows: Flows,
        entering: Entering,
        oidc: "Oidc | None",
    ) -> None:
        self._access, self._db, self._flows = access, database, flows
        self._entering, self._oidc = entering, oidc

    async def begin(self, visit: Visit) -> Response:
        """POST /auth/device (RFC 8628 §3.1, §3.2)."""
        client = _plain(visit.form.get("client", "")) or "a command line"
        if visit.form.get("flow") == "provider":
            if self._oidc is None:
                return _error(400, "no_provider", "there is no identity provider here")
            if (answer := await self._at_provider(self._oidc, client)) is not None:
                return answer
        shown = "".join(secrets.choice(_LETTERS) for _ in range(8))
        shown = f"{shown[:4]}-{shown[4:]}"
        asks = f"{client} at {visit.address}"
        kept = {"client": client, "asks": asks, "code": shown, "state": "pending"}
        handle = await self._flows.begin(_DEVICE, kept, minutes=_MINUTES)
        await self._flows.begin_as(shown, _CODE, {"device": handle}, minutes=_MINUTES)
        return _answer(
            {
                "device_code": handle,
                "user_code": shown,
                "verification_uri": visit.here + PAGE,
                "verification_uri_complete": f"{visit.here}{PAGE}?user_code={shown}",
                "expires_in": _MINUTES * 60,
                "interval": _INTERVAL,
            }
        )

    async def _at_provider(self, oidc: "Oidc", client: str) -> Response | None:
        begun = await oidc.begin_device()
        if begun is None:
            return None
        kept = {"client": client, "provider": begun.handle}
        minutes = min(begun.expires_in / 60, 60.0)
        handle = await self._flows.begin(_DEVICE, kept, minutes=minutes)
        told: dict[str, Any] = {
            "device_code": handle,
            "user_code": begun.user_code,
            "verification_uri": begun.address,
            "expires_in": int(minutes * 60),
            "interval": begun.interval,
        }
        if begun.address_with_code:
            told["verification_uri_complete"] = begun.address_with_code
        return _answer(told)

    async def token(self, visit: Visit) -> Response:
        """POST /auth/device/token (RFC 8628 §3.5)."""
        handle = visit.form.get("device_code", "")
        kept = await self._flows.look(_DEVICE, handle)
        if kept is None:
            return _error(400, "expired_token", "nobody said yes in time; begin again")
        if "provider" in kept:
            return await self._from_provider(visit, handle, kept)
        if kept["state"] == "pending":
            return _error(400, "authorization_pending", "nobody has said yes yet")
        if await self._flows.take(_DEVICE, handle) is None:
            return _error(400, "expired_token", "the token was given already")
        if kept["state"] != "yes":
            return _error(400, "access_denied", "the answer was no")
        user = await self._db.read(lambda conn: users.user_by_id(conn, kept["user"]))
        return await self._given(visit, user, kept["client"])

    async def _from_provider(self, visit: Visit, handle: str, kept: Mapping[str, Any]) -> Response:
        assert self._oidc is not None  # it began
        found = await self._oidc.poll_device(kept["provider"])
        if isinstance(found, Pending):
            return _error(400, "slow_down" if found.slower else "authorization_pending", "not yet")
        if await self._flows.take(_DEVICE, handle) is None:
            return _error(400, "expired_token", "the token was given already")
        user: User | Refused = (
            await self._entering.onboarded(found, visit) if isinstance(found, Identity) else found
        )
        if isinstance(user, Refused):
            return _error(400, "access_denied", user.reason)
        if user.second_factor:
            why = "your account has a second factor here: use `argosy login --web`"
            return _error(400, "access_denied", why)
        return await self._given(visit, user, kept["client"])

    async def page(self, visit: Visit, session: Session) -> Response:
        """GET /auth/device."""
        code = _code(visit.query.get("user_code", ""))
        kept = await self._asked(code) if code else None
        if kept is None:
            wrong = pages.said("no command line shows that code") if code else None
            return pages.device(session, code, "", wrong)
        return pages.device(session, code, kept["asks"])

    async def decide(self, visit: Visit, session: Session) -> Response:
        """POST /auth/device/page: the code, and then yes or no."""
        code, answer = _code(visit.form.get("user_code", "")), visit.form.get("answer", "")
        kept = await self._asked(code)
        if kept is None:
            return pages.device(session, code, "", pages.said("no command line shows that code"))
        if answer not in ("yes", "no"):
            return pages.device(session, code, kept["asks"])
        found = await self._flows.take(_CODE, code)
        if found is not None:
            decided = {**kept, "state": answer, "user": session.user.id}
            await self._flows.change(_DEVICE, found["device"], decided)
        words = "The command line is let in." if answer == "yes" else "It gets nothing."
        return pages.done(f"{words} You can close this page.")

    async def _asked(self, code: str) -> dict[str, Any] | None:
        found = await self._flows.look(_CODE, code)
        kept = await self._flows.look(_DEVICE, found["device"]) if found else None
        return kept if kept and kept.get("state") == "pending" else None

    async def _given(self, visit: Visit, user: User | None, client: str) -> Response:
        """A personal access token for the command line."""
        if user is None or user.disabled:
            return _error(400, "access_denied", "the account is disabled")
        owner = Principal(name=user.name, kind="user", id=user.id, is_admin=user.is_admin)
        until = int((time.time() + _TOKEN_DAYS * 86400) * 1e6)
        by = visit.actor(user.name)
        stamp = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
        name = f"{client[:60]} {stamp} {secrets.token_hex(2)}"
        try:
            new = NewToken(name=name, expires_at=until)
            _, secret = await self._access.personal.create(by, owner, new)
        except Conflict as e:
            return _error(400, "access_denied", f"{e.summary}: {e.remedy}")
        return _answer(
            {"username": user.name, "token": secret, "name": name, "expires_at": until // 10**6}
        )


def _code(typed: str) -> str:
    """A code as it was shown, however it was typed."""
    letters = "".join(c for c in typed.upper() if c in _LETTERS)
    return f"{letters[:4]}-{letters[4:]}" if len(letters) == 8 else ""


def _plain(words: str) -> str:
    return "".join(c for c in words if c.isprintable())[:60].strip()


def _answer(value: Mapping[str, Any]) -> Response:
    return Response(200, list(_JSON), json.dumps(value).encode())


def _error(status: int, code: str, why: str) -> Response:
    body = {"error": code, "error_description": why}
    return Response(status, list(_JSON), json.dumps(body).encode())
