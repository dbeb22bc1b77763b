"""Pruning: what goes is decided and taken away while nobody can claim it; then it is removed.

The order is what makes it sound wherever it is broken off: first the records are
forgotten, then directories are renamed into the trash, then blobs go, manifests before
what they name. The trash is emptied last, by whoever comes next if this process dies.
"""

import os
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass

from argosy.build.cache import BuildCache
from argosy.build.disk.filters import Filter
from argosy.build.disk.items import Item, children_of
from argosy.build.disk.sizes import Sizes
from argosy.build.disk.survey import TRASH, Survey
from argosy.build.files.removal import remove_tree
from argosy.build.sessions import storage_errors
from argosy.build.snapshot.overlay import CLAIMS
from argosy.build.snapshot.place import Place
from argosy.claims import Claims
from argosy.concurrency import in_thread, in_thread_to_end
from argosy.content.store import Spares, Store
from argosy.errors import StorageError
from argosy.values import frozen

_LEAST = 1 << 20  # bytes; what SQLite and a session need is less
_INTERNAL = ("internal", "frontend", "source.local")  # small, and of use to every build


def _all(_item: Item) -> bool:
    return True


@frozen(kw_only=True)
class Disk:
    """The file system that the state is on, in bytes."""

    size: int
    free: int

    @classmethod
    def of(cls, path: str) -> "Disk":
        """As it is now (blocking); of the nearest directory there is."""
        while not os.path.isdir(path):
            path = os.path.dirname(path)
        found = os.statvfs(path)
        return cls(size=found.f_blocks * found.f_frsize, free=found.f_bavail * found.f_frsize)


@frozen(kw_only=True)
class Request:
    """What to prune: items `wanted`, unused for `keep` seconds, until the caps hold; bytes, 0 is no cap.

    `reserved` is what is always left to the state, whatever the caps say.
    """

    wanted: Filter = _all
    everything: bool = False  # internal items too
    keep: float = 0.0
    most_used: int = 0
    least_free: int = 0
    reserved: int = 0

    @property
    def has_cap(self) -> bool:
        """Whether something may stay."""
        return bool(self.most_used or self.least_free or self.reserved)

    def target(self, total: int, disk: Disk) -> int:
        """The size the state may have, in bytes."""
        if not self.has_cap:
            return 0
        caps = [self.most_used] if self.most_used else []
        if self.least_free:
            caps.append(total + disk.free - self.least_free)
        return max(min(caps, default=0), self.reserved, 0)


@frozen(kw_only=True)
class Pruned:
    """What went, and the size the state has now; `above` is how much that is too much."""

    items: tuple[Item, ...] = ()
    total: int = 0
    above: int = 0

    @property
    def size(self) -> int:
        """Bytes that were freed."""
        return sum(item.size for item in self.items)


def plan(items: Sequence[Item], request: Request, disk: Disk, now: float) -> list[Item]:
    """What is to go, the least recently used first, what stands on something before it."""
    total = sum(item.size for item in items)
    target = request.target(total, disk)
    children = children_of(items)
    depth = _depths(items)
    left = {item.id: item for item in items}
    going: list[Item] = []
    for item in sorted(items, key=lambda i: (i.used, -depth[i.id], i.id)):
        if request.has_cap and total <= target:
            break
        if item.id not in left:
            continue
        # Linked layers may stand on one another in turn: such go together.
        whole = [left[name] for name in _above(item.id, children) if name in left]
        if all(_may_go(one, request, now) for one in whole):
            going += whole
            total -= sum(one.size for one in whole)
            for one in whole:
                del left[one.id]
    return going


def _above(name: str, children: Mapping[str, set[str]]) -> list[str]:
    """An item, and all that stands on it, at whatever height; the highest first."""
    found = {name: None}
    pending = [name]
    while pending:
        for child in children.get(pending.pop(), ()):
            if child not in found:
                found[child] = None
                pending.append(child)
    return list(found)[::-1]


def _steps(items: Sequence[Item]) -> set[str]:
    return {item.id for item in items if item.kind == "regular"}


def _has_room(path: str) -> bool:
    return Disk.of(path).free >= _LEAST


def _may_go(item: Item, request: Request, now: float) -> bool:
    internal = item.kind in _INTERNAL and not request.everything
    old = item.used <= now - request.keep if request.keep else True
    return item.is_reclaimable and not internal and old and request.wanted(item)


def _depths(items: Sequence[Item]) -> dict[str, int]:
    """How many items each stands on, the longest way."""
    parents = {item.id: item.parents for item in items}
    found: dict[str, int] = {}
    for start in parents:
        pending = [start]
        while pending:
            name = pending[-1]
            missing = [p for p in parents.get(name, ()) if p in parents and p not in found]
            if missing and len(pending) <= len(parents):
                pending += missing
                continue
            found[name] = 1 + max((found.get(p, 0) for p in parents.get(name, ())), default=-1)
            pending.pop()
    return found


