"""The content graph: what hangs below a descriptor."""

from collections.abc import Awaitable, Callable, Sequence

from argosy.content.store import Source
from argosy.content.verify import read
from argosy.errors import ManifestInvalid
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.manifest import MAX_MANIFEST, Index, Manifest, parse_manifest

Children = Callable[[Source, Descriptor], Awaitable[Sequence[Descriptor]]]


async def children(source: Source, desc: Descriptor) -> Sequence[Descriptor]:
    """What must be present for `desc` to be whole, without what is fetched from its own URLs.

    A blob has none. `subject` is not a child: it may be missing by the spec.
    """
    if not media.is_manifest(desc.media_type):
        return ()
    return [
        c
        for c in (await manifest(source, desc)).children
        if not media.is_nondistributable(c.media_type)
    ]


async def manifest(source: Source, desc: Descriptor) -> Manifest | Index:
    """The manifest or index behind a descriptor, its bytes verified; ManifestInvalid if it is neither."""
    if desc.size > 4 * MAX_MANIFEST:
        raise ManifestInvalid(
            f"manifest {desc.digest} claims {desc.size} bytes",
            why=f"registries accept at most {MAX_MANIFEST} bytes",
            remedy="this is not an image manifest: check the reference",
        )
    return parse_manifest(await read(source, desc), desc.media_type)
