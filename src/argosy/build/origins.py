"""Where blobs can be had that are not here yet: base images, remote caches."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from argosy.content.memory import MemoryStore
from argosy.content.store import Source
from argosy.errors import ArgosyError, NotFound
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest


class Origins:
    """A Source of blobs: this machine's store first, else the places that said they have them.

    Whoever knows of a blob elsewhere (a base image, an imported cache record) says so
    with `add`; nothing is fetched until somebody opens it.
    """

    def __init__(self, here: Source | None = None) -> None:
        self.here: Source = here or MemoryStore()
        self._elsewhere: dict[Digest, list[Source]] = {}

    def add(self, blobs: Iterable[Descriptor], source: Source) -> None:
        """Blobs that `source` has."""
        for desc in blobs:
            known = self._elsewhere.setdefault(desc.digest, [])
            if source not in known:
                known.append(source)

    def drop(self, blobs: Iterable[Descriptor], source: Source) -> None:
        """Take `add` back: what the source has is not what it should be."""
        for desc in blobs:
            known = self._elsewhere.get(desc.digest, [])
            if source in known:
                known.remove(source)
            if not known:
                self._elsewhere.pop(desc.digest, None)

    def of(self, desc: Descriptor) -> tuple[Source, ...]:
        """The places elsewhere that a blob can be had from, in the order they were told."""
        return tuple(self._elsewhere.get(desc.digest, ()))

    async def resolve(self, ref: str) -> Descriptor:
        """What the local store says; names mean nothing elsewhere."""
        return await self.here.resolve(ref)

    async def exists(self, desc: Descriptor) -> bool:
        """Whether it is here or somebody said to have it."""
        return desc.digest in self._elsewhere or await self.here.exists(desc)

    @asynccontextmanager
    async def open(
        self, desc: Descriptor, *, start: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes, from here or else from the first place that has them."""
        source = await self._source(desc)
        async with source.open(desc, start=start) as body:
            yield body

    def origin(self, desc: Descriptor) -> Source:
        """Where a blob comes from: what a registry has itself need not be sent to it."""
        elsewhere = self.of(desc)
        return elsewhere[0] if elsewhere else self.here

    async def _source(self, desc: Descriptor) -> Source:
        elsewhere = self.of(desc)
        if not elsewhere or await self.here.exists(desc):
            return self.here
        problem: ArgosyError = NotFound(f"nobody has {desc.digest}")
        for source in elsewhere:
            try:
                if await source.exists(desc):
                    return source
            except ArgosyError as e:
                problem = e
        raise problem
