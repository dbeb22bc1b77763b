"""Manifests as the catalog keeps them: the bytes, and what has to be known without reading them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from argosy.errors import DigestMismatch
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.manifest import parse_manifest


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class StoredManifest:
    """A manifest of one repository; compared by identity, so that answers can be kept beside it."""

    digest: Digest
    media_type: str
    body: bytes

    @property
    def descriptor(self) -> Descriptor:
        """Its name: media type, digest and size."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=len(self.body))


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A manifest on its way in, parsed; `children` is what must be here already."""

    digest: Digest
    media_type: str
    body: bytes
    children: tuple[Descriptor, ...]
    subject: Digest | None
    artifact_type: str
    annotations: Mapping[str, str]

    @classmethod
    def parse(cls, body: bytes, media_type: str, digest: Digest | None = None) -> Self:
        """Read and check bytes that came as `media_type`; ManifestInvalid or DigestMismatch.

        Without a digest (a push by tag) the manifest is named by its sha256.
        """
        actual = Digest.of(body, digest.algorithm if digest else "sha256")
        if digest is not None and actual != digest:
            raise DigestMismatch("the manifest", expected=digest, actual=actual)
        view = parse_manifest(body, media_type)
        needed = {c.digest: c for c in view.children if not media.is_nondistributable(c.media_type)}
        return cls(
            digest=actual,
            media_type=view.media_type,
            body=body,
            children=tuple(needed.values()),
            subject=view.subject.digest if view.subject else None,
            artifact_type=view.kind,
            annotations=view.annotations,
        )
