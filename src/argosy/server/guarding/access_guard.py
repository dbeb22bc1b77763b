"""The guard of a registry with access control: Bearer tokens, Basic, or no name at all.

What was looked at once is a matter of looking up: a token by its text, a name and password
by their keyed hash, what somebody may by who they are. Only what memory lacks costs a
thread or a query.
"""

import base64
import binascii
import time
from collections import OrderedDict
from typing import Final

from argosy.access.permissions.decision import Allow, Decision, Deny
from argosy.access.permissions.permission import (
    ANYONE,
    OF_EVERYBODY,
    Action,
    Permission,
    Resource,
    least_role,
)
from argosy.access.permissions.principal import ANONYMOUS, Principal
from argosy.access.permissions.standing import shown
from argosy.access.permissions.visible import Visible, visible
from argosy.access.secrets import as_name
from argosy.access.service import Access
from argosy.access.signing_in.refused import Refused, Slowed
from argosy.access.tokens import access_tokens
from argosy.access.tokens.access_tokens import AccessToken, Unfit
from argosy.errors import StorageError
from argosy.server.guarding import challenges
from argosy.server.guarding.verdicts import Verdicts
from argosy.server.guarding.who import address
from argosy.server.http.messages import Request, Response
from argosy.server.observing.addresses import Front

_TOKENS: Final = 20_000
_FOR_ALL: Final = Allow(ANONYMOUS)
_LONG: Final = float("inf")
_LONGEST_HEADER: Final = access_tokens.LONGEST + 64


