"""manifest.json of `docker save`: what it says of the images in an archive, and how to write it.

Two forms exist. Since Docker 25 the archive is an OCI layout with a manifest.json
beside it; before, there is only manifest.json, with a tar per layer and the config
under any name, and a manifest is made up here: of OCI's types, which every registry of
today takes, while skopeo refuses an OCI layout with Docker's. Source: moby
image/tarexport and the Docker image specification v1.2, "Combined Image JSON + Filesystem Changeset
Format".
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any, BinaryIO

from argosy.errors import ArchiveInvalid, InvalidDigest, InvalidReference, ManifestInvalid
from argosy.model import media
from argosy.model.config import parse_config
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.manifest import Manifest, dump, parse_manifest
from argosy.model.platform import Platform, best_match
from argosy.model.reference import Reference
from argosy.stores.layout import OCILayout
from argosy.stores.layout_index import LayoutIndex
from argosy.stores.tarball import Extent, TarMembers
from argosy.values import frozen

_CONFIG_MAX = 16 << 20  # bytes
_HASH_PIECE = 1 << 20
_MAGIC = {b"\x1f\x8b": media.OCI_LAYER_GZIP, b"\x28\xb5\x2f\xfd": media.OCI_LAYER_ZSTD}
_FOREIGN_MAGIC = {b"BZh": "bzip2", b"\xfd7zXZ": "xz"}


@frozen(kw_only=True)
class DockerImage:
    """One item of manifest.json, with the manifest made up for it."""

    names: tuple[str, ...]
    manifest: Descriptor
    config: Digest
    layers: int
    made: dict[Digest, bytes] = field(default_factory=dict)
    blobs: dict[Digest, Extent] = field(default_factory=dict)

    def listed_in(self, index: LayoutIndex, look: Callable[[Digest], bytes]) -> LayoutIndex:
        """The layout's index with this image, as the layout has it or, if it does not, as made up here."""
        for name in self.names:
            found = index.find(name)
            if found is None or not self._is(found, look):
                index = index.without(name).named(self.manifest, name)
        if not self.names and not any(self._is(desc, look) for desc in index.listed()):
            index = index.pinned(self.manifest)
        return index

    def _is(self, desc: Descriptor, look: Callable[[Digest], bytes]) -> bool:
        """Whether a listed manifest is this image, or an index with it.

        Docker 25.0 wrote OCI manifests without their layers: those are not believed.
        """
        try:
            view = parse_manifest(look(desc.digest), desc.media_type)
        except (ManifestInvalid, InvalidDigest):
            return False
        if isinstance(view, Manifest):
            return view.config.digest == self.config and len(view.layers) == self.layers
        return any(self._is(child, look) for child in view.manifests)


def read_docker_images(
    body: bytes, members: TarMembers, file: BinaryIO, where: str
) -> list[DockerImage]:
    """The images manifest.json lists (blocking); ArchiveInvalid says what is wrong with it."""
    try:
        items = json.loads(body)
    except (ValueError, RecursionError) as e:
        raise _invalid(where, str(e)) from e
    if not isinstance(items, list):
        raise _invalid(where, "it is not a list")
    return [_Item(item, members, file, where).image() for item in items]


