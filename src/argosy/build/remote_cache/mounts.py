"""Cache mounts that travel: each directory of RUN --mount=type=cache as one layer (`mounts=true`).

A mount is a record as any other, under a key made of its id, in a part of its own
beside those of the platforms. It is unpacked only where there is none yet.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from argosy.build.dockerfile.plan import CacheMount
from argosy.build.files.removal import remove_tree
from argosy.build.graph import Op, Work
from argosy.build.layers.blob import LayerOptions, put_layer, read_layer
from argosy.build.layers.pack import PackOptions, pack
from argosy.build.layers.unpack import UnpackOptions
from argosy.build.remote_cache.format import CacheRecord, CacheWriter
from argosy.build.remote_cache.imports import Imported
from argosy.build.remote_cache.shelf import Part
from argosy.build.steps.mounts import cache_directory
from argosy.build.steps.ops import Run, key_of
from argosy.concurrency import in_thread, in_thread_to_end
from argosy.content.store import Store
from argosy.errors import ArgosyError
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.observe import Event
from argosy.values import frozen

SCOPE = "cache mounts"
_BUSY_SECONDS = 10.0  # for which a locked mount is waited for
_POLL = 0.1


def mount_key(name: str) -> Digest:
    """The key of a mount's record, by its id."""
    return key_of("cache mount/1", name)


def mounts_of(ops: Iterable[Op]) -> list[CacheMount]:
    """The cache mounts that steps use, each id once, in order."""
    found: dict[str, CacheMount] = {}
    for op in ops:
        for one in op.attached if isinstance(op, Run) else ():
            if isinstance(one.mount, CacheMount) and not one.mount.readonly:
                found.setdefault(one.mount.id, one.mount)
    return [found[name] for name in sorted(found)]


@frozen
class MountExport:
    """Packs the cache mounts of this machine; a mount in the middle of a change is left out."""

    work: Work
    into: Store
    scratch: str

    async def part(self, mounts: Sequence[CacheMount]) -> Part:
        """A record for each mount that there is."""
        writer, blobs = CacheWriter(), dict[Digest, Descriptor]()
        now = int(time.time())
        for mount in mounts:
            found = await self._packed(mount)
            if found is None:
                continue
            layer, diff_id = found
            blobs[layer.digest] = layer
            record = CacheRecord(
                keys=(mount_key(mount.id),),
                top=None,
                step=f"cache mount {mount.id}",
                created=now,
                used=now,
            )
            writer.add(record, [(diff_id, layer.digest)])
        return Part(config=writer.config(), blobs=blobs)

    async def _packed(self, mount: CacheMount) -> tuple[Descriptor, Digest] | None:
        path = cache_directory(self.work.cache_mounts, mount.id)
        if self.work.claims is not None:
            await in_thread(self.work.claims.claim, f"mounts/{os.path.basename(path)}")
        data = os.path.join(path, "data")
        if not await in_thread(_has_files, data):
            return None
        try:
            async with _held(path, mount.sharing):
                options = LayerOptions(scratch=self.scratch)
                tar = PackOptions()
                return await put_layer(lambda write: pack(data, write, tar), self.into, options)
        except (ArgosyError, OSError, TimeoutError) as e:
            self._warn(mount.id, f"it is not exported: somebody is using it ({e})")
            return None

    def _warn(self, name: str, text: str) -> None:
        shown = f"cache mount {name}"
        self.work.report(Event("warning", shown, shown, text=f"{shown}: {text}"))


@frozen
class MountImport:
    """Fills cache mounts that are new on this machine from the caches of others."""

    caches: Sequence[Imported]
    loads: "Sequence[asyncio.Task[None]]"
    seconds: float  # to wait for the caches' records

    async def __call__(self, name: str, directory: str) -> bool:
        """Fill an empty directory with what a mount of this id held elsewhere; False if there is nothing."""
        if pending := [load for load in self.loads if not load.done()]:
            await asyncio.wait(pending, timeout=self.seconds)
        for cache in self.caches:
            hit = await cache.look_up(mount_key(name), {}) if cache.wanted.mounts else None
            if hit is None or len(hit.chain) != 1:
                continue
            layer = hit.chain[0]
            options = UnpackOptions(diff_id=layer.diff_id)
            try:
                await read_layer(layer.descriptor, cache.layers, directory, options)
            except ArgosyError as e:
                cache.warn(f"what it has of cache mount {name} is not used", e)
                await in_thread_to_end(lambda: _emptied(directory))
                continue
            return True
        return False


def _emptied(directory: str) -> None:
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        if os.path.isdir(path) and not os.path.islink(path):
            remove_tree(path)
        else:
            os.unlink(path)


def _has_files(path: str) -> bool:
    try:
        return bool(os.listdir(path))
    except FileNotFoundError:
        return False


@asynccontextmanager
async def _held(path: str, sharing: str) -> AsyncIterator[None]:
    """The mount's lock, as a step would take it; TimeoutError if it stays taken."""
    if sharing == "shared":
        yield
        return
    fd = await in_thread(os.open, os.path.join(path, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        async with asyncio.timeout(_BUSY_SECONDS):
            while True:
                if await in_thread(_locked, fd):
                    break
                await asyncio.sleep(_POLL)
        yield
    finally:
        os.close(fd)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
