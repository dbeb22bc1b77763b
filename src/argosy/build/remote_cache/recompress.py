"""Layers in another compression: only when it is asked for, since it costs a pass over every byte."""

from collections.abc import Collection

from argosy.build.layers.blob import recompressed
from argosy.build.layers.compression import Compression
from argosy.build.remote_cache.format import CacheConfig, CacheLayer
from argosy.build.remote_cache.shelf import Part
from argosy.content.store import Source, Store
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.values import frozen


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
                layer = (desc, diff_ids[digest])
                blobs[digest], _ = await recompressed(layer, source, into, self.wanted)
            else:
                blobs[digest] = desc
        layers = tuple(
            CacheLayer(one.diff_id, blobs[one.blob].digest if one.blob else None, one.below)
            for one in part.config.layers
        )
        config = CacheConfig(layers=layers, records=part.config.records, births=part.config.births)
        return Part(config=config, blobs={d.digest: d for d in blobs.values()})
