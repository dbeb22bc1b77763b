"""Tokens at work: asks for credentials when challenged, fetches tokens, keeps them while they last."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from argosy.errors import NetworkError, RegistryError, TLSError, Unauthorized
from argosy.settings import Settings
from argosy.stores.remote.auth import (
    Challenge,
    Credential,
    Grant,
    TokenReply,
    TokenRequest,
    authenticate,
    parse_challenges,
)
from argosy.stores.remote.credentials import Credentials
from argosy.stores.remote.errors import Asked
from argosy.stores.remote.retry import RETRIED
from argosy.stores.remote.transport import Answer, Request, Transport

_MAX_TOKEN = 1 << 20  # bytes of a token server's answer
_LONGEST_WAIT = 2.0  # seconds between two asks for a token (C7)


class Grants:
    """What one registry has granted us so far. One fetch at a time; the others wait and share it."""

    def __init__(
        self, transport: Transport, credentials: Credentials, settings: Settings, registry: str
    ) -> None:
        self._transport = transport
        self._credentials = credentials
        self._settings = settings
        self._registry = registry
        self._grants: list[Grant] = []
        self._challenges: Sequence[Challenge] = ()
        self._secure = True
        self._source = ""
        self._looked = False
        self._turn = asyncio.Lock()

    async def current(self, scopes: Sequence[str]) -> Grant | None:
        """A grant for these scopes, fetched anew if the registry is known to want one; None before."""
        if (found := self._kept(scopes)) is not None:
            return found
        if not self._challenges:
            return None
        return await self._renewed(scopes, None)

    async def renew(
        self, answer: Answer, scopes: Sequence[str], refused: Grant | None
    ) -> Grant | None:
        """A fresh grant after a refusal; None if there is nothing new to show. Unauthorized if refused."""
        challenges = parse_challenges(answer.headers.get("www-authenticate", ""))
        if challenges:
            self._challenges = challenges
            self._secure = urlsplit(answer.url).scheme == "https"
        if not self._challenges or (refused is not None and refused.expires is None):
            return None  # Basic, or a fixed token: asking again would not change it
        return await self._renewed(scopes, refused)

    def asked(self, what: str, scopes: Sequence[str]) -> Asked:
        """The words for an error message."""
        places = self._credentials.files if self._looked else ()
        return Asked(what=what, scopes=tuple(scopes), credential=self._source, looked_in=places)

    def _kept(self, scopes: Iterable[str], refused: Grant | None = None) -> Grant | None:
        now = time.monotonic()
        self._grants = [g for g in self._grants if g.expires is None or g.expires > now]
        wanted = list(scopes)
        return next((g for g in self._grants if g is not refused and g.covers(wanted)), None)

    async def _renewed(self, scopes: Sequence[str], refused: Grant | None) -> Grant | None:
        async with self._turn:
            if (found := self._kept(scopes, refused)) is not None:
                return found  # somebody else fetched it while we waited
            self._grants = [g for g in self._grants if g is not refused]
            credential = await self._credential(scopes)
            if credential is None and not any(c.scheme == "bearer" for c in self._challenges):
                return None
            grant = await self._fetch(scopes, credential, refused)
            self._grants.insert(0, grant)
            return grant

    async def _credential(self, scopes: Sequence[str]) -> Credential | None:
        name = next((s.split(":")[1] for s in scopes if s.startswith("repository:")), "")
        found = await self._credentials.find(self._registry, name)
        self._looked, self._source = True, found.source if found else ""
        return found

    async def _fetch(
        self, scopes: Sequence[str], credential: Credential | None, refused: Grant | None
    ) -> Grant:
        refresh = refused.refresh_token if refused else ""
        flow = authenticate(
            self._challenges, scopes, credential, refresh_token=refresh, secure=self._secure
        )
        try:
            request = next(flow)
            while True:
                request = flow.send(await self._reply(request))
        except StopIteration as done:
            grant: Grant = done.value
            return grant
        except Unauthorized as e:
            raise self._unauthorized(e, scopes) from e

    def _remedy(self, said: str) -> str:
        """What to do; a registry that asks for a token as password has a page that makes one."""
        web = "--web " if "make a personal access token" in said else ""
        return f"argosy login {web}{self._registry}"

    def _unauthorized(self, e: Unauthorized, scopes: Sequence[str]) -> Unauthorized:
        asked = self.asked("", scopes)
        places = ", ".join(asked.looked_in)
        found = (
            f"credentials from {asked.credential}"
            if asked.credential
            else f"no credentials found in {places}"
        )
        doubled = e.summary.startswith(f"{self._registry} ")
        return Unauthorized(
            e.summary if doubled else f"{self._registry}: {e.summary}",
            status=e.status,
            registry_code=e.registry_code,
            why="; ".join(w for w in (e.why, found) if w),
            remedy=e.remedy or self._remedy(e.why),
            evidence={**e.evidence, "scopes": list(scopes)},
        )

    async def _reply(self, request: TokenRequest) -> TokenReply:
        seconds = self._settings.auth_retry_wait
        for left in range(self._settings.auth_retries - 1, -1, -1):
            try:
                return await self._reply_once(request, last=not left)
            except TLSError:
                raise
            except (NetworkError, RegistryError):
                if not left:
                    raise
            await asyncio.sleep(seconds)
            seconds = min(seconds * 2, _LONGEST_WAIT)
        raise AssertionError("a token is asked for at least once")

    async def _reply_once(self, request: TokenRequest, *, last: bool) -> TokenReply:
        answer = await self._transport.send(
            Request(
                method=request.method, url=request.url, headers=request.headers, body=request.body
            )
        )
        body = await answer.read(_MAX_TOKEN)
        if answer.status in RETRIED and not last:
            raise _Again("the token server failed")
        return TokenReply(status=answer.status, body=body, now=time.monotonic())


class _Again(RegistryError):
    """The token server may answer a later try."""
