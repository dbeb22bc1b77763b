"""Where a registry keeps the bytes of blobs: files or objects, behind one door.

A blob is named by its digest; `key` says where its bytes are, in the storage's own
terms ("" where the digest says it all). The catalog knows the key; the storage
knows nothing of repositories but an upload's owner.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Protocol, runtime_checkable

from argosy.concurrency import in_thread
from argosy.content.store import Body
from argosy.errors import NotFound, SizeMismatch, StorageError
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.values import frozen


@frozen
class Claim:
    """Who holds an upload: what its row must still say when the blob gets its own."""

    upload: str
    holder: str


@frozen
class Stored:
    """A blob whose bytes are here: how many, and where.

    With a `claim`, the row of its upload goes in the transaction that brings the blob's row;
    who has lost the upload meanwhile (he was away for too long) brings none.
    """

    size: int
    key: str = ""
    claim: Claim | None = None


Link = Callable[[Stored], Awaitable[Stored]]
"""Writes the row of a blob; what is in force, which may be what somebody stored before."""


class UploadBusy(StorageError):
    """Another request is writing to this upload right now."""

    code = "upload-busy"


class UploadLost(NotFound):
    """Another request has taken the upload over, or it has ended."""

    code = "upload-lost"


class Upload(Protocol):
    """The bytes of one blob as they arrive; `offset` is how many are here, `id` its name."""

    @property
    def id(self) -> str:
        """Its name."""
        ...

    @property
    def offset(self) -> int:
        """How many bytes are here; what `turn` found, within it."""
        ...

    def turn(self) -> AbstractAsyncContextManager["Turn"]:
        """Hold the upload for one request; UploadBusy when another one has it, on any node."""
        ...


class Turn(Protocol):
    """What may be done with an upload by who holds it."""

    def write(self, piece: bytes | memoryview) -> None:
        """Append, in a worker thread."""
        ...

    async def commit(self, digest: Digest) -> Stored:
        """The whole is here for good; DigestMismatch keeps nothing.

        O(1): nothing is read again, but where the digest is of another algorithm than was
        announced, or the state of the hash could not be carried here.
        """
        ...

    async def settle(self, kept: Stored) -> None:
        """After its row was written: let go of what is not in force."""
        ...

    async def cancel(self) -> None:
        """Forget the upload and its bytes."""
        ...


class BlobStorage(Protocol):
    """The blobs and the uploads of a registry."""

    async def begin(self, owner: str, algorithm: str = "sha256") -> Upload:
        """A new upload for `owner` (a repository), hashed as it comes."""
        ...

    async def resume(self, owner: str, id: str) -> Upload:  # noqa: A002
        """The upload of that name and owner, whichever node began it; NotFound if there is none."""
        ...

    def open(
        self, desc: Descriptor, *, start: int = 0, key: str = ""
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The bytes from offset `start`; NotFound if absent."""
        ...

    async def sweep(self, max_age: float) -> int:
        """Remove uploads nobody has written to for `max_age` seconds; how many."""
        ...


@runtime_checkable
class HasFiles(Protocol):
    """A storage whose blobs are files of this machine, so that they go from disk to socket."""

    def path(self, digest: Digest) -> str:
        """Where the blob is, or would be."""
        ...


@runtime_checkable
class Links(Protocol):
    """A storage that clients can read from by themselves."""

    def link(self, digest: Digest, key: str) -> str | None:
        """A URL that gives the bytes to whoever has it, for a short while; None: ask us."""
        ...


async def store(storage: BlobStorage, owner: str, desc: Descriptor, body: Body, link: Link) -> None:
    """Keep a blob: verified, atomic, idempotent; `link` gives it its row."""
    upload = await storage.begin(owner, desc.digest.algorithm)
    async with upload.turn() as turn:
        try:
            async for piece in body:
                _at_most(desc, upload.offset + len(piece))
                await in_thread(turn.write, piece)
            _at_least(desc, upload.offset)
            stored = await turn.commit(desc.digest)
            await turn.settle(await link(stored))
        except BaseException:
            with suppress(StorageError):  # what remains is swept
                await turn.cancel()
            raise


def _at_least(desc: Descriptor, count: int) -> None:
    if count < desc.size:
        raise SizeMismatch(str(desc), expected=desc.size, actual=count)


def _at_most(desc: Descriptor, count: int) -> None:
    if count > desc.size:
        raise SizeMismatch(str(desc), expected=desc.size, actual=count)
