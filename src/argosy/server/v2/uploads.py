"""The uploads endpoint: how blobs come in (distribution-spec, end-4, 5, 6, 11, 13, 14).

One request, chunks with Content-Range, or a stream; each can be asked about and
continued, also after a restart. Content-Range here is the spec's own `a-b`, both
ends inclusive, without unit and without total.
"""

import re
from contextlib import suppress
from typing import Final

from argosy.catalog.catalog import Catalog
from argosy.catalog.projects.quotas import QuotaExceeded
from argosy.content.blob_storage import BlobStorage, Turn, Upload
from argosy.errors import InvalidDigest, NotFound, SizeMismatch, StorageError
from argosy.model.digest import Digest
from argosy.server.guarding.guard import Guard
from argosy.server.guarding.who import actor
from argosy.server.http.messages import Request, Response
from argosy.server.limits.room import Room, Write
from argosy.server.v2 import mounting
from argosy.server.v2.errors import VERSION, Problem
from argosy.values import frozen

_CHUNK: Final = re.compile(r"(?:bytes[ =])?([0-9]{1,19})-([0-9]{1,19})(?:/.*)?")


class Uploads:
    """Takes blobs into a blob store and links them to the repository that they were sent to."""

    def __init__(self, catalog: Catalog, store: BlobStorage, guard: Guard, room: Room) -> None:
        self._room = room
        self._catalog = catalog
        self._guard = guard
        self._store = store
        self.received = 0  # bytes of blobs, whole requests only

    async def begin(self, name: str, request: Request) -> Response:
        """POST: mount a blob, take a whole one, or open an upload."""
        await self._room.known(name, by := actor(request))
        query = request.query
        if "mount" in query:
            digest = Digest.parse(query["mount"][0])
            source = await mounting.source(self._catalog, self._guard, request, digest)
            if source is not None and await self._catalog.mount(name, digest, source, by=by):
                return _created(name, digest)
        elif "digest" in query and request.body.length != 0:
            return await self._whole(name, Digest.parse(query["digest"][0]), request)
        counted = await self._room.begin(name, self._is_there)
        upload = await self._store.begin(name, _algorithm(request))
        if counted:
            self._room.began(name, upload.id)
        return Response(202, _progress(name, upload))

    async def _is_there(self, name: str, ref: str) -> bool:
        try:
            await self._store.resume(name, ref)
        except NotFound:
            return False
        return True

    async def _whole(self, name: str, digest: Digest, request: Request) -> Response:
        chunk = _Chunk(name, request, digest)
        upload = await self._store.begin(name, digest.algorithm)
        async with upload.turn() as turn:
            try:
                await self._take(upload, turn, chunk)
                return await self._commit(upload, turn, chunk)
            except BaseException:
                with suppress(StorageError):  # then the sweeper will do it
                    await turn.cancel()  # nobody knows its Location
                raise

    async def append(self, name: str, ref: str, request: Request) -> Response:
        """PATCH: the next chunk, or a stream of unknown length."""
        upload = await self._store.resume(name, ref)
        async with upload.turn() as turn:
            await self._take(upload, turn, _Chunk(name, request))
        return Response(202, _progress(name, upload))

    async def finish(self, name: str, ref: str, request: Request) -> Response:
        """PUT: the last bytes, if any, and the digest that makes them a blob."""
        upload = await self._store.resume(name, ref)
        if "digest" not in request.query:
            raise InvalidDigest("a digest is needed to finish an upload", remedy="add ?digest=")
        chunk = _Chunk(name, request, Digest.parse(request.query["digest"][0]))
        async with upload.turn() as turn:
            await self._take(upload, turn, chunk)
            return await self._commit(upload, turn, chunk)

    async def status(self, name: str, ref: str) -> Response:
        """GET: how much is here."""
        upload = await self._store.resume(name, ref)
        return Response(204, _progress(name, upload))

    async def cancel(self, name: str, ref: str) -> Response:
        """DELETE: forget it."""
        upload = await self._store.resume(name, ref)
        async with upload.turn() as turn:
            await turn.cancel()
        self._room.ended(name, upload.id)
        return Response(204, [VERSION])

    async def _take(self, upload: Upload, turn: Turn, chunk: "_Chunk") -> None:
        """Append the body of a request; Problem 416 if it does not begin where the upload ends."""
        name, request = chunk.name, chunk.request
        expected = _expected(name, upload, request)
        length = request.body.length
        if length == 0:
            return
        try:
            await self._room.check(name, upload.offset + (length or 0), chunk.digest)
            write: Write = turn.write
            if length is None:
                write = await self._room.bounded(name, upload.offset, write)
            count = await request.body.into(write)
        except QuotaExceeded:
            await self._give_up(name, upload, turn)
            raise
        self.received += count
        if expected is not None and count != expected:
            raise SizeMismatch("the chunk", expected=expected, actual=count)

    async def _commit(self, upload: Upload, turn: Turn, chunk: "_Chunk") -> Response:
        name, digest = chunk.name, chunk.digest
        assert digest is not None, "only what has a name is committed"
        try:
            # Once more, as it is now: what is refused after the commit is the collector's.
            await self._room.check(name, upload.offset, digest, fresh=True)
        except QuotaExceeded:
            await self._give_up(name, upload, turn)
            raise
        # The bytes are there for good before anybody may read them through a repository.
        stored = await turn.commit(digest)
        kept = await self._catalog.link_blob(name, digest, stored, by=actor(chunk.request))
        await turn.settle(kept)
        self._room.ended(name, upload.id)
        return _created(name, digest)

    async def _give_up(self, name: str, upload: Upload, turn: Turn) -> None:
        self._room.ended(name, upload.id)
        with suppress(StorageError):  # then the sweeper will do it
            await turn.cancel()


