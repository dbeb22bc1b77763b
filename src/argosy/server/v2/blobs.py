"""The blobs endpoint: pull (whole, by range, or only its size) and delete (end-2, end-10).

Small blobs (configs, most layers of most images) are kept in memory; big ones go
from the file to the socket without passing through Python.
"""

from typing import Final

from argosy.catalog.cache import Cache
from argosy.catalog.catalog import Catalog
from argosy.errors import NotFound
from argosy.model.digest import Digest
from argosy.server.http.messages import FileBody, Request, Response
from argosy.server.http.ranges import RangeNotSatisfiable, parse_range
from argosy.server.v2.conditions import matches, not_modified, still_same
from argosy.server.v2.errors import VERSION, Problem
from argosy.server.who import actor
from argosy.stores.blobs import BlobStore

_SMALL: Final = 64 << 10
_MEMORY: Final = 64 << 20


class Blobs:
    """Answers for blobs out of a catalog (who may read what) and a blob store (the bytes)."""

    def __init__(self, catalog: Catalog, store: BlobStore) -> None:
        self._catalog = catalog
        self._store = store
        self._answers: Cache[Digest, Response] = Cache(_MEMORY, _weight)

    async def get(self, name: str, ref: str, request: Request) -> Response:
        """GET and HEAD."""
        digest = Digest.parse(ref)
        size = await self._catalog.blob_size(name, digest)
        if size is None:
            raise NotFound(f"no blob {digest} in {name}", evidence={"digest": digest})
        if matches(request, digest):
            return not_modified(digest)
        part = request.headers.get("range")
        if part is not None and request.method == "GET" and still_same(request, digest):
            return self._ranged(digest, size, part)
        found = await self._answers.load(digest, lambda: self._answer(digest, size))
        assert found is not None
        return found

    async def delete(self, name: str, ref: str, request: Request) -> Response:
        """DELETE: visible at once; the bytes are the collector's."""
        await self._catalog.unlink_blob(name, Digest.parse(ref), by=actor(request))
        return Response(202, [VERSION])

    def _ranged(self, digest: Digest, size: int, field: str) -> Response:
        try:
            part = parse_range(field, size)
        except RangeNotSatisfiable as e:
            raise Problem(
                416, "SIZE_INVALID", str(e), headers=[("Content-Range", e.content_range)]
            ) from e
        path = self._store.path(digest)
        if part is None:
            return Response(200, _headers(digest), FileBody(path, 0, size))
        headers = [*_headers(digest), ("Content-Range", part.content_range(size))]
        return Response(206, headers, FileBody(path, part.start, part.length))

    async def _answer(self, digest: Digest, size: int) -> Response:
        if size <= _SMALL:
            return Response(200, _headers(digest), await self._store.read(digest))
        return Response(200, _headers(digest), FileBody(self._store.path(digest), 0, size))


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
