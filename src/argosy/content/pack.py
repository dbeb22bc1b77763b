"""Making manifests and indexes: values in, bytes put into a Store, a descriptor out."""

from collections.abc import Mapping, Sequence
from typing import Any

from argosy.content.store import Store, put_bytes
from argosy.errors import ManifestInvalid
from argosy.model import media
from argosy.model.config import parse_config
from argosy.model.descriptor import Descriptor
from argosy.model.manifest import dump

_DOCKER = {
    media.OCI_CONFIG: media.DOCKER_CONFIG,
    media.OCI_LAYER: media.DOCKER_LAYER,
    media.OCI_LAYER_GZIP: media.DOCKER_LAYER_GZIP,
    media.OCI_LAYER_ZSTD: media.DOCKER_LAYER_ZSTD,
}
_OCI = {docker: oci for oci, docker in _DOCKER.items()}


async def image(
    into: Store,
    config: bytes,
    layers: Sequence[Descriptor],
    *,
    annotations: Mapping[str, str] | None = None,
    media_type: str = media.OCI_MANIFEST,
) -> Descriptor:
    """An image of a config and layers that are in the store; the descriptor states its platform.

    The media types of config and layers become those of the manifest's family.
    Docker's manifests know no annotations: they are refused.
    """
    docker = media_type == media.DOCKER_MANIFEST
    if docker and annotations:
        raise ManifestInvalid(
            "a Docker manifest cannot have annotations", remedy="use the OCI media types"
        )
    family = _DOCKER if docker else _OCI
    platform = parse_config(config).platform
    kind = media.DOCKER_CONFIG if docker else media.OCI_CONFIG
    packed = await put_bytes(into, Descriptor.of(kind, config), config)
    value = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": packed.to_json(),
        "layers": [_in_family(layer, family) for layer in layers],
        **_optional(annotations=dict(annotations or {})),
    }
    return await _put(into, media_type, value, platform=platform)


async def index(
    into: Store,
    manifests: Sequence[Descriptor],
    *,
    annotations: Mapping[str, str] | None = None,
    media_type: str = media.OCI_INDEX,
    artifact_type: str = "",
    subject: Descriptor | None = None,
) -> Descriptor:
    """An index of manifests that are in the store, in the order given."""
    value = {
        "schemaVersion": 2,
        "mediaType": media_type,
        **_optional(artifactType=artifact_type),
        "manifests": [entry.to_json() for entry in manifests],
        **_optional(
            subject=_plain(subject) if subject else None, annotations=dict(annotations or {})
        ),
    }
    return await _put(into, media_type, value)


async def artifact(
    into: Store,
    artifact_type: str,
    blobs: Sequence[Descriptor],
    *,
    subject: Descriptor | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Descriptor:
    """An artifact of blobs that are in the store, about `subject` (which need not be).

    Source: image-spec manifest.md, Guidelines for Artifact Usage: no config is the
    empty descriptor, and a manifest without blobs has it as its only layer.
    """
    empty = Descriptor.of(media.OCI_EMPTY, media.EMPTY_JSON, data=media.EMPTY_JSON)
    await put_bytes(into, empty, media.EMPTY_JSON)
    value = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": empty.to_json(),
        "layers": [blob.to_json() for blob in blobs or (empty,)],
        **_optional(
            subject=_plain(subject) if subject else None, annotations=dict(annotations or {})
        ),
    }
    return await _put(into, media.OCI_MANIFEST, value, artifact_type=artifact_type)


async def _put(into: Store, media_type: str, value: Mapping[str, Any], **more: Any) -> Descriptor:
    body = dump(value)
    return await put_bytes(into, Descriptor.of(media_type, body, **more), body)


def _optional(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def _plain(desc: Descriptor) -> dict[str, Any]:
    return {"mediaType": desc.media_type, "digest": str(desc.digest), "size": desc.size}


def _in_family(layer: Descriptor, family: Mapping[str, str]) -> dict[str, Any]:
    value = layer.to_json()
    return {**value, "mediaType": family.get(layer.media_type, layer.media_type)}
