"""S3Storage: the blobs of a registry as objects, and uploads that any node goes on with.

    PREFIX blobs/<2>/<token>   a blob, where the catalog says that it is one; or one to be
    PREFIX tails/<token>       what an upload left that was too short for a part

A blob's key says nothing of its digest: it is final before the digest is known, so
nothing is ever copied or renamed. What is stored but no row points at belongs to an
upload, and goes with it.
"""

import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from argosy.background import beside
from argosy.content.blob_storage import UploadLost
from argosy.content.upload_ledger import State, UploadBook, UploadLedger
from argosy.errors import InvalidDigest, NotFound, StorageError, StorageUnavailable
from argosy.model.descriptor import Descriptor
from argosy.model.digest import HEX_LENGTH, Digest
from argosy.stores.s3 import cleaning
from argosy.stores.s3.bucket import Bucket, open_bucket
from argosy.stores.s3.failures import Missing
from argosy.stores.s3.options import S3Options
from argosy.stores.s3.upload import Ground, S3Upload

log = logging.getLogger("argosy.stores.s3")


class S3Storage:
    """Blobs and uploads in one bucket. `ledger` and `book` are two sides of one thing."""

    def __init__(self, bucket: Bucket, ledger: UploadLedger, book: UploadBook) -> None:
        self.bucket: Final = bucket
        self.ground: Final = Ground(bucket, ledger)
        self._book = book

    @property
    def uploads(self) -> int:
        """How many uploads this process is at; others may wait for their next request."""
        return self.ground.turns

    async def begin(self, owner: str, algorithm: str = "sha256") -> S3Upload:
        """A new upload for `owner`, hashed with `algorithm` as it comes."""
        if algorithm not in HEX_LENGTH:
            raise InvalidDigest(
                f"{algorithm!r} is not a digest algorithm known here",
                remedy="use " + " or ".join(HEX_LENGTH),
            )
        name = str(uuid.uuid4())
        await self._book.begin(owner, name, algorithm)
        return S3Upload(self.ground, name, State(algorithm=algorithm))

    async def resume(self, owner: str, id: str) -> S3Upload:  # noqa: A002
        """The upload of that name and owner, whichever node began it; NotFound if there is none."""
        state = await self._book.find(owner, id) if len(id) <= _ID_LENGTH else None
        if state is None:
            raise UploadLost(f"no upload {id!r}", why="it was never begun, or has ended or expired")
        return S3Upload(self.ground, id, state)

    @asynccontextmanager
    async def open(
        self, desc: Descriptor, *, start: int = 0, key: str = ""
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes from offset `start`; NotFound if absent."""
        if not key:
            raise NotFound(
                f"no object for blob {desc.digest}",
                why="it was pushed when this registry kept its blobs in files",
                remedy="push it again, or copy the files' registry to this one",
            )
        if start >= desc.size:
            yield _nothing()  # a range that begins at the end is none
            return
        try:
            async with self.bucket.get(key, start) as pieces:
                yield pieces
        except Missing as e:  # not a blob that nobody has: one that was lost
            raise StorageError(
                f"the object of blob {desc.digest} is gone",
                why="the catalog has it; somebody else has removed it from the bucket",
                remedy="bring it back from a backup, or push it to a new repository: that mends it"
                " everywhere",
                evidence=e.evidence,
            ) from e

    async def sweep(self, max_age: float) -> int:
        """Remove uploads nobody has written to for `max_age` seconds; how many. Any node may."""
        token = uuid.uuid4().hex
        return await cleaning.sweep(self.bucket, self.ground.ledger, self._book, max_age, token)

    def link(self, digest: Digest, key: str) -> str | None:  # noqa: ARG002 - the key says it all
        """A URL that gives the bytes to whoever has it, for a short while; None: ask us."""
        if not self.bucket.options.redirect or not key:
            return None
        return self.bucket.link(key)


_ID_LENGTH: Final = 36


async def _nothing() -> AsyncIterator[bytes]:
    for piece in tuple[bytes, ...]():
        yield piece


@asynccontextmanager
async def open_s3(
    options: S3Options, ledger: UploadLedger, book: UploadBook
) -> AsyncIterator[S3Storage]:
    """The storage in a bucket that is there and may be used."""
    bucket = await open_bucket(options)
    try:
        try:
            await bucket.check()
        except StorageUnavailable as e:  # it may come while we run: reads and writes say so
            log.warning("%s: %s", e.summary, e.why)
        async with beside({"the key of the object store": bucket.keys.keep}):
            yield S3Storage(bucket, ledger, book)
    finally:
        await bucket.close()