class _Item:
    """One item of manifest.json while it is read."""

    def __init__(self, value: Any, members: TarMembers, file: BinaryIO, where: str) -> None:
        if not isinstance(value, dict):
            raise _invalid(where, "an item is not an object")
        self._value = value
        self._members = members
        self._file = file
        self._where = where

    def image(self) -> DockerImage:
        """The image, its manifest made up from config and layers."""
        config = self._config()
        layers = self._layers(config)
        described = Descriptor.of(media.OCI_CONFIG, config)
        manifest = dump(
            {
                "schemaVersion": 2,
                "mediaType": media.OCI_MANIFEST,
                "config": described.to_json(),
                "layers": [layer.to_json() for layer, _ in layers],
            }
        )
        desc = Descriptor.of(media.OCI_MANIFEST, manifest)
        return DockerImage(
            names=tuple(self._names()),
            manifest=desc,
            config=described.digest,
            layers=len(layers),
            made={desc.digest: manifest, described.digest: config},
            blobs={layer.digest: extent for layer, extent in layers},
        )

    def _names(self) -> Sequence[str]:
        tags = self._value.get("RepoTags") or []
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise _invalid(self._where, "RepoTags must be a list of text")
        try:
            return [str(_tagged(tag)) for tag in tags]
        except InvalidReference as e:
            raise _invalid(self._where, f"{e.summary}: {e.why}") from e

    def _config(self) -> bytes:
        name = self._value.get("Config")
        extent = self._members.find(name) if isinstance(name, str) else None
        if extent is None:
            raise _invalid(self._where, f"its config {name!r} is not in the archive")
        if extent.size > _CONFIG_MAX:
            raise _invalid(self._where, f"its config has {extent.size} bytes")
        return os.pread(self._file.fileno(), extent.size, extent.offset)

    def _layers(self, config: bytes) -> list[tuple[Descriptor, Extent]]:
        names = self._value.get("Layers") or []
        try:
            diff_ids = parse_config(config).diff_ids
        except ManifestInvalid as e:
            raise _invalid(self._where, f"{e.summary}: {e.why}") from e
        if not isinstance(names, list) or len(names) != len(diff_ids):
            raise _invalid(self._where, "config and manifest.json do not have as many layers")
        return [
            self._layer(str(name), diff_id) for name, diff_id in zip(names, diff_ids, strict=True)
        ]

    def _layer(self, name: str, diff_id: Digest) -> tuple[Descriptor, Extent]:
        extent = self._members.find(name)
        if extent is None:
            raise _invalid(self._where, f"its layer {name!r} is not in the archive")
        start = os.pread(self._file.fileno(), 8, extent.offset)
        if foreign := next((n for m, n in _FOREIGN_MAGIC.items() if start.startswith(m)), ""):
            raise _invalid(self._where, f"its layer {name!r} is packed with {foreign}")
        media_type = next((t for m, t in _MAGIC.items() if start.startswith(m)), "")
        # A plain layer's digest is its diff ID, which is checked when it is read.
        digest = _hash(self._file, extent) if media_type else diff_id
        desc = Descriptor(media_type=media_type or media.OCI_LAYER, digest=digest, size=extent.size)
        return desc, extent


def _hash(file: BinaryIO, extent: Extent) -> Digest:
    state, end, at = Digest.of(b"").hasher(), extent.offset + extent.size, extent.offset
    while at < end and (piece := os.pread(file.fileno(), min(_HASH_PIECE, end - at), at)):
        state.update(piece)
        at += len(piece)
    return Digest.from_hash(state)


def _tagged(name: str) -> Reference:
    reference = Reference.parse(name)
    return reference if reference.tag else reference.with_tag("latest")


def _invalid(where: str, why: str) -> ArchiveInvalid:
    return ArchiveInvalid(
        f"manifest.json of {where} cannot be used",
        why=why,
        remedy="save the image again",
    )


def docker_manifest(store: OCILayout, index: LayoutIndex) -> bytes:
    """manifest.json for the images of a layout (blocking): what every `docker load` reads.

    It knows single images only, so an index is there as its image for this machine,
    else its first; whoever reads the layout beside it gets all platforms. Artifacts
    that are no images, and names that are no references, are left to the layout.
    """
    items: list[dict[str, Any]] = []
    for listed in index.listed():
        names = [full for name in index.names_of(listed.digest) if (full := _full(name))]
        image = _image_for_docker(store, listed)
        if image is not None:
            items.append(
                {
                    "Config": _blob_name(image.config),
                    "RepoTags": names or None,
                    "Layers": [_blob_name(layer) for layer in image.layers],
                }
            )
    return json.dumps(items, separators=(",", ":")).encode()


def _image_for_docker(store: OCILayout, desc: Descriptor) -> Manifest | None:
    view = parse_manifest(store.read_small(desc.digest), desc.media_type)
    if isinstance(view, Manifest):
        return view if _is_image(store, view) else None
    images = [
        (child.platform, child)
        for child in view.manifests
        if child.platform and child.platform.is_known
    ]
    chosen = best_match(Platform.host(), images) or next((c for _, c in images), None)
    return _image_for_docker(store, chosen) if chosen is not None else None


def _is_image(store: OCILayout, view: Manifest) -> bool:
    # Signatures and attestations often carry an image config, but not its layers of files.
    if view.config.media_type not in media.CONFIGS:
        return False
    try:
        diff_ids = parse_config(store.read_small(view.config.digest)).diff_ids
    except ManifestInvalid:
        return False
    layers = view.layers
    return len(diff_ids) == len(layers) and all(media.is_layer(x.media_type) for x in layers)


def _blob_name(desc: Descriptor) -> str:
    return f"blobs/{desc.digest.algorithm}/{desc.digest.hex}"


def _full(name: str) -> str:
    try:
        reference = _tagged(name)
    except InvalidReference:
        return ""
    return f"{reference.locator}:{reference.tag}"
