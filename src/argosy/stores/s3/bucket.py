"""A bucket: the few requests of the S3 API that a registry needs, signed, and tried again.

What may be sent twice without harm is tried again after 5xx, SlowDown and lost
connections, with growing random pauses. Source: Amazon S3 API Reference.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import field, replace
from datetime import UTC, datetime
from typing import Any, Final

from argosy.concurrency import between, in_thread
from argosy.errors import ArgosyError, ConfigError, NetworkError, NetworkTimeout, StorageUnavailable
from argosy.meters import declared as meters
from argosy.settings import Settings
from argosy.stores.remote.transport import Answer, Request, Transport, Trust
from argosy.stores.s3 import failures
from argosy.stores.s3.credentials.keeping import open_keys
from argosy.stores.s3.documents import Element, completion, parse
from argosy.stores.s3.options import S3Options
from argosy.stores.s3.signing import EMPTY, UNSIGNED, Credentials, Signer, escaped
from argosy.tracing import span
from argosy.values import frozen

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0
_LONGEST_ANSWER: Final = 4 << 20  # a page of a listing
_SHORTEST_LINK: Final = 60.0  # seconds
_HASH_HERE: Final = 64 << 10  # bytes hashed faster than a thread is woken


@frozen(kw_only=True)
class Call:
    """One request about one object; `what` completes "cannot …", `name` is S3's own word."""

    name: str
    what: str
    method: str
    key: str = ""
    query: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None
    body: bytes | memoryview = field(default=b"", repr=False)
    wanted: tuple[int, ...] = (200, 204)


@frozen
class Begun:
    """A multipart upload that a listing shows: since when, in seconds since 1970."""

    key: str
    id: str
    at: float