@dataclass(slots=True)
class State:
    """The build state below a directory, and the store of the images of this machine."""

    path: str
    images: Store
    sizes: Sizes

    @classmethod
    def of(cls, home: str, images: Store) -> "State":
        """Of an ARGOSY_HOME."""
        path = os.path.join(home, "build")
        return cls(path, images, Sizes(path))

    async def items(self) -> list[Item]:
        """What there is, without changing anything."""
        if not await in_thread(os.path.isdir, self.path):
            return []
        claimed = await in_thread(Claims(self._claims).claimed)
        async with self._cache() as cache:
            items = await Survey(self.path, cache, self.images, self.sizes).items(claimed)
        await in_thread(self.sizes.save)
        return items

    async def prune(self, *requests: Request) -> Pruned:
        """Remove what each of the requests, one after the other, wants to go."""
        if not await in_thread(os.path.isdir, self.path):
            return Pruned()
        await in_thread_to_end(self._swept)
        await self.items()  # measures what is not in the table, while builds may go on
        gone: list[Item] = []
        async with self._cache() as cache, self._alone() as claimed:
            items = await Survey(self.path, cache, self.images, self.sizes).items(claimed)
            disk, now = await in_thread(Disk.of, self.path), time.time()
            for request in requests:
                found = plan(items, request, disk, now)
                items = [item for item in items if item not in found]
                size = sum(item.size for item in found)
                disk = Disk(size=disk.size, free=disk.free + size)
                gone += found
            await self._take(gone, cache, claimed)
        await in_thread_to_end(self._emptied)
        if cache.is_frozen:  # there is room now
            with suppress(StorageError):
                async with BuildCache(os.path.join(self.path, "cache.db")) as cache:
                    await cache.forget(_steps(gone))
        await in_thread(self.sizes.save)
        total = sum(item.size for item in items)
        above = max((total - r.target(total, disk) for r in requests if r.has_cap), default=0)
        return Pruned(items=tuple(gone), total=total, above=max(0, above))

    async def _take(self, gone: Sequence[Item], cache: BuildCache, claimed: frozenset[str]) -> None:
        # A full disk must not keep us from emptying it: a record without its snapshot is a miss.
        with suppress(StorageError):
            await cache.forget(_steps(gone))
        await in_thread_to_end(lambda: self._renamed([i.place for i in gone if i.place]))
        blobs = {digest for item in gone for digest in item.blobs}
        if blobs and isinstance(self.images, Spares):
            await self.images.drop(blobs, claimed)
        if len(gone) > 0:
            await cache.shrink()

    @property
    def _claims(self) -> str:
        return os.path.join(self.path, CLAIMS)

    @asynccontextmanager
    async def _cache(self) -> AsyncIterator[BuildCache]:
        """The records; on a disk that is full to the last byte they can only be read."""
        path = os.path.join(self.path, "cache.db")
        async with AsyncExitStack() as stack:
            try:
                cache = await stack.enter_async_context(BuildCache(path))
            except StorageError:
                if await in_thread(_has_room, self.path):
                    raise
                cache = await stack.enter_async_context(BuildCache(path, frozen=True))
            yield cache

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[frozenset[str]]:
        removing = Claims(self._claims).removing()
        claimed = await in_thread(removing.__enter__)
        try:
            yield claimed
        finally:
            removing.__exit__(None, None, None)

    # What follows blocks: it runs in threads.

    def _swept(self) -> None:
        """Remove what dead processes left."""
        self._emptied()
        snapshots = os.path.join(self.path, "snapshots")
        if os.path.isdir(snapshots) and _has_room(self.path):
            Place(snapshots).close()

    def _emptied(self) -> None:
        trash = os.path.join(self.path, TRASH)
        with storage_errors(f"remove {trash}"):
            os.makedirs(
                trash, mode=0o700, exist_ok=True
            )  # it stays: a full disk has no room for it
            for name in os.listdir(trash):
                remove_tree(os.path.join(trash, name))

    def _renamed(self, places: Sequence[str]) -> None:
        trash = os.path.join(self.path, TRASH)
        with storage_errors(f"remove from {self.path}"):
            for place in places:
                if place == "files.db":
                    self._forget_digests()
                    continue
                with suppress(FileNotFoundError):
                    os.rename(
                        os.path.join(self.path, place), os.path.join(trash, secrets.token_hex(8))
                    )

    def _forget_digests(self) -> None:
        path = os.path.join(self.path, "files.db")
        with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=1)) as db:
            db.execute("DELETE FROM files")
            db.commit()
            db.execute("VACUUM")
