"""The blobs endpoint: pull (whole, by range, or only its size) and delete (end-2, end-10).

Small blobs (configs, most layers of most images) are kept in memory. Big ones go from
the file to the socket without passing through Python; those in an object store are
fetched there by the client, or else stream through us.
"""

from collections.abc import AsyncIterator
from typing import Final

from argosy.catalog.caching.cache import Cache
from argosy.catalog.catalog import Catalog
from argosy.content.blob_storage import BlobStorage, HasFiles, Links, Stored
from argosy.errors import DigestMismatch, NotFound, StorageError
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.server.guarding.who import actor
from argosy.server.http.messages import Body, FileBody, Request, Response
from argosy.server.http.ranges import RangeNotSatisfiable, parse_range
from argosy.server.v2.conditions import matches, not_modified, still_same
from argosy.server.v2.errors import VERSION, Problem

_SMALL: Final = 64 << 10
_MEMORY: Final = 64 << 20

_HeadersAndBody = tuple[list[tuple[str, str]], Body]


class Blobs:
    """Answers for blobs out of a catalog (who may read what) and a blob store (the bytes)."""

    def __init__(self, catalog: Catalog, store: BlobStorage) -> None:
        self._catalog = catalog
        self._store = store
        self._files = store if isinstance(store, HasFiles) else None
        self._links = store if isinstance(store, Links) else None
        self._answers: Cache[Digest, Response] = Cache(_MEMORY, _weight)

    async def get(self, name: str, ref: str, request: Request) -> Response:
        """GET and HEAD."""
        digest = Digest.parse(ref)
        stored = await self._catalog.blob(name, digest)
        if stored is None:
            raise NotFound(f"no blob {digest} in {name}", evidence={"digest": digest})
        if matches(request, digest):
            return not_modified(digest)
        part = request.headers.get("range")
        if part is not None and request.method == "GET" and still_same(request, digest):
            return self._ranged(digest, stored, part, request)
        if self._files is None and stored.size > _SMALL:
            return self._far(digest, stored, request)
        found = await self._answers.load(digest, lambda: self._answer(digest, stored))
        assert found is not None
        return found

    async def delete(self, name: str, ref: str, request: Request) -> Response:
        """DELETE: visible at once; the bytes are the collector's."""
        await self._catalog.unlink_blob(name, Digest.parse(ref), by=actor(request))
        return Response(202, [VERSION])

    def _ranged(self, digest: Digest, stored: Stored, field: str, request: Request) -> Response:
        try:
            part = parse_range(field, stored.size)
        except RangeNotSatisfiable as e:
            raise Problem(
                416, "SIZE_INVALID", str(e), headers=[("Content-Range", e.content_range)]
            ) from e
        if (url := self._link(digest, stored, request)) is not None:
            return _elsewhere(url)  # the client asks for the same range there
        if part is None:
            return Response(200, *self._part(digest, stored, 0, stored.size))
        headers, body = self._part(digest, stored, part.start, part.length)
        return Response(206, [*headers, ("Content-Range", part.content_range(stored.size))], body)

    def _far(self, digest: Digest, stored: Stored, request: Request) -> Response:
        if (
            request.method == "HEAD"
        ):  # a URL to GET is none to HEAD; and we know all there is to say
            return Response(200, [*_headers(digest), _length(stored.size)])
        if (url := self._link(digest, stored, request)) is not None:
            return _elsewhere(url)
        return Response(200, *self._part(digest, stored, 0, stored.size))

    def _link(self, digest: Digest, stored: Stored, request: Request) -> str | None:
        if self._links is None or request.pace is not None:
            return None  # what is to go out at a pace goes through us
        return self._links.link(digest, stored.key)

    def _part(self, digest: Digest, stored: Stored, start: int, length: int) -> _HeadersAndBody:
        if self._files is not None:
            return _headers(digest), FileBody(self._files.path(digest), start, length)
        return [*_headers(digest), _length(length)], self._stream(digest, stored, start, length)

    async def _stream(
        self, digest: Digest, stored: Stored, start: int, length: int
    ) -> AsyncIterator[bytes]:
        desc = Descriptor(media_type="", digest=digest, size=stored.size)
        try:
            async with self._store.open(desc, start=start, key=stored.key) as pieces:
                async for piece in pieces:
                    yield piece if len(piece) <= length else piece[:length]
                    if (length := length - len(piece)) <= 0:
                        return
        except NotFound as e:  # the catalog has it: it was lost, and a 404 would deny that
            raise StorageError(f"the bytes of blob {digest} are gone", why=e.summary) from e

    async def _answer(self, digest: Digest, stored: Stored) -> Response:
        if stored.size > _SMALL:
            return Response(200, *self._part(digest, stored, 0, stored.size))
        pieces = self._stream(digest, stored, 0, stored.size)
        body = b"".join([piece async for piece in pieces])
        if (actual := Digest.of(body, digest.algorithm)) != digest:
            raise DigestMismatch("a blob at rest", expected=digest, actual=actual)
        return Response(200, _headers(digest), body)


def _elsewhere(url: str) -> Response:
    # Not to be kept: the URL expires, and whoever has it may read the blob.
    return Response(307, [VERSION, ("Location", url), ("Cache-Control", "no-store")])


def _length(size: int) -> tuple[str, str]:
    return ("Content-Length", str(size))


def _headers(digest: Digest) -> list[tuple[str, str]]:
    return [
        VERSION,
        ("Content-Type", "application/octet-stream"),
        ("Docker-Content-Digest", str(digest)),
        ("ETag", f'"{digest}"'),
        ("Accept-Ranges", "bytes"),
        ("Cache-Control", "max-age=31536000, immutable"),
    ]


def _weight(kept: Response) -> int:
    return 1024 + (len(kept.body) if isinstance(kept.body, bytes) else 0)
