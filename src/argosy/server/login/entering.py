"""Logging in: by password (and second factor), by a one-time password, at the identity provider."""

from typing import TYPE_CHECKING, Final

from argosy.access.identity.flows import Flows
from argosy.access.identity.onboarding import onboard
from argosy.access.permissions.principal import Principal
from argosy.access.secrets import as_name
from argosy.access.service import Access
from argosy.access.signing_in.backends import BackendUnavailable, Identity
from argosy.access.signing_in.logins import CHANGE_FIRST, SecondFactorNeeded
from argosy.access.signing_in.refused import Refused, Slowed
from argosy.access.signing_in.second_factor import SecondFactor
from argosy.access.signing_in.sessions import Sessions
from argosy.catalog.audit import Entry, record
from argosy.catalog.database import Database
from argosy.catalog.people import users
from argosy.catalog.people.users import User
from argosy.errors import ArgosyError, UsageError
from argosy.meters import declared as meters
from argosy.server.http.messages import Response, retry_after
from argosy.server.login import pages
from argosy.server.login.html import go
from argosy.server.login.visit import Visit, safe_place

if TYPE_CHECKING:  # slow to import, and only where there is a provider
    from argosy.access.identity.oidc.login import Oidc

_STEP: Final = "second-factor"
_TRIES: Final = 5
CALLBACK: Final = "/auth/oidc/callback"


