"""What a build has made before it is anywhere: a Store that becomes a source of copies.

Manifests and configs stay in memory until an output takes them: a store on disk that
holds a manifest must hold all below it, and the layers of a base need not be here. The
build's own layers go into the local store at once, since the next build wants them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from argosy.build.origins import Origins
from argosy.content.memory import MemoryStore
from argosy.content.store import Adopts, Body, Source, Store
from argosy.errors import NotFound
from argosy.model import media
from argosy.model.descriptor import Descriptor


class Staging:
    """Manifests and configs in memory, layers in `layers`, everything else where `origins` say."""

    def __init__(self, layers: Store, origins: Origins) -> None:
        self.layers = layers
        self.origins = origins
        self._small = MemoryStore()

    async def resolve(self, ref: str) -> Descriptor:
        """A manifest that was made here, else one of this machine."""
        try:
            return await self._small.resolve(ref)
        except NotFound:
            return await self.origins.resolve(ref)

    async def exists(self, desc: Descriptor) -> bool:
        """Whether it was made, is here, or can be had."""
        return await self._small.exists(desc) or await self.origins.exists(desc)

    @asynccontextmanager
    async def open(
        self, desc: Descriptor, *, start: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes, from wherever they are."""
        held = await self._small.exists(desc)
        async with (self._small if held else self.origins).open(desc, start=start) as body:
            yield body

    async def put(self, desc: Descriptor, body: Body) -> None:
        """Layers go to the local store, the rest into memory."""
        await (self.layers if media.is_layer(desc.media_type) else self._small).put(desc, body)

    async def adopt(self, desc: Descriptor, path: str) -> bool:
        """As the local store does, for layers."""
        if not media.is_layer(desc.media_type) or not isinstance(self.layers, Adopts):
            return False
        return await self.layers.adopt(desc, path)

    async def tag(self, desc: Descriptor, ref: str) -> None:
        """Name a manifest that was made here."""
        await self._small.tag(desc, ref)

    def origin(self, desc: Descriptor) -> Source:
        """Where bytes that were not made here really are."""
        return self.origins.origin(desc)
