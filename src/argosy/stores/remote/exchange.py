"""One registry endpoint: requests to it are authorised, redirected, and tried again."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from urllib.parse import urljoin, urlsplit

from argosy.errors import ArgosyError, NetworkError, RegistryError, TLSError
from argosy.observe import Event, Report
from argosy.settings import Settings
from argosy.stores.remote.errors import refusal
from argosy.stores.remote.failures import check_url
from argosy.stores.remote.grants import Grants
from argosy.stores.remote.hosts import Endpoint
from argosy.stores.remote.retry import RETRIED, wait
from argosy.stores.remote.transport import Answer, Request, Transport

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5


class Exchange:
    """The way to one endpoint. Credentials never leave its origin (scheme, host and port)."""

    def __init__(
        self,
        transport: Transport,
        endpoint: Endpoint,
        grants: Grants,
        settings: Settings,
        report: Report,
    ) -> None:
        self.endpoint = endpoint
        self.settings = settings
        self._transport = transport
        self._grants = grants
        self._report = report
        self._answered = False
        self._base = endpoint.url if endpoint.tls != "auto" else ""
        self._probing = asyncio.Lock()

    async def url(self, path: str) -> str:
        """The URL of a path below `/v2/`; finds out the scheme when that is open."""
        if not self._base:
            async with self._probing:
                self._base = self._base or await self._probed()
        return f"{self._base}/{path}"

    async def ask(
        self, request: Request, what: str, scopes: Sequence[str], expect: Collection[int] = (200,)
    ) -> Answer:
        """The answer if its status is one of `expect`; else the typed error, which says `what` failed.

        Tried again on what may pass (408, 429, 5xx, broken connections), except for
        a stream, which only its owner can begin anew.
        """
        answer = await self.send(request, scopes)
        if answer.status in expect:
            return answer
        raise await refusal(answer, self._grants.asked(what, scopes))

    async def send(self, request: Request, scopes: Sequence[str]) -> Answer:
        """The answer, whatever its status, after the retries it is worth."""
        if request.stream is not None or request.once:
            return await self._authorized(request, scopes)
        attempt = 0
        while True:
            try:
                answer = await self._authorized(request, scopes)
            except NetworkError as e:
                seconds = wait(attempt, None, self.settings) if self.may_pass(e) else None
                if seconds is None:
                    raise
                why = e.summary
            else:
                seconds = None
                if answer.status in RETRIED:
                    seconds = wait(attempt, answer.headers.get("retry-after"), self.settings)
                if seconds is None:
                    return answer
                await answer.read()
                why = f"status {answer.status}"
            await self.pause(seconds, request.url, why)
            attempt += 1

    def may_pass(self, error: ArgosyError) -> bool:
        """Whether an error of the network may go away by itself.

        A host that never answered is more likely misspelt than restarting: no retries.
        """
        if isinstance(error, TLSError) or not isinstance(error, NetworkError):
            return False
        phase = error.evidence.get("phase")
        return phase == "transfer" or (self._answered and phase != "refused")

    async def pause(self, seconds: float, key: str, why: str) -> None:
        """Wait before a retry, and say so."""
        self._report(Event("retry", key, text=f"{why}; again in {seconds:.1f} s"))
        await asyncio.sleep(seconds)

    def location(self, answer: Answer, fallback: str) -> str:
        """The absolute URL of an answer's Location, checked; `fallback` if it has none."""
        given = answer.headers.get("location")
        url = urljoin(answer.url, given) if given else fallback
        check_url(url)
        base = urlsplit(self._base)
        if base.scheme == "https" and urlsplit(url).scheme == "http":
            raise NetworkError(
                f"{base.netloc} sends uploads to {url!r}, without TLS",
                why="a proxy in front of the registry hides that it is reached by TLS",
                remedy="let the proxy send X-Forwarded-Proto, or set the registry's external URL",
                evidence={"phase": "refused"},
            )
        return url

    async def _authorized(self, request: Request, scopes: Sequence[str]) -> Answer:
        ours = self._is_ours(request.url)
        grant = await self._grants.current(scopes) if ours else None
        answer = await self._followed(request, grant.header if grant else "")
        # A 403 may stand for a token that has expired. What is sent once may be gone with it: its
        # sender decides.
        stale = answer.status == 403 and grant is not None and not request.once
        refused = answer.status == 401 or stale
        if not refused or not self._is_ours(answer.url) or request.stream is not None:
            return answer
        await answer.read()
        fresh = await self._grants.renew(answer, scopes, grant)
        if fresh is None or fresh is grant:
            return answer
        return await self._followed(request, fresh.header)

    async def _followed(self, request: Request, authorization: str) -> Answer:
        for _ in range(_MAX_REDIRECTS + 1):
            headers = dict(request.headers)
            if self._is_ours(request.url):
                headers |= self.endpoint.headers
                if authorization:
                    headers["Authorization"] = authorization
            answer = await self._transport.send(replace(request, headers=headers))
            self._answered = True
            if answer.status not in _REDIRECTS or request.stream is not None:
                return answer
            target = answer.headers.get("location")
            if not target or (request.method not in ("GET", "HEAD") and answer.status < 307):
                return answer
            await answer.read()
            url = urljoin(request.url, target)
            check_url(url)
            request = replace(request, url=url)
        raise RegistryError(
            f"{self.endpoint.host} redirects without end",
            why=f"more than {_MAX_REDIRECTS} redirects",
            remedy="check the registry's and its proxy's external URL",
        )

    def _is_ours(self, url: str) -> bool:
        parts, base = urlsplit(url), urlsplit(self._base)
        return (parts.scheme, parts.netloc) == (base.scheme, base.netloc)

    async def _probed(self) -> str:
        """`http` or `https`, whichever this host answers to; the endpoint's guess first."""
        first = self.endpoint.url
        rest = first.partition("://")[2]
        second = f"https://{rest}" if first.startswith("http:") else f"http://{rest}"
        trouble: NetworkError | None = None
        try:
            # Servers that speak TLS tell a plain request so with 400, or hang up.
            if await self._status(first) != 400:
                return first
        except NetworkError as e:
            trouble = e
        try:
            await self._status(second)
        except NetworkError as e:
            raise (e if trouble is None or isinstance(e, TLSError) else trouble) from e
        return second

    async def _status(self, base: str) -> int:
        answer = await self._transport.send(Request(method="GET", url=f"{base}/"))
        await answer.read()
        self._answered = True
        return answer.status
