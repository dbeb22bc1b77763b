"""Snapshots that a cache promised: their layers are fetched and unpacked when something must see them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from argosy.build.graph import Snapshot, Snapshotter, Workspace
from argosy.build.origins import Origins
from argosy.content.copy import SourceBody
from argosy.content.store import Source, Store
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest


@dataclass(slots=True)
class Promised:
    """A Snapshotter that takes promised snapshots for real ones, and makes them so.

    What a layer fails with (ContentError, NotFound, NetworkError) comes out of `edit`
    and `layer`: it is for the solver to go back on the promise.
    """

    snapshots: Snapshotter
    origins: Origins
    _kept: dict[str, Snapshot] = field(default_factory=dict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    @asynccontextmanager
    async def edit(self, parent: Snapshot | None) -> AsyncIterator[Workspace]:
        """A workspace on top of `parent`, which is unpacked first if it must be."""
        async with self.snapshots.edit(await self._real(parent)) as workspace:
            yield workspace

    async def commit(self, workspace: Workspace) -> Snapshot:
        """As the snapshotter does."""
        return await self.snapshots.commit(workspace)

    async def layer(self, upper: Snapshot, into: Store) -> tuple[Descriptor, Digest]:
        """The layer that was promised, brought here; or the changes of a snapshot made here."""
        if upper.layer is None:
            return await self.snapshots.layer(upper, into)
        desc = upper.layer.descriptor
        if not await into.exists(desc):
            body = SourceBody(self.origins, desc)
            try:
                await into.put(desc, body)
            finally:
                await body.close()
        return desc, upper.layer.diff_id

    async def apply(
        self, parent: Snapshot | None, layer: Descriptor, diff_id: Digest, source: Source
    ) -> Snapshot:
        """As the snapshotter does."""
        return await self.snapshots.apply(await self._real(parent), layer, diff_id, source)

    async def remove(self, snapshot: Snapshot) -> None:
        """As the snapshotter does."""
        await self.snapshots.remove(snapshot)

    async def _real(self, snapshot: Snapshot | None) -> Snapshot | None:
        if snapshot is None or snapshot.layer is None:
            return snapshot
        async with self._locks.setdefault(snapshot.id, asyncio.Lock()):
            if snapshot.id not in self._kept:
                below = await self._real(snapshot.parent)
                layer = snapshot.layer
                self._kept[snapshot.id] = await self.snapshots.apply(
                    below, layer.descriptor, layer.diff_id, self.origins
                )
        return self._kept[snapshot.id]
