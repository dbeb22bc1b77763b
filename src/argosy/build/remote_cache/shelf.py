"""Where caches stand in a store: an index under one tag, with a manifest for each platform.

A manifest's config lists the records, its layers are the blobs. Builds of other
platforms have manifests of their own beside it, so nobody's are lost.
"""

import asyncio
import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from argosy.build.remote_cache.format import MAX_CONFIG, CacheConfig
from argosy.concurrency import gather, in_thread
from argosy.content.graph import manifest
from argosy.content.memory import MemoryStore
from argosy.content.store import Source, put_bytes
from argosy.content.verify import read
from argosy.errors import ContentError, ManifestInvalid
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.manifest import Index, Manifest, dump
from argosy.values import frozen

CONFIG = "application/vnd.argosy.cache.config.v1+json"
ARTIFACT = "application/vnd.argosy.cache.v1"
SCOPE = "dev.argosy.cache.scope"  # annotation of a manifest in the index: the platform
INLINE = "dev.argosy.cache.v1"  # in an image's config
_MOST_SCOPES = 32
_FETCHES = 4

_DOCKER = {
    media.OCI_LAYER: media.DOCKER_LAYER,
    media.OCI_LAYER_GZIP: media.DOCKER_LAYER_GZIP,
    media.OCI_LAYER_ZSTD: media.DOCKER_LAYER_ZSTD,
    media.OCI_MANIFEST: media.DOCKER_MANIFEST,
    media.OCI_INDEX: media.DOCKER_LIST,
}


@frozen(kw_only=True)
class Part:
    """The cache of one platform: its records, and the descriptors of the blobs they name."""

    config: CacheConfig
    blobs: Mapping[Digest, Descriptor]


@frozen(kw_only=True)
class Shelf:
    """What stands under one tag: the parts by scope, and the entries as they are listed."""

    parts: Mapping[str, Part] = field(default_factory=dict)
    entries: Mapping[str, Descriptor] = field(default_factory=dict)
    damage: Sequence[ContentError] = ()  # of manifests that could not be read


async def read_shelf(
    source: Source, root: Descriptor, scopes: frozenset[str] | None = None
) -> Shelf:
    """The caches below what a tag stands for: those of `scopes`, or all of them.

    An image with records inside (inline) is a cache too. What is damaged is left
    out and told in `damage`; ManifestInvalid if the root itself is.
    """
    view = await manifest(source, root)
    entries = _entries(view, root)
    wanted = {s: d for s, d in entries.items() if scopes is None or s in scopes}
    slots = asyncio.Semaphore(_FETCHES)

    async def fetched(desc: Descriptor) -> Part | ContentError | None:
        async with slots:
            try:
                return await _part(source, desc)
            except ContentError as e:
                return e

    found = await gather(fetched(d) for d in list(wanted.values())[:_MOST_SCOPES])
    parts = {s: p for s, p in zip(wanted, found, strict=False) if isinstance(p, Part)}
    return Shelf(
        parts=parts, entries=entries, damage=[e for e in found if isinstance(e, ContentError)]
    )


def _entries(view: Manifest | Index, root: Descriptor) -> dict[str, Descriptor]:
    if isinstance(view, Manifest):
        return {"": root}
    found: dict[str, Descriptor] = {}
    for desc in view.manifests:
        if media.ATTESTATION_TYPE in desc.annotations:
            continue
        platform = str(desc.platform) if desc.platform else str(desc.digest)
        found[desc.annotations.get(SCOPE, platform)] = desc
    return found


async def _part(source: Source, desc: Descriptor) -> Part | None:
    """One manifest's records; None if it is something else than a cache of ours."""
    view = await manifest(source, desc)
    if not isinstance(view, Manifest):
        return None
    if view.config.media_type != CONFIG and view.config.media_type not in media.CONFIGS:
        return None
    if view.config.size > MAX_CONFIG:
        raise ManifestInvalid(
            f"the config {view.config.digest} has {view.config.size} bytes",
            why=f"more than {MAX_CONFIG} are not read",
        )
    body = await read(source, view.config)
    if view.config.media_type != CONFIG:
        found = await in_thread(_inline, body)
        if found is None:
            return None
        body = found
    config = await in_thread(CacheConfig.decode, body)
    blobs = {layer.digest: layer for layer in view.layers}
    if absent := next((b for b in config.blobs if b not in blobs), None):
        raise ContentError(f"the cache names {absent}, which its manifest does not list")
    return Part(config=config, blobs=blobs)


def _inline(body: bytes) -> bytes | None:
    """The records inside an image's config."""
    try:
        value = json.loads(body)
        text = value.get(INLINE) if isinstance(value, dict) else None
        return None if text is None else base64.b64decode(text, validate=True)
    except (ValueError, TypeError, RecursionError, binascii.Error) as e:
        raise ContentError("the image's inline cache cannot be read", why=str(e)) from e


def inline(config: CacheConfig) -> tuple[str, str]:
    """The name and value that put records into an image's config."""
    return INLINE, base64.b64encode(config.encode()).decode()


@dataclass(slots=True)
class Writing:
    """Manifests being made, in memory, until they are copied to where they belong."""

    oci: bool = True
    staged: MemoryStore = field(default_factory=MemoryStore)

    async def part(self, scope: str, part: Part) -> Descriptor:
        """The manifest of one scope."""
        config = part.config.encode()
        desc = await put_bytes(self.staged, Descriptor.of(CONFIG, config), config)
        layers = [part.blobs[blob] for blob in part.config.blobs]
        if not layers:
            # Registries refuse manifests without layers (image-spec manifest.md, artifacts).
            layers = [Descriptor.of(media.OCI_EMPTY, media.EMPTY_JSON)]
            await put_bytes(self.staged, layers[0], media.EMPTY_JSON)
        value = {
            "schemaVersion": 2,
            "mediaType": self._type(media.OCI_MANIFEST),
            "config": desc.to_json(),
            "layers": [self._plain(layer) for layer in layers],
        }
        made = await self._put(self._type(media.OCI_MANIFEST), value)
        return Descriptor(
            media_type=made.media_type,
            digest=made.digest,
            size=made.size,
            annotations={SCOPE: scope},
        )

    async def index(self, entries: Mapping[str, Descriptor]) -> Descriptor:
        """The index of all scopes, in order."""
        kind = self._type(media.OCI_INDEX)
        value = {
            "schemaVersion": 2,
            "mediaType": kind,
            **({"artifactType": ARTIFACT} if self.oci else {}),
            "manifests": [entries[scope].to_json() for scope in sorted(entries)],
        }
        return await self._put(kind, value)

    async def _put(self, kind: str, value: Mapping[str, object]) -> Descriptor:
        body = dump(dict(value))
        return await put_bytes(self.staged, Descriptor.of(kind, body), body)

    def _type(self, oci: str) -> str:
        return oci if self.oci else _DOCKER.get(oci, oci)

    def _plain(self, layer: Descriptor) -> dict[str, object]:
        kind = layer.media_type if self.oci else _DOCKER.get(layer.media_type, layer.media_type)
        return {"mediaType": kind, "digest": layer.digest, "size": layer.size}
