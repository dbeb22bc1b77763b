"""Lazy snapshots: nothing is fetched before something must see it, and then once, side by side."""

import asyncio
import gzip
import io
import os
import stat
import tarfile
from contextlib import asynccontextmanager

import pytest

from argosy.build.graph import Layer, Snapshot
from argosy.build.origins import Origins
from argosy.build.snapshot.overlay import OverlaySnapshotter
from argosy.build.snapshot.supply import Supply
from argosy.content.memory import MemoryStore
from argosy.content.store import put_bytes
from argosy.errors import DigestMismatch, NoSpace, NotFound
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.stores.layout import OCILayout

pytestmark = pytest.mark.root


def tar_of(*members):
    """A tar of (name, data or None for a directory, attributes)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data, more in members:
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
            info.size, info.mode = len(data or b""), 0o644 if data is not None else 0o755
            for key, value in more.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data or b""))
    return out.getvalue()


async def stored(store, *members):
    tar = tar_of(*members)
    body = gzip.compress(tar, mtime=0)
    desc = await put_bytes(store, Descriptor.of(media.OCI_LAYER_GZIP, body), body)
    return Layer(desc, Digest.of(tar))


class Watched(MemoryStore):
    """Counts readings, and can hold them until so many are under way."""

    def __init__(self, together=1):
        super().__init__()
        self.opened = []
        self.together = together
        self.all_here = asyncio.Event()

    @asynccontextmanager
    async def open(self, desc, *, start=0):
        self.opened.append(desc.digest)
        if len(self.opened) >= self.together:
            self.all_here.set()
        async with asyncio.timeout(10):
            await self.all_here.wait()
        async with super().open(desc, start=start) as body:
            yield body


@pytest.fixture
def top(tmp_path):
    yield str(tmp_path / "snapshots")
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        assert str(tmp_path) not in mounts.read(), "a mount was left behind"


def chain(snapshots, *layers):
    snapshot = None
    for layer in layers:
        snapshot = snapshots.apply(snapshot, layer)
    return snapshot


async def names(snapshots, snapshot):
    async with snapshots.edit(snapshot) as view:
        return sorted(os.listdir(view.root))


async def test_nothing_is_fetched_until_something_must_see_it(top):
    remote, here = Watched(), MemoryStore()
    layers = [await stored(remote, (n, b"x", {})) for n in "abc"]
    origins = Origins(here)
    origins.add([layer.descriptor for layer in layers], remote)
    async with OverlaySnapshotter(top, supply=Supply(source=origins, keep=here)) as snapshots:
        snapshot = chain(snapshots, *layers)
        assert await snapshots.exists(snapshot)
        assert remote.opened == []
        assert await names(snapshots, snapshot) == ["a", "b", "c"]
        assert await names(snapshots, snapshot) == ["a", "b", "c"]
    assert sorted(remote.opened) == sorted(layer.descriptor.digest for layer in layers)
    assert all([await here.exists(layer.descriptor) for layer in layers])


async def test_layers_of_a_chain_are_fetched_side_by_side(top):
    remote = Watched(together=3)  # a reading goes on only when three are under way
    layers = [await stored(remote, (n, b"x", {})) for n in "abc"]
    async with OverlaySnapshotter(top, supply=Supply(source=remote)) as snapshots:
        assert await names(snapshots, chain(snapshots, *layers)) == ["a", "b", "c"]


async def test_many_who_ask_at_once_for_overlapping_chains_share_the_work(top):
    remote = Watched()
    layers = [await stored(remote, (f"f{n}", b"x", {})) for n in range(8)]
    async with OverlaySnapshotter(top, supply=Supply(source=remote)) as snapshots:
        chains = [chain(snapshots, *layers[: n + 1]) for n in range(8) for _ in range(3)]
        found = await asyncio.gather(*(names(snapshots, c) for c in reversed(chains)))
    assert sorted(map(len, found)) == sorted(n + 1 for n in range(8) for _ in range(3))
    assert len(remote.opened) == 8


async def test_two_processes_worth_of_snapshotters_over_one_directory_agree(top):
    remote = MemoryStore()
    layers = [await stored(remote, (f"f{n}", b"x", {})) for n in range(4)]
    async with (
        OverlaySnapshotter(top, supply=Supply(source=remote)) as one,
        OverlaySnapshotter(top, supply=Supply(source=remote)) as two,
    ):
        found = await asyncio.gather(*(names(s, chain(s, *layers)) for s in (one, two)))
    assert found[0] == found[1] == ["f0", "f1", "f2", "f3"]


async def test_a_directory_without_an_entry_is_as_in_the_layer_below_whatever_comes_first(top):
    store = MemoryStore()
    below = await stored(store, ("d", None, {"mode": 0o711, "uid": 3, "gid": 4}))
    above = await stored(store, ("d/f", b"x", {}))
    async with OverlaySnapshotter(top, supply=Supply(source=store)) as snapshots:
        async with snapshots.edit(chain(snapshots, below, above)) as view:
            found = os.stat(os.path.join(view.root, "d"))
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o711, 3, 4)


async def test_the_root_keeps_what_a_lower_layer_says_of_it(top):
    store = MemoryStore()
    below = await stored(store, (".", None, {"mode": 0o750, "uid": 3, "gid": 4}))
    above = await stored(store, ("f", b"x", {}))
    async with OverlaySnapshotter(top, supply=Supply(source=store)) as snapshots:
        async with snapshots.edit(chain(snapshots, below, above)) as view:
            found = os.stat(view.root)
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o750, 3, 4)


async def test_a_blob_that_is_not_what_it_says_is_not_kept(top):
    remote, here = MemoryStore(), MemoryStore()
    layer = await stored(remote, ("a", b"x", {}))
    # The same tar, packed otherwise: it unpacks well, but it is not that blob.
    other = gzip.compress(tar_of(("a", b"x", {})), mtime=1)
    assert len(other) == layer.descriptor.size
    remote._blobs[layer.descriptor.digest] = other
    async with OverlaySnapshotter(top, supply=Supply(source=remote, keep=here)) as snapshots:
        with pytest.raises(DigestMismatch):
            await names(snapshots, chain(snapshots, layer))
    assert here._blobs == {}
    assert not [n for n in os.listdir(top) if os.path.isdir(os.path.join(top, n, "fs"))]


async def test_a_full_store_is_said_and_leaves_nothing(top):
    class Full(MemoryStore):
        async def put(self, desc, body):
            async for _ in body:
                raise NoSpace("the disk is full")

    remote = MemoryStore()
    layers = [await stored(remote, (n, os.urandom(1 << 20), {})) for n in "ab"]
    async with OverlaySnapshotter(top, supply=Supply(source=remote, keep=Full())) as snapshots:
        with pytest.raises(NoSpace):
            await names(snapshots, chain(snapshots, *layers))
        (session,) = [n for n in os.listdir(os.path.join(top, "work")) if n != ".lock"]
        assert os.listdir(os.path.join(top, "work", session)) == ["lock"]


async def test_a_store_that_has_the_blob_meanwhile_holds_nothing_up(top, tmp_path):
    class Sudden(OCILayout):
        async def exists(self, desc):
            return False  # another process puts it right after we looked

    remote = MemoryStore()
    here = Sudden(str(tmp_path / "images"), durable=False)
    big = [(str(n), os.urandom(1 << 20), {}) for n in range(12)]
    layer = await stored(remote, *big)
    async with remote.open(layer.descriptor) as body:
        await here.put(layer.descriptor, body)
    pieces = Pieces(remote)
    async with OverlaySnapshotter(top, supply=Supply(source=pieces, keep=here)) as snapshots:
        assert len(await names(snapshots, chain(snapshots, layer))) == 12


class Pieces(MemoryStore):
    """Another store's blobs in small pieces, as a network gives them."""

    def __init__(self, inner):
        super().__init__()
        self._blobs = inner._blobs

    @asynccontextmanager
    async def open(self, desc, *, start=0):
        body = self._blobs[desc.digest]

        async def pieces():
            for at in range(start, len(body), 64 << 10):
                yield body[at : at + (64 << 10)]

        yield pieces()


