"""Files of the web: GET with redirects and retries, over the registries' connections.

A build's ADD and its remote contexts come this way. No registry's credentials go
along; an Authorization header is for the origin it was given for.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urljoin, urlsplit

from argosy.errors import NetworkError, TLSError
from argosy.observe import Event, Report
from argosy.settings import Settings
from argosy.stores.remote.failures import bare, check_url
from argosy.stores.remote.retry import RETRIED, wait
from argosy.stores.remote.transport import Answer, Request, Transport

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 10


class Web:
    """Fetches URLs; a value to be called (the build's `Fetch`)."""

    def __init__(self, transport: Transport, settings: Settings, report: Report) -> None:
        self._transport = transport
        self._settings = settings
        self._report = report

    @asynccontextmanager
    async def __call__(self, url: str, headers: Mapping[str, str], /) -> AsyncIterator[Answer]:
        """The answer to a GET, whatever its status, its body unread. NetworkError if there is none."""
        answer = await self._tried(url, headers)
        try:
            yield answer
        finally:
            await answer.close()

    async def _tried(self, url: str, headers: Mapping[str, str]) -> Answer:
        attempt = 0
        while True:
            try:
                answer = await self._followed(url, headers)
            except NetworkError as e:
                seconds = wait(attempt, None, self._settings) if _may_pass(e) else None
                if seconds is None:
                    raise
                why = e.summary
            else:
                seconds = None
                if answer.status in RETRIED:
                    seconds = wait(attempt, answer.headers.get("retry-after"), self._settings)
                if seconds is None:
                    return answer
                await answer.close()
                why = f"status {answer.status}"
            self._report(Event("retry", bare(url), text=f"{why}; again in {seconds:.1f} s"))
            await asyncio.sleep(seconds)
            attempt += 1

    async def _followed(self, url: str, headers: Mapping[str, str]) -> Answer:
        start = url
        for _ in range(_MAX_REDIRECTS + 1):
            check_url(url)
            if _origin(url) != _origin(start):
                headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
            answer = await self._transport.send(Request(method="GET", url=url, headers=headers))
            target = answer.headers.get("location")
            if answer.status not in _REDIRECTS or not target:
                return answer
            await answer.close()
            url = urljoin(url, target)
        raise NetworkError(
            f"{urlsplit(start).hostname} redirects without end",
            why=f"more than {_MAX_REDIRECTS} redirects",
            evidence={"url": bare(start), "phase": "refused"},
        )


def _may_pass(error: NetworkError) -> bool:
    return not isinstance(error, TLSError) and error.evidence.get("phase") == "transfer"


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.netloc.lower()
