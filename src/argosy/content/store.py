"""Source and Store: the two protocols everything that holds images speaks.

A Source or Store is one repository: a `ref` is a tag or a digest in it.
Optional abilities are one-method protocols, asked for with `isinstance`; who
asks must have a way to go on without.
"""

from collections.abc import AsyncIterable, AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol, runtime_checkable

from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.values import frozen

Body = AsyncIterable[bytes]
Swapped = Literal["done", "changed", "unsure"]  # unsure: done, but the store may not have looked


class Source(Protocol):
    """Something that can resolve a reference and open a descriptor."""

    async def resolve(self, ref: str) -> Descriptor:
        """The descriptor a tag or digest stands for; NotFound if there is none."""
        ...

    async def exists(self, desc: Descriptor) -> bool:
        """Whether the bytes are here. A Store that has a manifest has all below it."""
        ...

    def open(
        self, desc: Descriptor, *, start: int = 0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The bytes from offset `start`, as they are: the reader checks them. NotFound if absent."""
        ...


class Store(Source, Protocol):
    """A Source that can also put and tag."""

    async def put(self, desc: Descriptor, body: Body) -> None:
        """Keep the bytes: verified against digest and size, atomic, idempotent.

        DigestMismatch or SizeMismatch keeps nothing. If `body` is Rewindable an
        interrupted put may read it again from some offset.
        """
        ...

    async def tag(self, desc: Descriptor, ref: str) -> None:
        """Point a tag at a manifest that is here; NotFound if it is not."""
        ...


@runtime_checkable
class Rewindable(Protocol):
    """A body that can be read again from an offset (what a resumed upload needs)."""

    def at(self, start: int) -> AsyncIterator[bytes]:
        """The bytes from offset `start`."""
        ...


@runtime_checkable
class LocalFile(Protocol):
    """A body that is a range of a local file, so that it can be moved without copying through Python."""

    path: str
    start: int


@runtime_checkable
class SelfChecking(Protocol):
    """A body that checks itself against its descriptor while it is read.

    A Store that checks the very same bytes anyway asks for them bare, so that
    they are hashed once and not twice.
    """

    def bare(self) -> AsyncIterator[bytes]:
        """The bytes from the start, unchecked: whoever asks for them checks them."""
        ...


@runtime_checkable
class Adopts(Protocol):
    """A Store on this machine that can take over a file instead of reading it."""

    async def adopt(self, desc: Descriptor, path: str) -> bool:
        """Keep a file, whose bytes the caller has just hashed, as `desc`; False: put it as usual.

        The file is the store's then: it may be gone from `path`.
        """
        ...


@runtime_checkable
class ForgetsDamage(Protocol):
    """A Store that can look whether a blob it holds is still what its name says."""

    async def forget_damage(self, digest: Digest) -> bool:
        """Read a blob, and remove it if it is damaged: then True; False if it is sound or absent."""
        ...


@runtime_checkable
class ResolvesHere(Protocol):
    """A Store whose `resolve` may be answered by a mirror, and that can do without."""

    async def resolve_here(self, ref: str) -> Descriptor:
        """As `resolve`, asked of the store itself: what a writer must know."""
        ...


@runtime_checkable
class Mounts(Protocol):
    """A Store that can take a blob from a sibling repository without moving bytes."""

    async def mount(self, desc: Descriptor, source: Source) -> bool:
        """Take `desc` from `source` if both live in one registry; False: put it as usual."""
        ...


@runtime_checkable
class Referrers(Protocol):
    """A Source that knows which manifests name another as their subject."""

    async def referrers(self, digest: Digest, artifact_type: str = "") -> Sequence[Descriptor]:
        """Descriptors (with artifact type and annotations) of the manifests about `digest`."""
        ...


@runtime_checkable
class ListsTags(Protocol):
    """A Source that can list its tags."""

    def tags(self) -> AsyncIterator[str]:
        """Every tag, in lexical order."""
        ...


@runtime_checkable
class Deletes(Protocol):
    """A Store that can forget."""

    async def delete(self, ref: str) -> None:
        """Forget a tag (only the tag) or, by digest, a manifest with its tags. NotFound if absent."""
        ...


@runtime_checkable
class Pins(Protocol):
    """A Store that lists what it holds, and so must be told of a manifest nobody tags."""

    async def pin(self, desc: Descriptor) -> None:
        """List a manifest that is here without giving it a name; NotFound if it is not here."""
        ...


@runtime_checkable
class Swaps(Protocol):
    """A Store that can move a tag only if nobody else has moved it meanwhile."""

    async def swap(self, desc: Descriptor, ref: str, expected: Digest | None) -> Swapped:
        """Point a tag at a manifest that is here, if it still stands for `expected` (None: for nothing)."""
        ...


@runtime_checkable
class Collects(Protocol):
    """A Store that can give up the bytes that nothing in it needs any more."""

    async def collect(self) -> int:
        """Remove what no listed manifest leads to; the number of blobs. Not while others write."""
        ...


@frozen
class Spare:
    """A blob that nothing listed leads to: its size on the disk, and when it came (seconds since 1970)."""

    digest: Digest
    size: int
    created: float


@runtime_checkable
class Spares(Protocol):
    """A Store of this machine that can tell, and give up one by one, the blobs no image needs."""

    async def spare(self, roots: Collection[str] = ()) -> Sequence[Spare]:
        """The blobs that neither a listed manifest nor one of `roots` (digests) leads to."""
        ...

    async def drop(self, digests: Collection[Digest], roots: Collection[str] = ()) -> int:
        """Remove those of these blobs that are spare still; the number of them."""
        ...


@runtime_checkable
class Derived(Protocol):
    """A Source made of others; what is mounted or moved by name needs the one that really has it."""

    def origin(self, desc: Descriptor) -> Source:
        """Where a descriptor's bytes really are: another source, or this one."""
        ...


def origin(source: Source, desc: Descriptor) -> Source:
    """The source that really has a descriptor's bytes, through all that is wrapped around it."""
    while isinstance(source, Derived) and (inner := source.origin(desc)) is not source:
        source = inner
    return source


async def put_bytes(store: Store, desc: Descriptor, body: bytes) -> Descriptor:
    """Put bytes that are in memory; the descriptor comes back for chaining."""
    await store.put(desc, BytesBody(body))
    return desc


class BytesBody:
    """Bytes in memory as a rewindable body."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.at(0)

    def at(self, start: int) -> AsyncIterator[bytes]:
        """The bytes from offset `start`."""
        return _once(self._body[start:])


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
