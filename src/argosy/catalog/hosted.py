"""HostedRepository: one repository of this registry as a Store, catalog rows over a blob store."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from argosy.catalog.catalog import Catalog
from argosy.catalog.registry.manifests import Incoming
from argosy.catalog.registry.rows import ReferrersQuery
from argosy.content.blob_storage import BlobStorage, store
from argosy.content.store import Body, BytesBody, Source
from argosy.content.verify import verified
from argosy.errors import NotFound
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest

_PAGE: Final = 1000


class HostedRepository:
    """One repository; also Mounts, Referrers, ListsTags and Deletes."""

    def __init__(self, catalog: Catalog, blobs: BlobStorage, name: str) -> None:
        self.catalog: Final = catalog
        self.name: Final = name
        self._blobs = blobs

    async def resolve(self, ref: str) -> Descriptor:
        """The manifest a tag or digest stands for."""
        if (found := await self.catalog.manifest(self.name, ref)) is None:
            raise NotFound(f"no manifest {ref!r} in {self.name}")
        return found.descriptor

    async def exists(self, desc: Descriptor) -> bool:
        """Whether this repository has it."""
        if media.is_manifest(desc.media_type):
            return await self.catalog.manifest(self.name, desc.digest) is not None
        return await self.catalog.blob(self.name, desc.digest) is not None

    @asynccontextmanager
    async def open(
        self, desc: Descriptor, *, start: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes from offset `start`."""
        if (held := await self.catalog.manifest(self.name, desc.digest)) is not None:
            yield BytesBody(held.body).at(start)
            return
        if (stored := await self.catalog.blob(self.name, desc.digest)) is None:
            raise NotFound(f"no blob {desc.digest} in {self.name}")
        async with self._blobs.open(desc, start=start, key=stored.key) as body:
            yield body

    async def put(self, desc: Descriptor, body: Body) -> None:
        """Keep a blob, or a manifest all of whose children are here."""
        if media.is_manifest(desc.media_type):
            whole = b"".join([bytes(piece) async for piece in verified(desc, body)])
            new = Incoming.parse(whole, desc.media_type, desc.digest)
            await self.catalog.put_manifest(self.name, new)
        else:
            await store(
                self._blobs,
                self.name,
                desc,
                body,
                lambda stored: self.catalog.link_blob(self.name, desc.digest, stored),
            )

    async def tag(self, desc: Descriptor, ref: str) -> None:
        """Point a tag at a manifest that is here."""
        await self.catalog.tag(self.name, desc.digest, ref)

    async def mount(self, desc: Descriptor, source: Source) -> bool:
        """Take a blob from another repository of the same registry."""
        if not isinstance(source, HostedRepository) or source.catalog is not self.catalog:
            return False
        return await self.catalog.mount(self.name, desc.digest, source.name)

    async def tags(self) -> AsyncIterator[str]:
        """Every tag, in order."""
        page = await self.catalog.tags(self.name, "", _PAGE)
        while page:
            for tag in page:
                yield tag
            page = await self.catalog.tags(self.name, page[-1], _PAGE)

    async def referrers(self, digest: Digest, artifact_type: str = "") -> Sequence[Descriptor]:
        """The manifests whose subject is `digest`."""
        found: list[Descriptor] = []
        while True:
            last = found[-1].digest if found else ""
            page = await self.catalog.referrers(
                self.name,
                ReferrersQuery(subject=digest, artifact_type=artifact_type, last=last, count=_PAGE),
            )
            found += page
            if not page:  # fewer than asked for do not mean that there are no more
                return found

    async def delete(self, ref: str) -> None:
        """Forget a tag, or a manifest with its tags."""
        if ":" in ref:
            await self.catalog.delete_manifest(self.name, Digest.parse(ref))
        else:
            await self.catalog.delete_tag(self.name, ref)
