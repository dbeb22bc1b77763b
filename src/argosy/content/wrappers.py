"""Sources made of other sources: with a limit, with a fallback, with a cache."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from argosy.content.copy import SourceBody
from argosy.content.store import Source, Store
from argosy.errors import ArgosyError, NetworkError, NotFound, RegistryError
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest

_ELSEWHERE = (NotFound, NetworkError, RegistryError)  # errors that another source may not have


class Limited:
    """A Source of which at most `limit` things are asked at once; a body holds its place until it ends."""

    def __init__(self, source: Source, limit: int) -> None:
        self.source = source
        self._slots = asyncio.Semaphore(limit)

    async def resolve(self, ref: str) -> Descriptor:
        """As the source does."""
        async with self._slots:
            return await self.source.resolve(ref)

    async def exists(self, desc: Descriptor) -> bool:
        """As the source does."""
        async with self._slots:
            return await self.source.exists(desc)

    @asynccontextmanager
    async def open(
        self, desc: Descriptor, *, start: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """As the source does."""
        async with self._slots, self.source.open(desc, start=start) as body:
            yield body

    def origin(self, desc: Descriptor) -> Source:
        """Where a descriptor's bytes really are."""
        del desc
        return self.source


class Fallback:
    """Several Sources as one: each is asked in turn; a body that breaks off goes on at the next.

    Only for what is addressed by digest are they interchangeable: a ref is whatever
    the first source that knows it says.
    """

    def __init__(self, *sources: Source) -> None:
        self._sources = sources

    async def resolve(self, ref: str) -> Descriptor:
        """What the first source that knows it says."""
        errors: list[ArgosyError] = []
        for source in self._sources:
            try:
                return await source.resolve(ref)
            except _ELSEWHERE as e:
                errors.append(e)
        raise _worst(errors, ref)

    async def exists(self, desc: Descriptor) -> bool:
        """Whether one of them has the bytes."""
        for source in self._sources:
            with suppress(*_ELSEWHERE):
                if await source.exists(desc):
                    return True
        return False

    @asynccontextmanager
    async def open(
        self, desc: Descriptor, *, start: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes, wherever they come from. NotFound comes with the first piece."""
        yield self._pieces(desc, start)

    async def _pieces(self, desc: Descriptor, at: int) -> AsyncIterator[bytes]:
        errors: list[ArgosyError] = []
        for source in self._sources:
            try:
                async with source.open(desc, start=at) as body:
                    async for piece in body:
                        at += len(piece)
                        yield piece
            except _ELSEWHERE as e:
                errors.append(e)
            else:
                if at >= desc.size:
                    return  # the reader checks whether it is right
        if errors:
            raise _worst(errors, str(desc))


def _worst(errors: Sequence[ArgosyError], what: str) -> ArgosyError:
    """The error to tell: that a source failed says more than that another lacks it."""
    failed = [e for e in errors if not isinstance(e, NotFound)]
    return (failed or list(errors) or [NotFound(f"no source has {what}")])[0]


class Cached:
    """A Source that keeps what it reads in a local Store.

    Refs are asked of the origin, and remembered for when it cannot be reached. The
    local Store then holds manifests without everything below them, so it must not
    be the destination of a copy.
    """

    def __init__(self, local: Store, origin: Source) -> None:
        self._local = local
        self._origin = origin
        self._fetching: dict[Digest, asyncio.Lock] = {}

    async def resolve(self, ref: str) -> Descriptor:
        """What the origin says; what it said last if it cannot be reached."""
        try:
            desc = await self._origin.resolve(ref)
        except NetworkError as e:
            try:
                return await self._local.resolve(ref)
            except NotFound:
                raise e from None
        if media.is_manifest(desc.media_type):
            await self._fetch(desc)
            await self._local.tag(desc, ref)
        return desc

    async def exists(self, desc: Descriptor) -> bool:
        """Whether the bytes are here or at the origin."""
        return await self._local.exists(desc) or await self._origin.exists(desc)

    @asynccontextmanager
    async def open(
        self, desc: Descriptor, *, start: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes from the local store, fetched first if need be; each digest once."""
        await self._fetch(desc)
        async with self._local.open(desc, start=start) as body:
            yield body

    async def _fetch(self, desc: Descriptor) -> None:
        async with self._fetching.setdefault(desc.digest, asyncio.Lock()):
            if not await self._local.exists(desc):
                await self._local.put(desc, SourceBody(self._origin, desc))
        self._fetching.pop(desc.digest, None)