class Entering:
    """The pages of somebody who is not logged in yet."""

    def __init__(
        self,
        access: Access,
        database: Database,
        flows: Flows,
        oidc: "Oidc | None",
        *,
        label: str = "Argosy",
    ) -> None:
        """`label` is what an authenticator app calls this registry."""
        self._access = access
        self._db = database
        self._flows = flows
        self._oidc = oidc
        self.sessions: Final = Sessions(database)
        self.factor: Final = SecondFactor(database, access.sealer, label)

    async def page(self, visit: Visit) -> Response:
        """GET /login."""
        go_on = safe_place(visit.query.get("next", ""))
        return go(go_on) if visit.session else pages.login(go_on, self._sso)

    async def password(self, visit: Visit) -> Response:
        """POST /login."""
        name, go_on = visit.form.get("name", ""), safe_place(visit.form.get("next", ""))
        given = visit.form.get("password", "")
        visit.request.tried = as_name(name)
        found = await self._access.logins.basic(name, given, visit.address)
        if isinstance(found, SecondFactorNeeded):
            return await self._ask_code(found.user, name, go_on)
        if found is CHANGE_FIRST:
            return pages.new_password(go_on, name)
        if isinstance(found, Principal) and found.kind != "user":
            # A token may be less than its owner, and a session is not.
            found = Refused("tokens and robots do not log in here", "use your password")
        if isinstance(found, Refused):
            return self._again(go_on, name, found)
        return await self._entered(visit, found.id, found.name, go_on)

    async def code(self, visit: Visit) -> Response:
        """POST /login/code: the second step, a few tries."""
        handle, code = visit.form.get("handle", ""), visit.form.get("code", "")
        kept = await self._flows.look(_STEP, handle)
        user = await self._user(kept["user"]) if kept else None
        if kept is None or user is None or kept["tries"] >= _TRIES:
            return pages.problem("that took too long, or too many tries")
        visit.request.tried = user.name
        throttle = self._access.logins.throttle
        refused = await self.factor.guessed(throttle, user, code, visit.address)
        if isinstance(refused, Slowed):
            return pages.too_often(refused.seconds)
        if refused is not None:
            await self._flows.change(_STEP, handle, {**kept, "tries": kept["tries"] + 1})
            return pages.code(handle, pages.said(refused.reason, refused.remedy))
        if await self._flows.take(_STEP, handle) is None:
            return pages.problem("that login is over")
        return await self._entered(visit, user.id, user.name, kept["go_on"])

    async def change_password(self, visit: Visit) -> Response:
        """POST /login/password: a one-time password becomes another."""
        form, go_on = visit.form, safe_place(visit.form.get("next", ""))
        name, new = form.get("name", ""), form.get("new", "")
        if new != form.get("again", ""):
            return pages.new_password(go_on, name, pages.said("the two new ones differ"))
        visit.request.tried, by = as_name(name), visit.actor(name)
        try:
            refused = await self._access.users.change_password(by, form.get("password", ""), new)
        except UsageError as e:
            return pages.new_password(go_on, name, pages.said(e.summary, e.remedy))
        if refused is not None:
            return pages.new_password(go_on, name, pages.said(refused.reason, refused.remedy))
        visit.form["password"] = new
        return await self.password(visit)

    async def to_provider(self, visit: Visit) -> Response:
        """GET /auth/oidc/login."""
        if self._oidc is None:
            return pages.problem("there is no identity provider here", status=404)
        go_on = safe_place(visit.query.get("next", ""))
        begun = await self._oidc.begin(visit.here + CALLBACK, go_on)
        return go(begun.url, visit.binding_cookie(begun.binding))

    async def from_provider(self, visit: Visit) -> Response:
        """GET /auth/oidc/callback."""
        if self._oidc is None:
            return pages.problem("there is no identity provider here", status=404)
        found = await self._oidc.finish(visit.query, visit.binding)
        if isinstance(found, Refused):
            return _refused(found)
        user = await self.onboarded(found.identity, visit)
        if isinstance(user, Refused):
            return _refused(user)
        if user.second_factor:
            return await self._ask_code(user.id, user.name, found.go_on)
        entered = await self._entered(visit, user.id, user.name, found.go_on)
        return Response(entered.status, [*entered.headers, visit.binding_cookie("")])

    async def onboarded(self, identity: Identity, visit: Visit) -> User | Refused:
        """The user whom the provider vouches for."""
        by = visit.actor(identity.name)
        found = await self._db.write(lambda conn: onboard(conn, identity, by))
        if isinstance(found, User):
            meters.LOGINS.add("provider", "ok")
        return found

    async def logout(self, visit: Visit) -> Response:
        """POST /logout."""
        await self.sessions.end(visit.session_token)
        return go("/login", visit.session_cookie(""))

    @property
    def _sso(self) -> str:
        return self._oidc.options.title if self._oidc else ""

    async def _ask_code(self, user: int, name: str, go_on: str) -> Response:
        kept = {"user": user, "name": name, "go_on": go_on, "tries": 0}
        return pages.code(await self._flows.begin(_STEP, kept, minutes=5))

    async def _user(self, key: int) -> User | None:
        found = await self._db.read(lambda conn: users.user_by_id(conn, key))
        return None if found is None or found.disabled else found

    async def _entered(self, visit: Visit, user: int, name: str, go_on: str) -> Response:
        if visit.session_token:
            await self.sessions.end(visit.session_token)
        token = await self.sessions.begin(user)
        entry = Entry(action="user.login", resource=name)
        await self._db.write(lambda conn: record(conn, visit.actor(name), entry))
        return go(go_on, visit.session_cookie(token))

    def _again(self, go_on: str, name: str, refused: Refused) -> Response:
        said = pages.said(refused.reason, refused.remedy)
        answer = pages.login(go_on, self._sso, name=name, problem=said)
        if not isinstance(refused, Slowed):
            return answer
        return Response(429, [*answer.headers, retry_after(refused.seconds)], answer.body)


def _refused(why: Refused) -> Response:
    """The provider's word was not enough."""
    meters.LOGINS.add("provider", "refused")
    return pages.problem(why.reason, why.remedy)


def unavailable(error: ArgosyError) -> Response:
    """A page for what is out of order."""
    remedy = error.remedy if isinstance(error, BackendUnavailable) else "try again in a moment"
    return pages.problem(error.summary, remedy, status=503)