@frozen
class _Chunk:
    """A request with bytes for an upload; with the digest that they end in, if it is known."""

    name: str
    request: Request
    digest: Digest | None = None


def _expected(name: str, upload: Upload, request: Request) -> int | None:
    """How many bytes the chunk says it has."""
    field = request.headers.get("content-range")
    if field is None:
        return None
    found = _CHUNK.fullmatch(field.strip())
    if found is None:
        raise _out_of_order(name, upload, f"Content-Range {field!r} is not of the form start-end")
    start, end = int(found[1]), int(found[2])
    if start != upload.offset or end + 1 < start:
        raise _out_of_order(
            name, upload, f"the chunk begins at {start}, {upload.offset} bytes are here"
        )
    length, expected = request.body.length, end - start + 1
    if length not in (None, expected):
        raise SizeMismatch("the chunk", expected=expected, actual=length or 0)
    return expected


def _out_of_order(name: str, upload: Upload, why: str) -> Problem:
    return Problem(416, "BLOB_UPLOAD_INVALID", why, headers=_progress(name, upload)[1:])


def _algorithm(request: Request) -> str:
    # `digest` comes here with an empty body: what is sent later will have that digest.
    if (named := request.query.get("digest-algorithm")) is not None:
        return named[0]
    for field in ("digest", "mount"):
        if field in request.query:
            return Digest.parse(request.query[field][0]).algorithm
    return "sha256"


def _progress(name: str, upload: Upload) -> list[tuple[str, str]]:
    # An empty upload has no last byte; `0-0` is what registries have always said.
    return [
        VERSION,
        ("Location", f"/v2/{name}/blobs/uploads/{upload.id}"),
        ("Range", f"0-{max(upload.offset - 1, 0)}"),
        ("Docker-Upload-UUID", upload.id),
    ]


def _created(name: str, digest: Digest) -> Response:
    return Response(
        201,
        [
            VERSION,
            ("Location", f"/v2/{name}/blobs/{digest}"),
            ("Docker-Content-Digest", str(digest)),
        ],
    )
