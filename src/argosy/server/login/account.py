"""/account: who you are, your personal access tokens, your second factor."""

import time
from collections.abc import Callable, Coroutine
from typing import Any

from argosy.access.accounts.personal import NewToken
from argosy.access.permissions.principal import Principal
from argosy.access.service import Access
from argosy.access.signing_in.refused import Refused, Slowed
from argosy.access.signing_in.second_factor import SecondFactor
from argosy.access.signing_in.sessions import Session
from argosy.catalog.database import Database
from argosy.catalog.people import users
from argosy.errors import ArgosyError
from argosy.server.http.messages import Response
from argosy.server.login import pages
from argosy.server.login.html import go
from argosy.server.login.visit import Visit

_DAY = 86400.0
_LONGEST = 3650  # days
_SHOWN = 200

Step = Callable[[Visit, Session], Coroutine[Any, Any, Response]]


class Account:
    """The pages of somebody who is logged in."""

    def __init__(self, access: Access, database: Database, factor: SecondFactor) -> None:
        self._access = access
        self._db = database
        self._factor = factor

    async def page(self, visit: Visit, session: Session) -> Response:
        """GET /account."""
        del visit
        user = session.user
        groups = await self._db.read(lambda conn: users.groups(conn, user.id))
        tokens = await self._access.personal.page(user.name, 0, _SHOWN)
        left = await self._factor.codes_left(user) if user.second_factor else 0
        return pages.account(session, groups, tokens, left)

    async def make_token(self, visit: Visit, session: Session) -> Response:
        """POST /account/tokens."""
        days = visit.form.get("days", "").strip()
        if days and not (days.isdecimal() and 0 < int(days) <= _LONGEST):
            return pages.problem(f"days are a number from 1 to {_LONGEST}", status=400)
        new = NewToken(name=visit.form.get("name", "").strip(), expires_at=_in_days(days))
        try:
            made, secret = await self.token(visit, session, new)
        except ArgosyError as e:
            return pages.problem(e.summary, e.remedy, status=400)
        host = visit.here.partition("://")[2]
        return pages.token_made(made, session.user.name, secret, host)

    async def token(self, visit: Visit, session: Session, new: NewToken) -> tuple[str, str]:
        """A token of the session's user: its name, and the secret."""
        user = session.user
        owner = Principal(name=user.name, kind="user", id=user.id, is_admin=user.is_admin)
        made, secret = await self._access.personal.create(visit.actor(user.name), owner, new)
        return made.name, secret

    async def revoke_token(self, visit: Visit, session: Session) -> Response:
        """POST /account/tokens/revoke."""
        number = visit.form.get("token", "")
        name = session.user.name
        if number.isdecimal() and len(number) < 19:
            await self._access.personal.revoke(visit.actor(name), name, int(number))
        return go("/account")

    async def begin_factor(self, visit: Visit, session: Session) -> Response:
        """POST /account/second-factor/begin."""
        del visit
        found = await self._factor.begin(session.user)
        if isinstance(found, Refused):
            return pages.problem(found.reason, found.remedy)
        return pages.enrolment(session, found)

    async def confirm_factor(self, visit: Visit, session: Session) -> Response:
        """POST /account/second-factor/confirm."""
        code, by = visit.form.get("code", ""), visit.actor(session.user.name)
        found = await self._factor.confirm(session.user, code, by)
        if isinstance(found, Refused):
            return pages.problem(found.reason, "set it up once more")
        return pages.recovery_codes(found)

    async def renew_codes(self, visit: Visit, session: Session) -> Response:
        """POST /account/second-factor/codes."""
        if refusal := await self._wrong(visit, session):
            return refusal
        by = visit.actor(session.user.name)
        return pages.recovery_codes(await self._factor.renew_codes(session.user, by))

    async def drop_factor(self, visit: Visit, session: Session) -> Response:
        """POST /account/second-factor/off."""
        if refusal := await self._wrong(visit, session):
            return refusal
        await self._factor.remove(session.user, visit.actor(session.user.name))
        return go("/account")

    async def _wrong(self, visit: Visit, session: Session) -> Response | None:
        """A refusal unless a code came along: a session alone does not weaken an account."""
        throttle, code = self._access.logins.throttle, visit.form.get("code", "")
        refused = await self._factor.guessed(throttle, session.user, code, visit.address)
        if isinstance(refused, Slowed):
            return pages.too_often(refused.seconds)
        return pages.problem(refused.reason, refused.remedy) if refused else None


def _in_days(days: str) -> int | None:
    return int((time.time() + int(days) * _DAY) * 1e6) if days else None
