"""What an image is made of, as `inspect` and `images` show it: its platforms and their layers."""

from typing import Any

from argosy.concurrency import gather
from argosy.content.graph import manifest
from argosy.content.store import Source
from argosy.content.verify import read
from argosy.errors import ManifestInvalid
from argosy.model import media
from argosy.model.config import ImageConfig, parse_config
from argosy.model.descriptor import Descriptor
from argosy.model.manifest import Index, Manifest
from argosy.model.platform import Platform
from argosy.values import frozen


@frozen
class Image:
    """One manifest: what it is for, and what hangs below it."""

    desc: Descriptor
    platform: Platform | None  # None: not an image but an artifact
    manifest: Manifest

    @property
    def size(self) -> int:
        """Bytes of manifest, config and layers as they are sent."""
        return self.desc.size + sum(child.size for child in self.manifest.children)

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "platform": str(self.platform) if self.platform else None,
            "digest": str(self.desc.digest),
            "mediaType": self.desc.media_type,
            "size": self.size,
            "config": self.manifest.config.to_json(),
            "layers": [layer.to_json() for layer in self.manifest.layers],
            "annotations": dict(self.manifest.annotations),
        }


@frozen
class Picture:
    """An image or an index: its manifest, the images in it, and the entries that are none."""

    desc: Descriptor
    view: Manifest | Index
    images: tuple[Image, ...]
    others: tuple[Descriptor, ...]  # attestations, artifacts, nested indexes

    @property
    def size(self) -> int:
        """Bytes of every image in it; what two of them share counts once."""
        blobs = {c.digest: c.size for image in self.images for c in image.manifest.children}
        return sum(blobs.values()) + sum(image.desc.size for image in self.images)


async def picture(source: Source, desc: Descriptor) -> Picture:
    """What a descriptor of a manifest or index names; reads the manifests of an index's images."""
    view = await manifest(source, desc)
    if isinstance(view, Manifest):
        platform = await _platform(source, desc, view)
        return Picture(desc, view, (Image(desc, platform, view),), ())
    wanted = [entry for entry in view.manifests if is_image(entry)]
    found = await gather(_image(source, entry) for entry in wanted)
    others = tuple(entry for entry in view.manifests if not is_image(entry))
    return Picture(desc, view, tuple(found), others)


def is_image(entry: Descriptor) -> bool:
    """Whether an index's entry is an image with a platform, not an attestation or another index."""
    known = entry.platform is None or entry.platform.is_known
    return known and entry.media_type in media.MANIFESTS and not entry.artifact_type


async def config_of(source: Source, desc: Descriptor) -> tuple[bytes, ImageConfig]:
    """The config of one image: its bytes, and what they say; ManifestInvalid if there is none."""
    view = await manifest(source, desc)
    if not isinstance(view, Manifest) or view.config.media_type not in media.CONFIGS:
        raise ManifestInvalid(
            f"{desc.digest} has no image config",
            why=f"it is {getattr(view, 'artifact_type', '') or desc.media_type}",
            remedy="`argosy inspect --raw` shows its manifest",
        )
    body = await read(source, view.config)
    return body, parse_config(body)


async def _image(source: Source, entry: Descriptor) -> Image:
    view = await manifest(source, entry)
    if not isinstance(view, Manifest):
        raise ManifestInvalid(f"{entry.digest} is listed as an image and is an index")
    platform = entry.platform or await _platform(source, entry, view)
    return Image(entry, platform, view)


async def _platform(source: Source, desc: Descriptor, view: Manifest) -> Platform | None:
    if desc.platform is not None:
        return desc.platform
    if view.config.media_type not in media.CONFIGS:
        return None
    return parse_config(await read(source, view.config)).platform
