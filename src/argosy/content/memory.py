"""A Store in memory: the reference for the conformance suite, and handy in tests."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from argosy.content.store import Body, Swapped
from argosy.content.verify import verified
from argosy.errors import NotFound
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.manifest import parse_manifest


class MemoryStore:
    """One repository held in dictionaries."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}
        self._manifests: dict[Digest, Descriptor] = {}
        self._tags: dict[str, Digest] = {}

    async def resolve(self, ref: str) -> Descriptor:
        """The manifest a tag or digest stands for."""
        found = self._manifests.get(self._tags.get(ref, Digest(ref)))
        if found is None:
            raise NotFound(f"no manifest {ref!r} in memory")
        return found

    async def exists(self, desc: Descriptor) -> bool:
        """Whether the bytes are here."""
        return desc.digest in self._blobs

    @asynccontextmanager
    async def open(
        self, desc: Descriptor, *, start: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes, in one piece."""
        if (body := self._blobs.get(desc.digest)) is None:
            raise NotFound(f"no blob {desc.digest} in memory")
        yield _piece(body[start:])

    async def put(self, desc: Descriptor, body: Body) -> None:
        """Keep the bytes if they are the descriptor's."""
        pieces = [bytes(piece) async for piece in verified(desc, body)]
        self._blobs[desc.digest] = b"".join(pieces)
        if media.is_manifest(desc.media_type):
            self._manifests[desc.digest] = desc

    async def tag(self, desc: Descriptor, ref: str) -> None:
        """Point a tag at a manifest."""
        if desc.digest not in self._manifests:
            raise NotFound(f"no manifest {desc.digest} in memory to tag {ref!r}")
        self._tags[ref] = desc.digest

    async def swap(self, desc: Descriptor, ref: str, expected: Digest | None) -> Swapped:
        """Point a tag at a manifest, if it still stands for `expected`."""
        if self._tags.get(ref) != expected:
            return "changed"
        await self.tag(desc, ref)
        return "done"

    async def tags(self) -> AsyncIterator[str]:
        """Every tag, in order."""
        for tag in sorted(self._tags):
            yield tag

    async def referrers(self, digest: Digest, artifact_type: str = "") -> Sequence[Descriptor]:
        """The manifests whose subject is `digest`."""
        found = []
        for desc in self._manifests.values():
            view = parse_manifest(self._blobs[desc.digest], desc.media_type)
            if view.subject and view.subject.digest == digest and artifact_type in ("", view.kind):
                found.append(as_referrer(desc, view.kind, dict(view.annotations)))
        return found

    async def delete(self, ref: str) -> None:
        """Forget a tag, or a manifest with its tags."""
        if self._tags.pop(ref, None) is not None:
            return
        digest = Digest(ref)
        if self._manifests.pop(digest, None) is None:
            raise NotFound(f"no manifest {ref!r} in memory")
        del self._blobs[digest]
        self._tags = {t: d for t, d in self._tags.items() if d != digest}


def as_referrer(desc: Descriptor, kind: str, annotations: dict[str, str]) -> Descriptor:
    """The descriptor a referrers listing shows (distribution-spec, Listing Referrers)."""
    return Descriptor(
        media_type=desc.media_type,
        digest=desc.digest,
        size=desc.size,
        artifact_type=kind,
        annotations=annotations,
    )


async def _piece(body: bytes) -> AsyncIterator[bytes]:
    yield body
