"""What is remembered of uploads to an object store, so that any node goes on with them.

An upload is held by one request at a time: who holds it is a token that no other request
has. What is written about an upload counts only while the writer's token stands.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from argosy.content.blob_storage import Claim, Stored
from argosy.model.digest import Digest
from argosy.values import frozen


@frozen
class Part:
    """A part of a multipart upload: its number, what the store called it, its bytes."""

    number: int
    etag: str
    size: int


@frozen(kw_only=True)
class State:
    """An upload between two requests; `offset` is what all parts and the tail come to.

    `key` is where the parts will be put together, under the name `multipart`. The tail is
    what is too short for a part: a few bytes as `tail`, more of them at `tail_key`; after
    parts, those are also stored as the last part, which counts if nothing else comes. `drop`
    are objects that were needed before and have to go. `hash_state` can be read by who has
    the same `hash_tag`.
    """

    algorithm: str
    offset: int = 0
    key: str = ""
    multipart: str = ""
    parts: tuple[Part, ...] = ()
    tail: bytes = b""
    tail_key: str = ""
    drop: tuple[str, ...] = ()
    hash_state: bytes = b""
    hash_tag: str = ""


@frozen
class Held:
    """An upload that is ours now; `before`: the token of somebody who never gave it back."""

    state: State
    before: str = ""


class UploadLedger(Protocol):
    """The uploads of a registry, for who goes on with one. Every method is one transaction."""

    async def take(self, claim: Claim, seconds: float, *, idle: float | None = None) -> Held | None:
        """Hold it for so many seconds; None while somebody else does.

        With `idle`, None also if somebody has touched it within so many seconds. UploadLost if
        it is not there any more.
        """
        ...

    async def keep(self, claim: Claim, seconds: float) -> None:
        """Hold what is ours for so many seconds more. UploadLost if it was taken over.

        Also when nobody holds it now: whoever did has gone on with it.
        """
        ...

    async def give(self, claim: Claim, state: State) -> None:
        """Write down what it is now, and let others have it. UploadLost if it was taken over."""
        ...

    async def drop(self, claim: Claim, before: str) -> bool:
        """Let others have it as it was; they find `before` never gave it back. Whether it was ours."""
        ...

    async def end(self, claim: Claim) -> None:
        """Forget it, if it is still ours."""
        ...

    async def mend(self, digest: Digest, lost: Stored, stored: Stored) -> None:
        """Put what is stored now in the place of a blob whose bytes are gone."""
        ...


class UploadBook(Protocol):
    """The same uploads, for who begins one, looks for one, or removes what was left behind."""

    async def begin(self, owner: str, id: str, algorithm: str) -> None:  # noqa: A002
        """Note a new upload; nobody holds it."""
        ...

    async def find(self, owner: str, id: str) -> State | None:  # noqa: A002
        """What it was when it was last given back; None if there is none of that name and owner."""
        ...

    async def untouched(self, seconds: float, most: int) -> Sequence[str]:
        """Uploads that nobody holds or has given back for so long, the oldest first."""
        ...

    async def known(self, names: Iterable[str]) -> frozenset[str]:
        """Which of these multipart uploads and tokens belong to an upload that is under way."""
        ...
