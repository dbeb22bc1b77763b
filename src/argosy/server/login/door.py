"""Which page a path is; and that forms come from our own pages."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit

from argosy.access.identity.flows import Flows
from argosy.access.service import Access
from argosy.access.signing_in.backends import BackendUnavailable
from argosy.access.signing_in.sessions import Session
from argosy.access.signing_in.throttle import network
from argosy.catalog.database import Database
from argosy.errors import ConfigError, NotFound, StorageError
from argosy.server.http.messages import BodyTooLarge, Request, Response
from argosy.server.login import pages
from argosy.server.login.account import Account
from argosy.server.login.device import PAGE as DEVICE
from argosy.server.login.device import Device
from argosy.server.login.entering import Entering, unavailable
from argosy.server.login.html import go
from argosy.server.login.visit import Visit
from argosy.server.observing.addresses import Front

if TYPE_CHECKING:  # slow to import, and only where there is a provider
    from argosy.access.identity.oidc.login import Oidc

log = logging.getLogger("argosy.server")

_ADDRESSES: Final = 10_000
_BEGINNINGS: Final = frozenset({("POST", DEVICE), ("GET", "/auth/oidc/login")})

Open = Callable[[Visit], Coroutine[Any, Any, Response]]
Closed = Callable[[Visit, Session], Coroutine[Any, Any, Response]]


class Beginnings:
    """How often an address may begin something that is kept: each is a row for ten minutes.

    Nobody is known yet, so this is by address, and of this node alone.
    """

    def __init__(self, *, most: int = 30, window: float = 60.0) -> None:
        self._most, self._window = most, window
        self._seen: OrderedDict[str, list[float]] = OrderedDict()

    def wait(self, address: str, now: float) -> float:
        """Seconds until the next one is taken; 0: this one is."""
        place = network(address)
        recent = [at for at in self._seen.pop(place, ()) if at > now - self._window]
        if len(recent) < self._most:
            recent.append(now)
            found = 0.0
        else:
            found = recent[0] + self._window - now
        self._seen[place] = recent
        while len(self._seen) > _ADDRESSES:
            self._seen.popitem(last=False)
        return found


class Door:
    """The handler of /login, /logout, /account and /auth/."""

    PATHS: Final = ("/login", "/logout", "/account", "/auth/")

    def __init__(
        self, access: Access, database: Database, front: Front, oidc: "Oidc | None" = None
    ) -> None:
        self._front = front
        flows = Flows(database, access.sealer)
        host = urlsplit(front.public_url).netloc
        label = f"Argosy {host}" if host else "Argosy"
        self._entering = entering = Entering(access, database, flows, oidc, label=label)
        self._sessions = entering.sessions
        account = Account(access, database, entering.factor)
        device = Device(access, database, flows, entering, oidc)
        self._open: dict[tuple[str, str], Open] = {
            ("GET", "/login"): entering.page,
            ("POST", "/login"): entering.password,
            ("POST", "/login/code"): entering.code,
            ("POST", "/login/password"): entering.change_password,
            ("GET", "/auth/oidc/login"): entering.to_provider,
            ("GET", "/auth/oidc/callback"): entering.from_provider,
            ("POST", DEVICE): device.begin,
            ("POST", f"{DEVICE}/token"): device.token,
        }
        self._closed: dict[tuple[str, str], Closed] = {
            ("POST", "/logout"): self._logout,
            ("GET", "/account"): account.page,
            ("POST", "/account/tokens"): account.make_token,
            ("POST", "/account/tokens/revoke"): account.revoke_token,
            ("POST", "/account/second-factor/begin"): account.begin_factor,
            ("POST", "/account/second-factor/confirm"): account.confirm_factor,
            ("POST", "/account/second-factor/codes"): account.renew_codes,
            ("POST", "/account/second-factor/off"): account.drop_factor,
            ("GET", DEVICE): device.page,
            ("POST", f"{DEVICE}/page"): device.decide,
        }
        self._beginnings = Beginnings()
        self._paths = {path for _, path in (*self._open, *self._closed)}

    def is_for(self, path: str) -> bool:
        """Whether a path is one of ours."""
        return path.startswith(self.PATHS) and path in self._paths

    async def __call__(self, request: Request) -> Response:
        """The page, or what is wrong."""
        request.route = f"login {request.path}" if request.path in self._paths else "login"
        visit = Visit(request, self._front)
        try:
            return await self._answer(visit)
        except BodyTooLarge:
            return pages.problem("the form is too large", status=413)
        except NotFound as e:
            return pages.problem(e.summary, status=404)
        except (BackendUnavailable, StorageError, ConfigError) as e:
            log.warning("%s: %s: %s", request.path, e.summary, e.why)
            return unavailable(e)

    async def _answer(self, visit: Visit) -> Response:
        method, path = visit.request.method, visit.request.path
        key = ("GET" if method == "HEAD" else method, path)
        if key not in self._open and key not in self._closed:
            return self._nowhere(path)
        if (refusal := await self._not_taken(visit, key)) is not None:
            return refusal
        visit.session = await self._sessions.of(visit.session_token)
        if key in self._open:
            return await self._open[key](visit)
        if visit.session is None:
            return self._enter_first(visit)
        if method == "POST" and not visit.has_key(visit.session):
            return pages.problem("that form is too old", "go back, load the page anew")
        return await self._closed[key](visit, visit.session)

    async def _not_taken(self, visit: Visit, key: tuple[str, str]) -> Response | None:
        """The answer to what comes too often or from another site; else the form is read."""
        if key in _BEGINNINGS:
            wait = self._beginnings.wait(visit.address, time.monotonic())
            if wait > 0:
                return pages.too_often(wait)
        if visit.request.method == "POST":
            if visit.is_of_another_site():
                return pages.problem("that form is of another site", "begin here")
            await visit.read_form()
        return None

    def _nowhere(self, path: str) -> Response:
        if path not in self._paths:
            return pages.problem("there is no such page", status=404)
        allowed = sorted({m for m, p in (*self._open, *self._closed) if p == path})
        answer = pages.problem(f"this page takes {' and '.join(allowed)}", status=405)
        return Response(405, [*answer.headers, ("Allow", ", ".join(allowed))], answer.body)

    def _enter_first(self, visit: Visit) -> Response:
        wanted = "/account"
        if visit.request.method != "POST":
            query = visit.request.target.partition("?")[2]
            wanted = visit.request.path + (f"?{query}" if query else "")
        return go("/login?" + urlencode({"next": wanted}))

    async def _logout(self, visit: Visit, session: Session) -> Response:
        del session
        return await self._entering.logout(visit)
