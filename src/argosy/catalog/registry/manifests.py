"""Manifests as the catalog keeps them: the bytes, and what has to be known without reading them."""

from collections.abc import Mapping
from typing import Any, Final, Self

from argosy.errors import DigestMismatch, ManifestInvalid
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.manifest import MAX_MANIFEST, parse_manifest
from argosy.values import frozen

_LONG: Final = MAX_MANIFEST


@frozen(kw_only=True, eq=False)
class StoredManifest:
    """A manifest of one repository; compared by identity, so that answers can be kept beside it."""

    digest: Digest
    media_type: str
    body: bytes

    @property
    def descriptor(self) -> Descriptor:
        """Its name: media type, digest and size."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=len(self.body))


@frozen(kw_only=True)
class Incoming:
    """A manifest on its way in, parsed; `children` is what must be here already."""

    digest: Digest
    media_type: str
    body: bytes
    children: tuple[Descriptor, ...]
    subject: Digest | None
    artifact_type: str
    annotations: Mapping[str, str]

    @property
    def descriptor(self) -> Descriptor:
        """Its name: media type, digest and size."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=len(self.body))

    @classmethod
    def parse(cls, body: bytes, media_type: str, digest: Digest | None = None) -> Self:
        """Read and check bytes that came as `media_type`; ManifestInvalid or DigestMismatch.

        Without a digest (a push by tag) the manifest is named by its sha256.
        """
        actual = Digest.of(body, digest.algorithm if digest else "sha256")
        if digest is not None and actual != digest:
            raise DigestMismatch("the manifest", expected=digest, actual=actual)
        view = parse_manifest(body, media_type)
        listed = [c for c in view.children if not media.is_nondistributable(c.media_type)]
        # What is listed as a manifest and as a blob, too, has to be a manifest: the last one counts.
        needed = {
            c.digest: c for c in sorted(listed, key=lambda c: media.is_manifest(c.media_type))
        }
        return cls(
            digest=actual,
            media_type=view.media_type,
            body=body,
            children=tuple(needed.values()),
            subject=view.subject.digest if view.subject else None,
            artifact_type=_text(view.kind),
            annotations={_text(k, _LONG): _text(v, _LONG) for k, v in view.annotations.items()},
        )


def _text(value: Any, longest: int = 255) -> str:
    """What a referrers list can show again: text, and text that UTF-8 has."""
    if not isinstance(value, str) or len(value) > longest:
        raise ManifestInvalid(
            "artifact types (255 characters at most) and annotations must be text",
            why=f"{str(value)[:100]!r} is not",
        )
    try:
        value.encode()
    except UnicodeEncodeError as e:  # JSON can spell half a surrogate pair
        raise ManifestInvalid("the manifest has text that is not Unicode", why=str(e)) from e
    return value