class Bucket:
    """One bucket of an S3 service; close it to give its connections back."""

    def __init__(self, options: S3Options, *, ca: bytes = b"") -> None:
        self.options: Final = options
        trust = Trust(ca=(ca,) if ca else ())
        settings = Settings(
            connect_timeout=options.connect_timeout, read_timeout=options.read_timeout
        )
        self._transport = Transport(settings, lambda _url: trust)
        self.keys: Final = open_keys(options.credentials, self._transport, options.region)
        # Over TLS nothing is changed on the way; elsewhere the service compares the body's hash.
        self._hashes = not options.url().startswith("https:")

    async def close(self) -> None:
        """Give the connections back."""
        await self._transport.close()

    async def put(self, key: str, body: bytes | memoryview) -> None:
        """Store an object."""
        await self._do(
            Call(name="PutObject", what="store an object", method="PUT", key=key, body=body)
        )

    async def size(self, key: str) -> int:
        """How many bytes an object has; Missing if it is not there."""
        call = Call(name="HeadObject", what="find an object", method="HEAD", key=key)
        async with self._answer(call) as answer:
            return _length(answer, call, self._evidence(call))

    async def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        call = Call(
            name="DeleteObject",
            what="remove an object",
            method="DELETE",
            key=key,
            wanted=(200, 204, 404),
        )
        await self._do(call)

    @asynccontextmanager
    async def get(self, key: str, start: int = 0) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of an object from `start`; Missing if it is not there.

        A transfer that breaks off is taken up again where it was.
        """
        answer = await self._persist(_reading(key, start))
        async with aclosing(self._pieces(key, start, answer)) as pieces:
            try:
                yield pieces
            finally:
                await answer.close()  # if nobody has begun to read

    async def _pieces(self, key: str, start: int, answer: Answer) -> AsyncGenerator[bytes, None]:
        failed = 0
        while True:
            try:
                async for piece in answer.pieces():
                    start += len(piece)
                    failed = 0
                    yield piece
            except NetworkError as e:
                failed += 1
                if failed > self.options.retries:
                    call = _reading(key, start)
                    raise failures.unreachable(call.what, e, self._evidence(call)) from e
            else:
                return
            finally:
                await answer.close()
            await asyncio.sleep(_pause(failed))
            answer = await self._persist(_reading(key, start))

    async def begin_parts(self, key: str) -> str:
        """Begin a multipart upload; its id."""
        call = Call(
            name="CreateMultipartUpload",
            what="begin an upload in parts",
            method="POST",
            key=key,
            query={"uploads": ""},
        )
        return (await self._document(call)).get("UploadId")

    async def put_part(self, key: str, upload: str, number: int, body: bytes | memoryview) -> str:
        """Store a part; its ETag."""
        query = {"partNumber": str(number), "uploadId": upload}
        call = Call(
            name="UploadPart", what="store a part", method="PUT", key=key, query=query, body=body
        )
        async with self._answer(call) as answer:
            return answer.headers.get("etag", "")

    async def highest_part(self, key: str, upload: str) -> int:
        """The highest number that a part of a multipart upload has; 0 if it has none."""
        highest, more = 0, True
        while more:
            query = {"uploadId": upload, "part-number-marker": str(highest)}
            page = await self._document(
                Call(
                    name="ListParts",
                    what="list the parts of an upload",
                    method="GET",
                    key=key,
                    query=query,
                )
            )
            numbers = [int(part.get("PartNumber")) for part in page.all("Part")]
            highest = max([highest, *numbers])
            more = page.get("IsTruncated") == "true" and bool(numbers)
        return highest

    async def join_parts(self, key: str, upload: str, parts: list[tuple[int, str]]) -> str:
        """Put the parts together as the object; its ETag. Missing if there is no such upload."""
        call = Call(
            name="CompleteMultipartUpload",
            what="put the parts together",
            method="POST",
            key=key,
            query={"uploadId": upload},
            headers={"Content-Type": "application/xml"},
            body=completion(parts),
        )
        # It may begin to answer 200 before it knows, and say in the body that it failed.
        for attempt in range(1, self.options.retries + 2):
            async with self._answer(call) as answer:
                body = await answer.read(_LONGEST_ANSWER)
            found = parse(body)
            if found.name != "Error":
                return found.get("ETag")
            said = failures.Answer(answer.status, body)
            if attempt > self.options.retries or not said.again:
                raise failures.failure(call.what, said, self._evidence(call))
            await asyncio.sleep(_pause(attempt))
        raise AssertionError  # the last attempt returns or raises

    async def drop_parts(self, key: str, upload: str) -> None:
        """Forget a multipart upload and its parts, if it is there."""
        call = Call(
            name="AbortMultipartUpload",
            what="drop an upload in parts",
            method="DELETE",
            key=key,
            query={"uploadId": upload},
            wanted=(200, 204, 404),
        )
        await self._do(call)

    async def begun(self, prefix: str = "") -> AsyncIterator[Begun]:
        """Every multipart upload under way whose key begins so."""
        query = {"uploads": "", "prefix": f"{self.options.prefix}{prefix}"}
        call = Call(
            name="ListMultipartUploads", what="list uploads in parts", method="GET", query=query
        )
        while True:
            page = await self._document(call)
            for found in page.all("Upload"):
                key = found.get("Key").removeprefix(self.options.prefix)
                yield Begun(key, found.get("UploadId"), _seconds(found.get("Initiated")))
            if page.get("IsTruncated") != "true":
                return
            after = {
                "key-marker": page.get("NextKeyMarker"),
                "upload-id-marker": page.get("NextUploadIdMarker"),
            }
            call = replace(call, query={**query, **after})

    async def objects(self, prefix: str = "") -> AsyncIterator[str]:
        """Every object whose key begins so. Slow: for tests and repairs."""
        query = {"list-type": "2", "prefix": f"{self.options.prefix}{prefix}"}
        after: dict[str, str] = {}
        while True:
            call = Call(
                name="ListObjectsV2", what="list objects", method="GET", query={**query, **after}
            )
            page = await self._document(call)
            for found in page.all("Contents"):
                yield found.get("Key").removeprefix(self.options.prefix)
            if page.get("IsTruncated") != "true":
                return
            after = {"continuation-token": page.get("NextContinuationToken")}

    async def check(self) -> None:
        """Whether the bucket is there and the key may use it; the error says what to do."""
        await self.keys.now()  # raises what is wrong with its source
        call = Call(
            name="ListObjectsV2",
            what="use the bucket",
            method="GET",
            query={"list-type": "2", "max-keys": "1", "prefix": self.options.prefix},
        )
        await self._document(call)

    def link(self, key: str) -> str | None:
        """A URL to get an object by, for a while; None if the key is not known, or ends too soon.

        A URL is good for no longer than the key that signed it.
        """
        keys, wanted, left = self.keys.at_hand, self.options.redirect_ttl, self.keys.left
        if keys is None or left < min(wanted, _SHORTEST_LINK):
            return None
        signer = Signer(credentials=keys, region=self.options.region)
        url = self.options.url(key, public=True)
        return signer.link("GET", url, int(min(wanted, left)), datetime.now(UTC))

    async def _do(self, call: Call) -> None:
        async with self._answer(call) as answer:
            await answer.read()

    async def _document(self, call: Call) -> Element:
        async with self._answer(call) as answer:
            return parse(await answer.read(_LONGEST_ANSWER))

    @asynccontextmanager
    async def _answer(self, call: Call) -> AsyncIterator[Answer]:
        answer = await self._persist(call)
        try:
            yield answer
        except NetworkError as e:
            raise failures.unreachable(call.what, e, self._evidence(call)) from e
        finally:
            await answer.close()

    async def _persist(self, call: Call) -> Answer:
        with meters.S3_SECONDS.timed(call.name), span(f"s3.{call.name}", s3_key=call.key):
            return await self._tried(call)

    async def _tried(self, call: Call) -> Answer:
        payload = await self._payload(call.body)
        for attempt in range(1, self.options.retries + 2):
            last = attempt > self.options.retries
            asked = 0.0
            keys = self.keys.at_hand or await self._found_keys(call)
            try:
                answer = await self._transport.send(self._signed(call, payload, keys))
                if answer.status in call.wanted:
                    meters.S3_REQUESTS.add(call.name, "ok")
                    return answer
                said = failures.Answer(
                    answer.status, await answer.read(), answer.headers.get("retry-after", "")
                )
            except NetworkError as e:
                late = isinstance(e, NetworkTimeout)
                meters.S3_REQUESTS.add(call.name, "timeout" if late else "error")
                if last or e.evidence.get("phase") == "refused":
                    raise failures.unreachable(call.what, e, self._evidence(call)) from e
            else:
                meters.S3_REQUESTS.add(call.name, said.outcome)
                if not last and said.stale and await self.keys.another(keys):
                    continue
                if last or not said.again:
                    raise failures.failure(call.what, said, self._evidence(call))
                asked = said.retry_after
            meters.S3_RETRIES.add(call.name)
            await asyncio.sleep(max(_pause(attempt), min(asked, _LONGEST_PAUSE)))
        raise AssertionError  # the last attempt returns or raises

    async def _found_keys(self, call: Call) -> Credentials:
        try:
            return await self.keys.now()
        except ArgosyError as e:
            raise failures.keyless(call.what, e, self._evidence(call)) from e

    def _signed(self, call: Call, payload: str, keys: Credentials) -> Request:
        url = self.options.url(call.key)
        if call.query:
            # In the order in which they are signed, and a name without a value keeps its "=".
            pairs = sorted((escaped(k), escaped(v)) for k, v in call.query.items())
            url += "?" + "&".join(f"{name}={value}" for name, value in pairs)
        signer = Signer(credentials=keys, region=self.options.region)
        headers = signer.headers(
            call.method, url, dict(call.headers or {}), payload, datetime.now(UTC)
        )
        has_body = call.method in ("PUT", "POST")
        return Request(
            method=call.method, url=url, headers=headers, body=call.body if has_body else None
        )

    async def _payload(self, body: bytes | memoryview) -> str:
        if not body:
            return EMPTY
        if not self._hashes:
            return UNSIGNED
        if len(body) <= _HASH_HERE:
            return hashlib.sha256(body).hexdigest()
        return await in_thread(lambda: hashlib.sha256(body).hexdigest())

    def _evidence(self, call: Call) -> dict[str, Any]:
        return {"operation": call.name, "bucket": self.options.bucket, "key": call.key}


async def open_bucket(options: S3Options) -> Bucket:
    """The bucket, ready to be used; ConfigError if its settings cannot work."""
    options = options.checked()
    return Bucket(options, ca=await in_thread(_read, options.ca) if options.ca else b"")


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as e:
        raise ConfigError(
            f"the authority of the object store cannot be read from {path}",
            why=e.strerror or str(e),
            remedy="set storage.s3.ca to a PEM file",
        ) from e


def _reading(key: str, start: int) -> Call:
    headers = {"Range": f"bytes={start}-"} if start else None
    wanted = (206,) if start else (200,)
    return Call(
        name="GetObject",
        what="read an object",
        method="GET",
        key=key,
        headers=headers,
        wanted=wanted,
    )


def _pause(attempt: int) -> float:
    longest = min(_FIRST_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE)
    return between(longest / 4, longest)


def _length(answer: Answer, call: Call, evidence: dict[str, Any]) -> int:
    found = answer.headers.get("content-length", "")
    if not found.isdigit():
        raise StorageUnavailable(
            f"cannot {call.what} now",
            why="the object store does not say how long it is",
            remedy="look at proxies between this server and the object store",
            evidence=evidence,
        )
    return int(found)


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return datetime.now(UTC).timestamp()  # not known: young
