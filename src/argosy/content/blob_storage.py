"""Where a registry keeps the bytes of blobs: files or objects, behind one door.

A blob is named by its digest; `key` says where its bytes are, in the storage's own
terms ("" where the digest says it all). The catalog knows the key; the storage
knows nothing of repositories but an upload's owner.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from argosy.content.store import Body
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.values import frozen


@frozen
class Stored:
    """A blob whose bytes are here: how many, and where."""

    size: int
    key: str = ""


class Upload(Protocol):
    """The bytes of one blob as they arrive; `offset` is how many are here, `id` its name."""

    id: str
    offset: int

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Hold the upload for one request; UploadBusy when another one has it, on any node."""
        ...

    def write(self, piece: bytes | memoryview) -> None:
        """Append, in a worker thread, within `turn`."""
        ...

    async def commit(self, digest: Digest) -> Stored:
        """The whole is here for good; DigestMismatch keeps nothing. O(1): nothing is read again."""
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

    async def put(self, desc: Descriptor, body: Body) -> Stored:
        """Keep a blob: verified, atomic, idempotent."""
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