class AccessGuard:
    """Decides by what the catalog says of people."""

    def __init__(self, access: Access, front: Front) -> None:
        self.access: Final = access
        self._front = front
        self._authority = access.authority
        self._anonymous: Final = access.options.anonymous
        self._verdicts: Final = Verdicts(self._authority)
        self._tokens: OrderedDict[str, AccessToken] = OrderedDict()

    def at_once(self, request: Request, need: Permission) -> Decision | None:
        """The decision if memory has it, and it is a yes."""
        header = request.headers.get("authorization")
        if header is None:
            found = _FOR_ALL if self._open_at_once(need) else None
        else:
            found = self._verdicts.get(header, need) or self._concluded(header, need)
        if found is not None:
            request.principal = found.principal
        return found

    def _concluded(self, header: str, need: Permission) -> Allow | None:
        """A yes from who they are and what they may, if memory has both; kept for the next time."""
        principal, until = self._remembered(header), _LONG
        if (token := self._tokens.get(header)) is not None and self._given(token, need):
            # A token says whose it is; who that is, and what else is true of them, the catalog does.
            standing = self._authority.known(token.principal)
            principal, until = standing.principal if standing else None, token.expires
        if principal is None or not self._authority.at_once(principal, need):
            return None
        self._verdicts.keep(header, principal, need, until)
        return Allow(principal)

    async def decide(self, request: Request, need: Permission) -> Decision:
        """The decision."""
        found = await self._decided(request, need)
        request.principal = found.principal
        if isinstance(found, Deny):
            request.denial = found.reason
        return found

    async def may(self, request: Request, need: Permission) -> bool:
        """Whether they may, in passing."""
        return isinstance(await self._decided(request, need), Allow)

    async def visible(self, request: Request) -> Visible:
        """Which repositories may be listed for who asks; for who cannot be told: public ones."""
        shown_as = await self._whose(request)
        principal = ANONYMOUS if isinstance(shown_as, Deny) else _principal(shown_as)
        standing = await self._authority.standing(principal)
        public = self._anonymous or principal is not ANONYMOUS
        return visible(standing, public=public)

    async def login(self, request: Request) -> Principal | Deny:
        """Who it is by what only they have: an access token is not that, or it would last forever."""
        found = await self._whose(request)
        return _invalid("a token gives no tokens") if isinstance(found, AccessToken) else found

    def refusal(self, request: Request, decision: Decision) -> Response:
        """401 with a challenge, 403, or 429, in the registry's format."""
        assert isinstance(decision, Deny)
        where = self._front.url(request) + challenges.TOKEN_PATH
        service = self.access.options.tokens.audience
        return challenges.refusal(decision, challenges.Realm(where, service), request)

    # Who it is.

    async def _whose(self, request: Request) -> Principal | AccessToken | Deny:
        header = request.headers.get("authorization")
        if header is None:
            return ANONYMOUS
        scheme, _, rest = header[:_LONGEST_HEADER].partition(" ")
        if scheme.lower() == "basic" and (pair := basic(rest)) is not None:
            return await self.shown(request, *pair)
        if scheme.lower() == "bearer":
            text = rest.strip()
            if text.startswith("arg_"):  # a secret of ours, as other APIs take them
                return self._or_denied(await self.access.logins.by_secret(text))
            return await self._by_token(header[:_LONGEST_HEADER], text)
        return _invalid("the Authorization header cannot be read")

    async def _by_token(self, header: str, text: str) -> AccessToken | Deny:
        if (held := self._tokens.get(header)) is not None and held.expires > time.time():
            return held
        keys, options = self.access.keys, self.access.options.tokens
        found = access_tokens.verify(keys, options, text)
        kid = found.unknown_key if isinstance(found, Unfit) else ""
        if kid and await keys.look_for(kid) is not None:  # made by another node, just now
            found = access_tokens.verify(keys, options, text)
        if isinstance(found, Unfit):
            return _invalid(f"the token is not good: {found.reason}")
        self._tokens[header] = found
        if len(self._tokens) > _TOKENS:
            self._tokens.popitem(last=False)
        return found

    async def shown(self, request: Request, name: str, password: str) -> Principal | Deny:
        """Who has that name and password, wherever in the request they stood."""
        request.tried = as_name(name)
        return self._or_denied(await self.access.logins.basic(name, password, address(request)))

    def _or_denied(self, found: Principal | Refused) -> Principal | Deny:
        if isinstance(found, Principal):
            return found
        wait = found.seconds if isinstance(found, Slowed) else 0.0
        return _invalid(found.reason, found.remedy, wait)

    def _remembered(self, header: str) -> Principal | None:
        if header[:6].lower() != "basic " or (pair := basic(header[6:])) is None:
            return None
        return self.access.logins.remembered(*pair)

    # What they may.

    async def _decided(self, request: Request, need: Permission) -> Decision:
        whose = await self._whose(request)
        if isinstance(whose, Deny):
            return Deny(
                principal=ANONYMOUS,
                missing=need,
                reason=whose.reason,
                remedy=whose.remedy,
                invalid=True,
                wait=whose.wait,
            )
        if isinstance(whose, AccessToken):
            return await self._by_grant(whose, need)
        if whose is ANONYMOUS:
            return await self._for_anybody(need)
        if await self._authority.may(whose, need):
            return Allow(whose)
        return await self._lacking(whose, need)

    async def _for_anybody(self, need: Permission) -> Decision:
        if self._anonymous and _is_open(need) and await self._authority.is_public(need.project):
            return Allow(ANONYMOUS)
        reason = f"authentication is needed: {shown(need)}"
        return Deny(principal=ANONYMOUS, missing=need, reason=reason)

    async def _by_grant(self, token: AccessToken, need: Permission) -> Decision:
        """What a token was given for, as far as they may it still."""
        whose, given = token.principal, self._given(token, need)
        try:
            if whose is ANONYMOUS and need.resource is not Resource.REGISTRY:
                allowed = isinstance(await self._for_anybody(need), Allow)
            else:
                allowed = await self._authority.may(whose, need)
            if allowed and given:
                return Allow((await self._authority.standing(whose)).principal)
        except StorageError:
            if given:  # the database is away: for its few minutes the token speaks for itself
                return Allow(whose)
            raise
        if allowed or whose is ANONYMOUS:
            reason = f"the token was not given for that: {shown(need)}"
            known = whose is not ANONYMOUS
            return Deny(principal=whose, missing=need, reason=reason, known=known, invalid=known)
        return await self._lacking(whose, need)

    def _given(self, token: AccessToken, need: Permission) -> bool:
        if token.expires <= time.time():
            return False
        if need.resource is Resource.REPOSITORY:
            return token.allows("repository", need.name, need.action)
        if need.resource is Resource.REGISTRY:
            listed = need.action is Action.LIST and token.allows("registry", "catalog", "*")
            return need.action is Action.READ or listed
        return False

    async def _lacking(self, whose: Principal, need: Permission) -> Deny:
        standing = await self._authority.standing(whose)
        if standing.gone:
            return Deny(principal=whose, missing=need, reason=standing.gone, invalid=True)
        reason = f"{whose.name} lacks {shown(need)}"
        role = least_role(need)
        remedy = (
            f"ask an admin of the project for the role {role} or a higher one"
            if role
            else "ask a system admin"
        )
        if standing.maker is not None and not standing.maker.may(need):
            behind = "owner" if whose.kind == "token" else "maker"
            reason += f", and so does its {behind} {standing.maker.principal.name}"
        elif standing.limit is not None:
            remedy = "it was not granted that: give it the grant, or use another"
        return Deny(principal=whose, missing=need, reason=reason, remedy=remedy, known=True)

    def _open_at_once(self, need: Permission) -> bool:
        if not self._anonymous or not _is_open(need):
            return False
        return self._authority.known_public(need.project) is True


def basic(encoded: str) -> tuple[str, str] | None:
    """Name and password of Basic authentication (RFC 7617); None if it cannot be read."""
    try:
        plain = base64.b64decode(encoded.strip(), validate=True).decode()
    except (ValueError, binascii.Error):
        return None
    name, colon, password = plain.partition(":")
    return (name, password) if colon else None


def _principal(found: Principal | AccessToken) -> Principal:
    return found.principal if isinstance(found, AccessToken) else found


def _is_open(need: Permission) -> bool:
    return (need.resource, need.action) in OF_EVERYBODY


def _invalid(reason: str, remedy: str = "", wait: float = 0.0) -> Deny:
    return Deny(
        principal=ANONYMOUS, missing=ANYONE, reason=reason, remedy=remedy, invalid=True, wait=wait
    )
