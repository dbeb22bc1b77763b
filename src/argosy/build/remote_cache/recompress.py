"""Layers in another compression: only when it is asked for, since it costs a pass over every byte."""

import os
import tempfile
from collections.abc import Callable, Collection, Iterator

from argosy.build.layers.blob import LayerOptions, Produce, put_layer
from argosy.build.layers.compression import Compression, decompressed
from argosy.build.remote_cache.format import CacheConfig, CacheLayer
from argosy.build.remote_cache.shelf import Part
from argosy.concurrency import in_thread
from argosy.content.store import Source, Store
from argosy.content.verify import verified
from argosy.errors import DigestMismatch
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.values import frozen

_PIECE = 1 << 20


@frozen
class Recompression:
    """Gives layers a compression: all of them, but for blobs to `keep` (those of the image)."""

    wanted: Compression
    keep: Collection[Digest] = ()

    async def of(self, part: Part, source: Source, into: Store) -> Part:
        """The same cache with other blobs; they are put in `into`."""
        blobs: dict[Digest, Descriptor] = {}
        diff_ids = {layer.blob: layer.diff_id for layer in part.config.layers if layer.blob}
        for digest, desc in part.blobs.items():
            kind = media.compression(desc.media_type) or "none"
            if digest in diff_ids and digest not in self.keep and kind != self.wanted.name:
                blobs[digest] = await recompressed(
                    desc, diff_ids[digest], self.wanted, source, into
                )
            else:
                blobs[digest] = desc
        layers = tuple(
            CacheLayer(one.diff_id, blobs[one.blob].digest if one.blob else None, one.below)
            for one in part.config.layers
        )
        config = CacheConfig(layers=layers, records=part.config.records, births=part.config.births)
        return Part(config=config, blobs={d.digest: d for d in blobs.values()})


async def recompressed(
    desc: Descriptor, diff_id: Digest, wanted: Compression, source: Source, into: Store
) -> Descriptor:
    """The same layer in another compression, put in `into`; DigestMismatch if it is another one."""
    with tempfile.TemporaryDirectory(prefix="argosy-") as scratch:
        path = os.path.join(scratch, "layer")
        file = await in_thread(open, path, "wb")
        try:
            async with source.open(desc) as body:
                async for piece in verified(desc, body):
                    await in_thread(file.write, piece)
        finally:
            await in_thread(file.close)
        options = LayerOptions(scratch=scratch, compression=wanted)
        made, found = await put_layer(_plain(path), into, options)
    if found != diff_id:
        raise DigestMismatch(f"layer {desc.digest}", expected=diff_id, actual=found)
    return made


def _plain(path: str) -> Produce:
    """What writes the layer's tar."""

    def pieces() -> Iterator[bytes]:
        with open(path, "rb") as file:
            while piece := file.read(_PIECE):
                yield piece

    def produce(write: Callable[[bytes], object]) -> None:
        for piece in decompressed(pieces()):
            write(piece)

    return produce
