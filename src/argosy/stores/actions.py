"""GitHub's cache service for actions as a Store: one part (`scope`) of what a job may reach.

Two protocols: v2, Twirp calls with uploads to Azure's blob storage by signed URLs, and
v1, REST with chunks. An entry is written once under its key; blobs have their digest as
key. A tag is a row of entries `…#1`, `…#2`, of which the newest counts: who is given the
next number has moved the tag, so moving is compare-and-set.

Sources: actions/toolkit packages/cache (cache.proto, cacheHttpClient), Azure's
Put Block and Put Block List; GitHub's REST v1 as artifactcache answers it.
"""

import asyncio
import base64
import hashlib
import json
import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from argosy.content.store import Body, Source, Swapped
from argosy.content.verify import verified
from argosy.errors import (
    ArgosyError,
    ConfigError,
    NetworkError,
    NetworkTimeout,
    NotFound,
    RateLimited,
    RegistryError,
    RegistryUnavailable,
    Unauthorized,
)
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.observe import Event, Report, silent
from argosy.settings import Settings
from argosy.stores.remote.retry import wait
from argosy.stores.remote.transport import Answer, Request, Transport
from argosy.values import frozen

CHUNK = 8 << 20  # bytes of an upload in memory at once
_SERVICE = "twirp/github.actions.results.api.v1.CacheService"
_VERSION = hashlib.sha256(b"argosy-cache-1").hexdigest()  # keys of others are not ours
_SMALL = 1 << 20  # bytes of an answer or a tag
_AZURE = {"x-ms-version": "2021-08-06"}
_TAKEN = 409
_PASSES = (408, 429, 500, 502, 503, 504)
_STUCK = 5.0  # seconds that a number may be taken before it is thought to be a dead job's
_WRITE = 2  # the bit of a token's permission


@frozen(kw_only=True)
class Service:
    """Where the service is, and what proves that we may use it."""

    url: str
    token: str = field(repr=False)
    v2: bool = True
    scope: str = "argosy"
    timeout: float = 600.0  # seconds for one blob, retries included


def service_of(environ: Mapping[str, str], **given: str) -> Service:
    """The service of the job that runs here; what is `given` goes before the environment. ConfigError."""
    v2 = environ.get("ACTIONS_CACHE_SERVICE_V2", "").lower() in ("1", "true")
    v2 = (v2 or bool(given.get("url_v2"))) and not (given.get("url") and not given.get("url_v2"))
    from_environ = environ.get("ACTIONS_RESULTS_URL" if v2 else "ACTIONS_CACHE_URL", "")
    url = given.get("url_v2" if v2 else "url") or from_environ
    token = given.get("token") or environ.get("ACTIONS_RUNTIME_TOKEN", "")
    if not url or not token:
        raise ConfigError(
            "there is no cache service of GitHub's actions here",
            why="ACTIONS_RUNTIME_TOKEN and the service's URL are set only inside of a job's actions",
            remedy="expose them to the step (docker/setup-buildx-action and"
            " crazy-max/ghaction-github-runtime do), or give url= and token=",
        )
    return Service(url=url.rstrip("/") + "/", token=token, v2=v2)


