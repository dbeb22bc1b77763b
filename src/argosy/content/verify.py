"""Checking bytes against their name while they flow, and stores for what they should hold."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from argosy.concurrency import gather, in_thread
from argosy.content.store import Body, BytesBody, Source
from argosy.errors import DigestMismatch, InvalidDigest, ManifestInvalid, NotFound, SizeMismatch
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.manifest import parse_manifest

MAX_READ = 32 << 20
"""Bytes of a manifest or config worth having in memory; registries cap manifests at 4 MiB."""

_THREAD_FROM = 256 << 10  # a smaller piece hashes faster than a thread is reached


class Verifier:
    """Counts and hashes pieces; `close` raises unless they were exactly the descriptor's bytes."""

    def __init__(self, desc: Descriptor) -> None:
        self._desc = desc
        self._hash = desc.digest.hasher()
        self.count = 0

    def update(self, piece: bytes) -> None:
        """Take the next piece; SizeMismatch as soon as there are too many bytes."""
        self.count += len(piece)
        if self.count > self._desc.size:
            raise SizeMismatch(str(self._desc), expected=self._desc.size, actual=self.count)
        self._hash.update(piece)

    def close(self) -> None:
        """Raise SizeMismatch or DigestMismatch unless all bytes came and were right."""
        if self.count != self._desc.size:
            raise SizeMismatch(str(self._desc), expected=self._desc.size, actual=self.count)
        actual = Digest.from_hash(self._hash)
        if actual != self._desc.digest:
            raise DigestMismatch(
                f"{self._desc.media_type or 'blob'}", expected=self._desc.digest, actual=actual
            )


async def verified(desc: Descriptor, body: Body) -> AsyncIterator[bytes]:
    """The same pieces; after the last one SizeMismatch or DigestMismatch if they were not `desc`'s.

    The last piece is given out before the verdict: a consumer commits only after
    the iteration has ended well.
    """
    verifier = Verifier(desc)
    async for piece in body:
        if len(piece) < _THREAD_FROM:
            verifier.update(piece)
        else:
            await in_thread(verifier.update, piece)
        yield piece
    verifier.close()


async def read(source: Source, desc: Descriptor) -> bytes:
    """All bytes of a small descriptor (a manifest, a config), verified.

    ManifestInvalid if it claims to be longer than such things are: who writes a
    manifest must not choose how much memory its readers need.
    """
    if desc.size > MAX_READ:
        raise ManifestInvalid(
            f"{desc.media_type or 'blob'} {desc.digest} is said to have {desc.size} bytes",
            why=f"no manifest or config of more than {MAX_READ} bytes is read",
            remedy="look at the manifest that names it",
        )
    if desc.data is not None:
        return await _joined(verified(desc, BytesBody(desc.data)))
    async with source.open(desc) as body:
        return await _joined(verified(desc, body))


async def _joined(body: Body) -> bytes:
    return b"".join([bytes(piece) async for piece in body])


async def missing(
    source: Source, desc: Descriptor, *, looks: asyncio.Semaphore | None = None
) -> Sequence[Descriptor]:
    """What is not there of a manifest and all below it, read and checked where it should be.

    A manifest that is missing or damaged stands for everything below it. Layers
    that are fetched from their own URLs need not be there.
    """
    looks = looks or asyncio.Semaphore(8)
    if not media.is_manifest(desc.media_type):
        async with looks:
            return () if await source.exists(desc) else (desc,)
    try:
        async with looks:
            view = parse_manifest(await read(source, desc), desc.media_type)
    except (NotFound, DigestMismatch, SizeMismatch, ManifestInvalid, InvalidDigest):
        return (desc,)
    below = [c for c in view.children if not media.is_nondistributable(c.media_type)]
    found = await gather(missing(source, child, looks=looks) for child in below)
    return [absent for group in found for absent in group]
