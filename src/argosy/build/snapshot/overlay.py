"""Snapshots as overlayfs layer directories: one directory per step, mounted on top of one another.

Editing mounts the parent chain with a fresh upper directory; committing renames
that directory to its id, so a snapshot is there whole or not at all. A layer is the
tar of one directory: nothing is compared. Several processes may share one root.

A snapshot that was only stated (`apply`) is unpacked when it is edited or stood upon:
the layers of a chain all at once, each in a directory of its own, completed from the
bottom up by what they leave to those below.

Durability: nothing is flushed while building. `settle` (and `close`) flush once and
mark the new snapshots; those without the mark are forgotten after a restart of the
machine. So a cache record may name a snapshot that is gone (`exists`), but never one
that is damaged.
"""

import asyncio
import base64
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Self

from argosy.build.files.removal import remove_tree
from argosy.build.graph import Layer, Snapshot, Workspace
from argosy.build.layers.blob import LayerOptions, read_layer, write_layer
from argosy.build.layers.compression import Compression
from argosy.build.layers.leftovers import complete
from argosy.build.layers.pack import PackOptions
from argosy.build.layers.unpack import UnpackOptions
from argosy.build.sessions import storage_errors
from argosy.build.snapshot.mounts import Overlay, mount_overlay, sync_file_system, unmount
from argosy.build.snapshot.place import MERGED, Place, write
from argosy.build.snapshot.supply import Supply
from argosy.claims import Claims
from argosy.concurrency import gather, in_thread, in_thread_to_end
from argosy.content.store import Store
from argosy.errors import BuildError, NotFound
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest

CLAIMS = "in-use"  # beside the snapshots: what running builds use
_TIMELESS = "timeless"  # a file beside a snapshot's files: their times mean nothing
_AT_ONCE = 3  # layers; each holds a worker thread, and those that feed it need some too


