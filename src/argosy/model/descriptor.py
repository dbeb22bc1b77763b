"""Descriptors: (media type, digest, size), a name for bytes (OCI image-spec descriptor.md)."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Self

from argosy.errors import ManifestInvalid
from argosy.model.digest import Digest
from argosy.model.platform import Platform
from argosy.values import frozen


@frozen(kw_only=True)
class Descriptor:
    """A name for bytes. Equal when media type, digest and size are; the rest is commentary."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict, compare=False)
    platform: Platform | None = field(default=None, compare=False)
    artifact_type: str = field(default="", compare=False)
    urls: tuple[str, ...] = field(default=(), compare=False)
    data: bytes | None = field(default=None, compare=False)

    @classmethod
    def of(cls, media_type: str, body: bytes, **more: Any) -> Self:
        """The descriptor of some bytes (sha256)."""
        return cls(media_type=media_type, digest=Digest.of(body), size=len(body), **more)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read a descriptor; ManifestInvalid or InvalidDigest says which field is wrong."""
        if not isinstance(value, dict):
            raise ManifestInvalid(f"a descriptor must be an object, not {type(value).__name__}")
        size = value.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise ManifestInvalid(f"a descriptor's size must be a whole number, not {size!r}")
        media_type, digest = value.get("mediaType", ""), value.get("digest")
        if not isinstance(media_type, str) or not isinstance(digest, str):
            raise ManifestInvalid("a descriptor needs a mediaType and a digest, both text")
        return cls(
            media_type=media_type,
            digest=Digest.parse(digest),
            size=size,
            annotations=_annotations(value),
            platform=_platform(value),
            artifact_type=_text(value, "artifactType"),
            urls=_urls(value),
            data=_data(value.get("data")),
        )

    def to_json(self) -> dict[str, Any]:
        """The wire form; empty fields are left out."""
        value: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        if self.urls:
            value["urls"] = list(self.urls)
        if self.data is not None:
            value["data"] = base64.b64encode(self.data).decode()
        if self.platform is not None:
            value["platform"] = self.platform.to_json()
        return value

    def __str__(self) -> str:
        return str(self.digest)


def _annotations(value: dict[str, Any]) -> dict[str, str]:
    found = value.get("annotations")
    if found is None:
        found = {}
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise ManifestInvalid("annotations must be an object of text to text")
    return found


def _text(value: dict[str, Any], name: str) -> str:
    found = value.get(name) or ""
    if not isinstance(found, str):
        raise ManifestInvalid(f"a descriptor's {name} must be text")
    return found


def _urls(value: dict[str, Any]) -> tuple[str, ...]:
    found = value.get("urls") or []
    if not isinstance(found, list) or not all(isinstance(url, str) for url in found):
        raise ManifestInvalid("a descriptor's urls must be a list of text")
    return tuple(found)


def _platform(value: dict[str, Any]) -> Platform | None:
    found = value.get("platform")
    if found is None:
        return None
    if not isinstance(found, dict):
        raise ManifestInvalid("a descriptor's platform must be an object")
    try:
        return Platform.from_json(found)
    except (TypeError, ValueError) as e:
        raise ManifestInvalid("a descriptor's platform cannot be read", why=str(e)) from e


def _data(encoded: Any) -> bytes | None:
    if encoded is None:
        return None
    try:
        return base64.b64decode(encoded, validate=True)
    except (TypeError, ValueError, binascii.Error) as e:
        raise ManifestInvalid("a descriptor's data must be base64") from e