@dataclass(slots=True)
class ActionsCache:
    """One part of the service: Source, Store, Swaps."""

    service: Service
    transport: Transport
    settings: Settings
    report: Report = silent
    _urls: dict[str, str] = field(default_factory=dict)  # of entries that were found
    _taken: dict[str, float] = field(default_factory=dict)  # since when

    @property
    def refs(self) -> tuple[str, ...]:
        """The tags to read: the one of the branch that the job may write first, then its parents'."""
        return tuple(
            hashlib.sha256(s.encode()).hexdigest()[:8] for s in _scopes(self.service.token)
        )

    # Source

    async def resolve(self, ref: str) -> Descriptor:
        """The manifest a tag stands for."""
        _, found = await self._newest(ref)
        if found is None:
            raise NotFound(f"no cache {self.service.scope!r} in GitHub's cache service")
        return found

    async def exists(self, desc: Descriptor) -> bool:
        """Whether there is an entry of that digest."""
        return await self._find(_blob(desc)) != ""

    @asynccontextmanager
    async def open(
        self, desc: Descriptor, *, start: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes from `start`."""
        key = _blob(desc)
        if not (url := await self._find(key)):
            raise NotFound(f"no blob {desc.digest} in GitHub's cache service")
        if start >= desc.size:
            yield _once(b"")
            return
        async with await self._get(url, start) as answer:
            skip = 0 if answer.status == 206 else start
            yield _after(answer.pieces(), skip)

    # Store

    async def put(self, desc: Descriptor, body: Body) -> None:
        """Keep the bytes as an entry, unless it is there."""
        async with self._bounded(f"keep {desc.digest}"):
            await self._save(_blob(desc), desc.size, verified(desc, body))

    async def tag(self, desc: Descriptor, ref: str) -> None:
        """Point a tag at a manifest, whatever it stood for."""
        for _ in range(10):
            _, standing = await self._newest(ref)
            if await self.swap(desc, ref, standing.digest if standing else None) == "done":
                return
            await asyncio.sleep(_STUCK / 8)
        raise RegistryUnavailable(f"the tag {ref} of GitHub's cache service is always taken")

    async def swap(self, desc: Descriptor, ref: str, expected: Digest | None) -> Swapped:
        """Take the number after that of what was expected; whoever has it has moved the tag."""
        number, standing = await self._newest(ref)
        if (standing.digest if standing else None) != expected:
            return "changed"
        body = json.dumps(desc.to_json()).encode()
        # A number that a job took and never filled would stop everybody else for ever.
        key = f"{self._tag(ref)}{number + 1}"
        while time.monotonic() - self._taken.get(key, math.inf) > _STUCK:
            number += 1
            key = f"{self._tag(ref)}{number + 1}"
        if await self._save(key, len(body), _once(body)):
            return "done"
        self._taken.setdefault(key, time.monotonic())
        return "changed"

    def origin(self, desc: Descriptor) -> Source:
        """Here."""
        del desc
        return self

    # Tags

    def _tag(self, ref: str) -> str:
        return f"argosy-tag-1-{quote(self.service.scope, safe='')}-{ref}#"

    async def _newest(self, ref: str) -> tuple[int, Descriptor | None]:
        """The number of the newest entry of a tag, and what it says."""
        prefix = self._tag(ref)
        key, url = await self._look(prefix)
        number = key.removeprefix(prefix)
        if not url or not number.isdecimal():
            return 0, None
        async with await self._get(url, 0) as answer:
            body = await answer.read(_SMALL)
        return int(number), Descriptor.from_json(_json(body))

    async def _find(self, key: str) -> str:
        """The URL of the entry with exactly this key; nothing if there is none."""
        if key not in self._urls:
            found, url = await self._look(key)
            if found != key:
                return ""
            self._urls[key] = url
        return self._urls[key]

    # The two protocols

    async def _look(self, key: str) -> tuple[str, str]:
        """The key and URL of the newest entry that begins with `key`; two nothings if there is none."""
        if self.service.v2:
            asked = {"key": key, "restore_keys": [key], "version": _VERSION}
            found = await self._call("GetCacheEntryDownloadURL", asked)
            if not found.get("ok"):
                return "", ""
            return str(found.get("matched_key", "")), str(found.get("signed_download_url", ""))
        query = f"keys={quote(key, safe='')}&version={_VERSION}"
        answer = await self._ask(self._request("GET", f"cache?{query}"), (200, 204))
        found = _json(await answer.read(_SMALL) or b"{}")
        return str(found.get("cacheKey", "")), str(found.get("archiveLocation", ""))

    async def _save(self, key: str, size: int, body: Body) -> bool:
        """Write an entry; False if the key is taken, and then nothing is read."""
        if self.service.v2:
            return await self._save_v2(key, size, body)
        reserve = self._request("POST", "caches", {"key": key, "version": _VERSION})
        answer = await self._ask(reserve, (200, 201, _TAKEN))
        found = _json(await answer.read(_SMALL) or b"{}")
        if answer.status == _TAKEN:
            return False
        number, at = found.get("cacheId") or found.get("cacheID"), 0
        async for chunk in _chunks(body):
            headers = {"Content-Range": f"bytes {at}-{at + len(chunk) - 1}/*"}
            headers["Content-Type"] = "application/octet-stream"
            patch = self._request("PATCH", f"caches/{number}", chunk, headers)
            await (await self._ask(patch, (200, 204))).read()
            at += len(chunk)
        commit = self._request("POST", f"caches/{number}", {"size": size})
        await (await self._ask(commit, (200, 204))).read()
        return True

    async def _save_v2(self, key: str, size: int, body: Body) -> bool:
        made = await self._call("CreateCacheEntry", {"key": key, "version": _VERSION})
        url = str(made.get("signed_upload_url", ""))
        if not made.get("ok") or not url:
            return False
        await self._upload(url, body)
        done = {"key": key, "size_bytes": str(size), "version": _VERSION}
        if not (await self._call("FinalizeCacheEntryUpload", done)).get("ok"):
            raise RegistryError(f"GitHub's cache service did not keep {key}")
        return True

    async def _upload(self, url: str, body: Body) -> None:
        """To Azure, block by block; a blob is there when its list of blocks is."""
        blocks: list[str] = []
        joint = "&" if urlsplit(url).query else "?"
        async for chunk in _chunks(body):
            name = base64.b64encode(f"{len(blocks):08}".encode()).decode()
            target = f"{url}{joint}comp=block&blockid={quote(name, safe='')}"
            await self._put(target, chunk)
            blocks.append(name)
        listed = "".join(f"<Latest>{name}</Latest>" for name in blocks)
        xml = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'
        await self._put(f"{url}{joint}comp=blocklist", xml.encode())

    async def _put(self, url: str, body: bytes) -> None:
        answer = await self._ask(Request(method="PUT", url=url, headers=_AZURE, body=body), (201,))
        await answer.read()

    async def _get(self, url: str, start: int) -> Answer:
        headers = {"Range": f"bytes={start}-"} if start else {}
        return await self._ask(Request(method="GET", url=url, headers=headers), (200, 206))

    async def _call(self, method: str, value: Mapping[str, Any]) -> dict[str, Any]:
        request = self._request("POST", f"{_SERVICE}/{method}", value)
        answer = await self._ask(request, (200, 404, _TAKEN))
        body = await answer.read(_SMALL)
        return _json(body) if answer.status == 200 else {}

    def _request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Request:
        path = path if self.service.v2 else f"_apis/artifactcache/{path}"
        more = {"Authorization": f"Bearer {self.service.token}", "Content-Type": "application/json"}
        if not self.service.v2:
            more["Accept"] = "application/json;api-version=6.0-preview.1"
        sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        return Request(
            method=method,
            url=self.service.url + path,
            headers={**more, **(headers or {})},
            body=sent,
        )

    async def _ask(self, request: Request, expect: tuple[int, ...]) -> Answer:
        """The answer, after as many tries as the settings allow; it says what the service said."""
        attempt = 0
        while True:
            problem, seconds, answer = await self._try(request, expect, attempt)
            if answer is not None:
                return answer
            if seconds is None:
                raise problem
            text = f"{problem.summary}; again in {seconds:.1f} s"
            self.report(Event("retry", "gha", text=text))
            await asyncio.sleep(seconds)
            attempt += 1

    async def _try(
        self, request: Request, expect: tuple[int, ...], attempt: int
    ) -> tuple[ArgosyError, float | None, Answer | None]:
        nothing = RegistryError("no answer")
        try:
            answer = await self.transport.send(request)
        except NetworkError as e:
            return e, wait(attempt, None, self.settings), None
        if answer.status in expect:
            return nothing, None, answer
        said = (await answer.read())[:300].decode(errors="replace")
        problem = _refusal(answer.status, said)
        if answer.status not in _PASSES:
            return problem, None, None
        return problem, wait(attempt, answer.headers.get("retry-after"), self.settings), None

    @asynccontextmanager
    async def _bounded(self, what: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.service.timeout):
                yield
        except TimeoutError as e:
            raise NetworkTimeout(
                f"GitHub's cache service did not {what} within {self.service.timeout:g} s",
                remedy="allow more with timeout=",
            ) from e


def _refusal(status: int, said: str) -> RegistryError:
    text = f"GitHub's cache service answered with status {status}"
    if status == 429:
        return RateLimited(text, status=status, why=said, remedy="build again later")
    if status in (401, 403):
        return Unauthorized(text, status=status, why=said, remedy="the job's token has run out")
    if status in _PASSES:
        return RegistryUnavailable(text, status=status, why=said)
    return RegistryError(text, status=status, why=said)


def _scopes(token: str) -> list[str]:
    """The branches a token may reach, the one it may write first; GitHub checks the token, not we."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        scopes = [(str(s["Scope"]), int(s["Permission"])) for s in json.loads(claims["ac"])]
    except (ValueError, KeyError, IndexError, TypeError):
        return ["default"]
    found = [s for s, p in scopes if p & _WRITE] + [s for s, p in scopes if not p & _WRITE]
    return found or ["default"]


def _blob(desc: Descriptor) -> str:
    return f"argosy-blob-1-{desc.digest}"


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
        if isinstance(found, dict):
            return found
        why = "it is no object"
    except (ValueError, RecursionError) as e:
        why = str(e)
    raise RegistryError("GitHub's cache service gave an answer that cannot be read", why=why)


async def _chunks(body: Body) -> AsyncIterator[bytes]:
    """The same bytes in pieces of CHUNK; only the last one is shorter."""
    held = bytearray()
    async for piece in body:
        held += piece
        while len(held) >= CHUNK:
            yield bytes(held[:CHUNK])
            del held[:CHUNK]
    if held:
        yield bytes(held)


async def _after(pieces: AsyncIterator[bytes], skip: int) -> AsyncIterator[bytes]:
    async for piece in pieces:
        rest = piece[skip:] if skip else piece
        skip -= len(piece) - len(rest)
        if rest:
            yield rest


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