class OverlaySnapshotter:
    """Snapshots below one directory; see `graph.Snapshotter`. Use it as `async with`.

    `compression` and `epoch` (SOURCE_DATE_EPOCH) say how `layer` writes layers;
    `supply` has the blobs of those that are not unpacked yet. Whatever is asked for
    is claimed until `close`, so that pruning leaves it.
    """

    def __init__(
        self,
        root: str,
        *,
        compression: Compression | None = None,
        epoch: int | None = None,
        supply: Supply | None = None,
        claims: Claims | None = None,
    ) -> None:
        self.root = os.path.abspath(root)
        self._claims = claims or Claims(os.path.join(os.path.dirname(self.root), CLAIMS))
        self._compression = compression or Compression()
        self._epoch = epoch
        self._place: Place | None = None
        self._supply = supply
        self._opening = asyncio.Lock()
        self._stated: dict[str, Layer] = {}  # by snapshot; what this process says comes first
        self._unpacking: dict[str, asyncio.Lock] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._fresh: list[str] = []  # ids committed but not marked durable yet

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    # The protocol

    @asynccontextmanager
    async def edit(self, parent: Snapshot | None) -> AsyncIterator[Workspace]:
        """A workspace on top of `parent`, mounted for as long as the block lasts."""
        workspace = _Workspace(await self._opened(), parent)
        try:
            await self._unpacked(parent)
            await in_thread_to_end(workspace.open)
            yield workspace
        finally:
            await in_thread_to_end(workspace.close)

    async def commit(self, workspace: Workspace, *, timeless: bool = False) -> Snapshot:
        """Keep what was written; the workspace is unmounted and of no more use."""
        if not isinstance(workspace, _Workspace):
            raise BuildError("this workspace is of another snapshotter")
        name = _random_id()

        def keep() -> None:
            self._claims.claim(name)
            workspace.keep(name, timeless=timeless)

        await in_thread_to_end(keep)
        self._fresh.append(name)
        return Snapshot(name, workspace.parent)

    async def layer(self, upper: Snapshot, into: Store) -> tuple[Descriptor, Digest]:
        """The changes of `upper` as a compressed layer in `into`, and its diffID."""
        place = await self._opened()
        options = LayerOptions(
            scratch=place.path,
            tar=PackOptions(overlay=True, epoch=self._epoch, timeless=await self._timeless(upper)),
            compression=self._compression,
        )
        return await write_layer(await self._there(upper), into, options)

    async def _timeless(self, snapshot: Snapshot) -> bool:
        return await in_thread(os.path.exists, os.path.join(self.root, snapshot.id, _TIMELESS))

    def apply(self, parent: Snapshot | None, layer: Layer) -> Snapshot:
        """State a layer on top of `parent`: its id follows from the two. Nothing is fetched yet."""
        snapshot = Snapshot(chain_id(parent, layer.diff_id), parent, layer)
        self._stated[snapshot.id] = layer
        return snapshot

    async def remove(self, snapshot: Snapshot) -> None:
        """Forget a snapshot nothing is built upon; no matter if it is gone already."""
        place = await self._opened()
        await in_thread_to_end(lambda: _remove(place, snapshot.id))

    # More

    async def exists(self, snapshot: Snapshot) -> bool:
        """Whether it, and everything below it, is here or can be had."""
        for missing in await self._missing(snapshot):
            layer = self._layer_of(missing)
            if layer is None or self._supply is None:
                return False
            if not await self._supply.exists(layer.descriptor):
                return False
        return True

    async def settle(self) -> None:
        """Make what was committed survive a power cut; may run while other work goes on."""
        fresh, self._fresh = self._fresh, []
        if fresh:
            await in_thread_to_end(lambda: self._settle(fresh))

    async def close(self) -> None:
        """Settle, then leave nothing of this process behind but snapshots."""
        place, self._place = self._place, None
        if place is not None:
            await self.settle()
            await in_thread_to_end(place.close)
        await in_thread(self._claims.close)

    async def _opened(self) -> Place:
        async with self._opening:
            if self._place is None:
                self._place = await in_thread(Place, self.root)
        return self._place

    def _folders(self, snapshot: Snapshot | None) -> list[str]:
        """The layer directories of a chain, the top one first."""
        return [self._folder(i) for i in _stack(snapshot)]

    def _folder(self, name: str) -> str:
        return os.path.join(self.root, name, "fs")

    async def _there(self, snapshot: Snapshot) -> str:
        await self._unpacked(snapshot)
        return self._folders(snapshot)[0]

    # Unpacking what was only stated

    async def _missing(self, snapshot: Snapshot | None) -> list[Snapshot]:
        """What of a chain is not unpacked, from the bottom, each layer directory once."""
        await self._opened()
        chain: dict[str, Snapshot] = {}
        while snapshot is not None:
            chain[snapshot.id], snapshot = snapshot, snapshot.parent

        def absent() -> list[Snapshot]:
            self._claims.claim(*chain)
            return [s for i, s in chain.items() if not os.path.isdir(self._folder(i))]

        return (await in_thread(absent))[::-1]

    def _layer_of(self, snapshot: Snapshot) -> Layer | None:
        return self._stated.get(snapshot.id) or snapshot.layer

    async def _unpacked(self, snapshot: Snapshot | None) -> None:
        """Let all of a chain be unpacked; NotFound if some of it is gone."""
        missing = await self._missing(snapshot)
        if not missing:
            return
        below: dict[str, asyncio.Event] = {}
        jobs = []
        for one in missing:
            jobs.append(self._unpacked_one(one, dict(below)))
            below[one.id] = asyncio.Event()
        await gather(self._told(below[one.id], job) for one, job in zip(missing, jobs, strict=True))

    @staticmethod
    async def _told(done: asyncio.Event, job: Coroutine[None, None, None]) -> None:
        await job
        done.set()

    async def _unpacked_one(self, snapshot: Snapshot, below: dict[str, asyncio.Event]) -> None:
        """Unpack one layer beside others; it is kept when all `below` it are."""
        layer = self._layer_of(snapshot)
        if layer is None or self._supply is None:
            raise NotFound(
                f"snapshot {snapshot.id} is gone",
                why="it, or one below it, was removed",
                remedy="build again",
            )
        async with self._unpacking.setdefault(snapshot.id, asyncio.Lock()):
            if await in_thread(os.path.isdir, self._folder(snapshot.id)):
                return
            workspace = _Workspace(await self._opened(), None)
            try:
                await in_thread_to_end(workspace.prepare)
                options = UnpackOptions(overlay=True, lowers=None, diff_id=layer.diff_id)
                async with self._slots:
                    done = await read_layer(
                        layer.descriptor, self._supply, workspace.upper, options
                    )
                for event in below.values():
                    await event.wait()
                lowers = self._folders(snapshot.parent)
                await in_thread_to_end(lambda: complete(workspace.upper, done.left, lowers))
                await in_thread_to_end(lambda: workspace.keep(snapshot.id))
                self._fresh.append(snapshot.id)
            finally:
                await in_thread_to_end(workspace.close)

    def _settle(self, fresh: list[str]) -> None:
        with storage_errors(f"write back {self.root}"):
            sync_file_system(self.root)
            for name in fresh:
                folder = os.path.join(self.root, name)
                if os.path.isdir(folder):
                    write(os.path.join(folder, "durable"), "")


