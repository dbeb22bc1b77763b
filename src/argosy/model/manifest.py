"""Manifests and indexes of both families (OCI image-spec manifest.md, image-index.md; Docker schema 2).

The bytes are the truth and are kept as received; a parsed value is only a view.
"""

import json
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from argosy.errors import ManifestInvalid
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.values import frozen

MAX_MANIFEST = (
    4 << 20
)  # bytes; what the spec asks registries to accept at least, and what peers cap at


@frozen(kw_only=True)
class Manifest:
    """A view of one image (or artifact) manifest."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """What must be present for this manifest to be whole: config and layers."""
        return (self.config, *self.layers)

    @property
    def kind(self) -> str:
        """The artifact type a referrers listing shows: its own, else the config's media type."""
        return self.artifact_type or self.config.media_type


@frozen(kw_only=True)
class Index:
    """A view of an image index or manifest list."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """What must be present for this index to be whole: every manifest it lists."""
        return self.manifests

    @property
    def kind(self) -> str:
        """The artifact type a referrers listing shows."""
        return self.artifact_type


def parse_manifest(body: bytes, media_type: str = "") -> Manifest | Index:
    """View bytes as a manifest or an index; ManifestInvalid says which part is wrong.

    The type is the body's own `mediaType`, else the one given (a registry's
    Content-Type), else guessed from the fields. The two must not contradict.
    """
    value = _object(body)
    declared = value.get("mediaType") or ""
    if not isinstance(declared, str):
        raise ManifestInvalid("mediaType must be text")
    if declared and media_type and declared != media_type and media.is_manifest(media_type):
        raise ManifestInvalid(
            f"the manifest says it is {declared!r} but came as {media_type!r}",
            remedy="push it with the Content-Type that its mediaType field names",
        )
    kind = declared or (media_type if media.is_manifest(media_type) else "") or _guess(value)
    if media.is_index(kind):
        return _index(value, kind)
    if kind in media.MANIFESTS:
        return _manifest(value, kind)
    raise ManifestInvalid(
        f"{kind or 'the body'!r} is not a manifest type Argosy knows",
        why=_why_unknown(value),
        remedy="push OCI image-spec 1.1 or Docker schema 2 manifests",
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        # As bytes, json would also take UTF-16 and a byte order mark: nobody else does (RFC 8259 §8.1).
        value = json.loads(body.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as e:
        raise ManifestInvalid("the manifest is not valid JSON", why=str(e)) from e
    if not isinstance(value, dict):
        raise ManifestInvalid(f"the manifest must be a JSON object, not {type(value).__name__}")
    if value.get("schemaVersion") != 2:
        raise ManifestInvalid(
            f"schemaVersion must be 2, not {value.get('schemaVersion')!r}", why=_why_unknown(value)
        )
    return value


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a number of JSON")


def _why_unknown(value: dict[str, Any]) -> str:
    if value.get("schemaVersion") == 1 or "fsLayers" in value:
        return "Docker schema 1 was withdrawn and is not supported"
    return ""


def _guess(value: dict[str, Any]) -> str:
    if "manifests" in value and ("config" in value or "layers" in value):
        raise ManifestInvalid("a manifest cannot have both manifests and config/layers")
    return (
        media.OCI_INDEX if "manifests" in value else media.OCI_MANIFEST if "config" in value else ""
    )


def _manifest(value: dict[str, Any], kind: str) -> Manifest:
    if "manifests" in value:
        raise ManifestInvalid("an image manifest cannot have a manifests field")
    if "config" not in value:
        raise ManifestInvalid("an image manifest needs a config")
    return Manifest(
        media_type=kind,
        config=Descriptor.from_json(value["config"]),
        layers=_descriptors(value, "layers"),
        **_common(value),
    )


def _index(value: dict[str, Any], kind: str) -> Index:
    if "config" in value or "layers" in value:
        raise ManifestInvalid("an index cannot have config or layers")
    if "manifests" not in value:
        raise ManifestInvalid("an index needs manifests")
    return Index(media_type=kind, manifests=_descriptors(value, "manifests"), **_common(value))


def _common(value: dict[str, Any]) -> dict[str, Any]:
    subject = value.get("subject")
    annotations = value.get("annotations")
    if annotations is None:
        annotations = {}
    if not isinstance(annotations, dict) or not all(
        isinstance(note, str) for note in annotations.values()
    ):
        raise ManifestInvalid("annotations must be an object of text to text")
    artifact_type = value.get("artifactType") or ""
    if not isinstance(artifact_type, str):
        raise ManifestInvalid("artifactType must be text")
    return {
        "subject": Descriptor.from_json(subject) if subject is not None else None,
        "artifact_type": artifact_type,
        "annotations": annotations,
    }


def _descriptors(value: dict[str, Any], name: str) -> tuple[Descriptor, ...]:
    items = value.get(name)
    if items is None:
        items = []
    if not isinstance(items, list):
        raise ManifestInvalid(f"{name} must be a list")
    return tuple(Descriptor.from_json(item) for item in items)


def dump(value: Mapping[str, Any]) -> bytes:
    """JSON bytes as Argosy writes them: compact, keys in the order given, UTF-8."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
