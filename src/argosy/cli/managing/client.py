"""A thin client of a registry's management API: paths and JSON in, values out, errors as typed ones.

It goes the same way as the registry client: the same connections, TLS flags, retries, and the
credentials that `argosy login` (or docker) keeps.
"""

import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from argosy.errors import (
    ArgosyError,
    Denied,
    NotFound,
    RateLimited,
    RegistryError,
    RegistryUnavailable,
    Unauthorized,
    UsageError,
)
from argosy.stores.remote.exchange import Exchange
from argosy.stores.remote.transport import Answer, Request
from argosy.values import frozen

_LONGEST: Final = 64 << 20  # bytes of an answer
_PAGE: Final = 500
_TRIES: Final = 5  # of a change that others get ahead of

Json = dict[str, Any]


@frozen
class Held:
    """A value of the API, and the ETag of the state it tells."""

    value: Json
    etag: str


class ManageClient:
    """The management API of one registry."""

    def __init__(self, host: str, exchange: Exchange) -> None:
        self.host = host
        self._exchange = exchange

    async def get(self, path: str, query: Mapping[str, Any] | None = None) -> Json:
        """One value."""
        return (await self.held(path, query)).value

    async def held(self, path: str, query: Mapping[str, Any] | None = None) -> Held:
        """One value, with its ETag."""
        answer = await self._ask("GET", path + _query(query))
        value: Json = json.loads(await answer.read(_LONGEST))
        return Held(value, answer.headers.get("etag", ""))

    async def every(
        self, path: str, query: Mapping[str, Any] | None = None, most: int = 0
    ) -> AsyncIterator[Json]:
        """The items of a list, page after page; at most `most`, if it is not 0."""
        asked = {"limit": min(most or _PAGE, _PAGE), **(query or {})}
        left = most or -1
        while True:
            page = await self.get(path, asked)
            for item in page["items"]:
                yield item
                left -= 1
                if not left:
                    return
            if not page.get("next"):
                return
            asked["after"] = page["next"]

    async def post(self, path: str, body: Json | None = None) -> Json:
        """What a POST makes or does; sent again after a broken connection, it counts once."""
        answer = await self._ask("POST", path, body, {"Idempotency-Key": str(uuid.uuid4())})
        return _value(await answer.read(_LONGEST))

    async def change(self, path: str, body: Json) -> Json:
        """Change what is there. Nobody else's change is lost: it is read before, and again if need be."""
        for left in range(_TRIES - 1, -1, -1):
            held = await self.held(path)
            try:
                answer = await self._ask("PATCH", path, body, {"If-Match": held.etag or "*"})
            except RegistryError as e:
                if e.status != 412 or not left:
                    raise
            else:
                return _value(await answer.read(_LONGEST))
        raise AssertionError("a change is tried at least once")

    async def delete(self, path: str, query: Mapping[str, Any] | None = None) -> None:
        """Remove what is there."""
        answer = await self._ask("DELETE", path + _query(query))
        await answer.read()

    async def pieces(self, path: str, query: Mapping[str, Any]) -> AsyncIterator[bytes]:
        """The bytes of a long answer, as they come."""
        async with await self._ask("GET", path + _query(query)) as answer:
            async for piece in answer.pieces():
                yield piece

    async def _ask(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        root = (await self._exchange.url("")).removesuffix("/v2/")
        raw = None if body is None else json.dumps(body).encode()
        sent = dict(headers or {}) | ({} if raw is None else {"Content-Type": "application/json"})
        request = Request(
            method=method,
            url=f"{root}/api/v1{path}",
            headers=sent,
            body=raw,
            once=method == "PATCH",
        )
        answer = await self._exchange.send(request, ())
        if answer.status >= 300:
            raise _refusal(self.host, answer.status, await answer.read())
        return answer


def path(*parts: str | int) -> str:
    """A path of the API; each part is one segment, whatever is in it."""
    return "".join(f"/{quote(str(part), safe='')}" for part in parts)


def _query(query: Mapping[str, Any] | None) -> str:
    given: Sequence[tuple[str, Any]] = [
        (key, str(value).lower() if isinstance(value, bool) else value)
        for key, value in (query or {}).items()
        if value not in (None, "")
    ]
    return f"?{urlencode(given)}" if given else ""


def _value(raw: bytes) -> Json:
    return json.loads(raw) if raw else {}


def _refusal(host: str, status: int, raw: bytes) -> ArgosyError:
    """A problem (RFC 9457) as the error that it is for the command line."""
    try:
        found = json.loads(raw)
    except ValueError:
        found = {}
    if not isinstance(found, dict) or "code" not in found:
        return _stranger(host, status)
    detail, remedy = str(found.get("detail", "")), str(found.get("remedy", ""))
    code = str(found["code"])
    evidence = {"request": found.get("request", ""), "code": code, "status": status}
    if status == 404:
        return NotFound(detail, remedy=remedy, evidence=evidence)
    if status in (400, 422):
        return UsageError(detail, remedy=remedy, evidence=evidence)
    kind = _KINDS.get(status, RegistryUnavailable if status >= 500 else RegistryError)
    if status == 401:
        web = "--web " if "second factor" in detail else ""
        remedy = f"argosy login {web}{host}"
    return kind(
        detail or f"{host}: {found.get('title', status)}",
        status=status,
        registry_code=code,
        remedy=remedy,
        evidence=evidence,
    )


_KINDS: Final[Mapping[int, type[RegistryError]]] = {
    401: Unauthorized,
    403: Denied,
    429: RateLimited,
}


def _stranger(host: str, status: int) -> ArgosyError:
    if status in (401, 403):
        return Unauthorized(
            f"{host} refuses access to its management API",
            status=status,
            remedy=f"argosy login {host}",
        )
    return RegistryError(
        f"{host} has no management API of Argosy's",
        status=status,
        why=f"it answered with status {status}",
        remedy="these verbs speak to `argosy serve`; say which one with --registry",
    )