class _Workspace:
    """A directory of its own in this process's place: upper and work directory, and the mount point."""

    def __init__(self, place: Place, parent: Snapshot | None) -> None:
        self._place = place
        self._parent = parent
        self._name = secrets.token_hex(4)
        self._path = os.path.join(place.path, self._name)
        self._mounted = False
        self.upper = os.path.join(self._path, "fs")

    @property
    def root(self) -> str:
        """The merged root; without a parent there is nothing to merge."""
        return os.path.join(self._path, MERGED) if self._parent else self.upper

    @property
    def parent(self) -> Snapshot | None:
        """What it started from."""
        return self._parent

    def prepare(self) -> None:
        """Make the directories (blocking); the upper one looks as the parent's root does."""
        with storage_errors(f"make a workspace in {self._place.root}"):
            for folder in (self._path, self.upper):
                os.mkdir(folder, 0o755)
            if self._parent is not None:
                like = self._parent_root()
                os.chown(self.upper, like.st_uid, like.st_gid)
                os.chmod(self.upper, stat.S_IMODE(like.st_mode))

    def _parent_root(self) -> os.stat_result:
        assert self._parent is not None
        try:
            return os.stat(os.path.join(self._place.root, self._parent.id, "fs"))
        except FileNotFoundError as e:
            raise NotFound(f"snapshot {self._parent.id} is gone", remedy="build again") from e

    def open(self) -> None:
        """Make the directories and mount (blocking)."""
        self.prepare()
        if self._parent is None:
            return
        with storage_errors(f"make a workspace in {self._place.root}"):
            for folder in ("work", MERGED):
                os.mkdir(os.path.join(self._path, folder), 0o700)
        below = f"work/{self._place.name}/{self._name}"
        mount_overlay(
            Overlay(
                top=self._place.root,
                lowers=tuple(f"{i}/fs" for i in _stack(self._parent)),
                upper=f"{below}/fs",
                work=f"{below}/work",
                target=f"{below}/{MERGED}",
            )
        )
        self._mounted = True

    def keep(self, name: str, *, timeless: bool = False) -> None:
        """Unmount, and let the upper directory be the snapshot `name` (blocking)."""
        if not os.path.isdir(self.upper):
            raise BuildError("this workspace was committed or left already")
        self._unmount()
        with storage_errors(f"keep a snapshot in {self._place.root}"):
            for folder in ("work", MERGED):
                remove_tree(os.path.join(self._path, folder))
            write(os.path.join(self._path, "boot"), self._place.boot)
            if timeless:
                write(os.path.join(self._path, _TIMELESS), "")
            target = os.path.join(self._place.root, name)
            try:
                os.rename(self._path, target)
            except OSError:
                if not os.path.isdir(os.path.join(target, "fs")):
                    raise
                # Another process applied the same layer meanwhile; the two are equal.

    def close(self) -> None:
        """Unmount, and remove what was not kept (blocking)."""
        self._unmount()
        with storage_errors(f"clean up {self._place.root}"):
            remove_tree(self._path)

    def _unmount(self) -> None:
        if self._mounted:
            unmount(os.path.join(self._path, MERGED))
            self._mounted = False


def _remove(place: Place, name: str) -> None:
    with storage_errors(f"remove a snapshot from {place.root}"):
        away = os.path.join(place.path, secrets.token_hex(4))
        try:
            os.rename(os.path.join(place.root, name), away)
        except FileNotFoundError:
            return
        shutil.rmtree(away)


def _stack(snapshot: Snapshot | None) -> tuple[str, ...]:
    """The layer directories of a chain, the top one first, each once.

    One that stands in a chain twice (two equal COPY --link) counts where it is on top:
    there it hides itself further below, and overlayfs takes no directory twice.
    """
    return tuple(dict.fromkeys(snapshot.chain[::-1])) if snapshot else ()


def chain_id(parent: Snapshot | None, diff_id: Digest) -> str:
    """The id of a layer on a parent: 120 bits, too many to find two that collide."""
    words = f"{parent.id if parent else ''} {diff_id}"
    return _short(hashlib.sha256(words.encode()).digest())


def _random_id() -> str:
    return _short(secrets.token_bytes(15))


def _short(data: bytes) -> str:
    # Short, since the ids of all layers have to fit into one page of mount options.
    return base64.b32encode(data[:15]).decode().lower()