async def test_what_nobody_has_does_not_exist(top):
    store = MemoryStore()
    layer = await stored(store, ("a", b"x", {}))
    async with OverlaySnapshotter(top, supply=Supply(source=Origins())) as snapshots:
        snapshot = chain(snapshots, layer)
        assert not await snapshots.exists(snapshot)
        assert not await snapshots.exists(Snapshot("gone"))
        with pytest.raises(NotFound):
            await names(snapshots, snapshot)
        with pytest.raises(NotFound, match="is gone"):
            await names(snapshots, Snapshot("gone"))


async def test_a_layer_that_stands_in_a_chain_twice_hides_what_lies_between(top):
    async with OverlaySnapshotter(top) as snapshots:

        async def step(parent, files):
            async with snapshots.edit(parent) as view:
                for name, text in files.items():
                    with open(os.path.join(view.root, name), "w", encoding="utf-8") as file:
                        file.write(text)
                return await snapshots.commit(view)

        linked = await step(None, {"a": "linked"})
        changed = await step(linked, {"a": "changed", "b": "kept"})
        again = Snapshot(linked.id, changed)
        async with snapshots.edit(again) as view:
            with open(os.path.join(view.root, "a"), encoding="utf-8") as file:
                assert file.read() == "linked"
            assert sorted(os.listdir(view.root)) == ["a", "b"]


async def test_an_image_of_a_hundred_and_twenty_layers_is_mounted(top):
    store = MemoryStore()
    layers = [await stored(store, (f"f{n}", b"x", {})) for n in range(120)]
    async with OverlaySnapshotter(top, supply=Supply(source=store)) as snapshots:
        assert len(await names(snapshots, chain(snapshots, *layers))) == 120
