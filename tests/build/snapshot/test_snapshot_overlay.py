"""Overlay snapshots: edit, commit, layers, many at once, and whatever goes wrong."""

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap

import pytest

from argosy.build.files.removal import remove_tree
from argosy.build.graph import Layer
from argosy.build.snapshot import place as place_module
from argosy.build.snapshot.overlay import OverlaySnapshotter
from argosy.build.snapshot.supply import Supply
from argosy.content.memory import MemoryStore
from argosy.content.store import Store
from argosy.errors import BuildError, ContentError, DigestMismatch, NotFound
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest

pytestmark = pytest.mark.root


@pytest.fixture
def top(tmp_path):
    yield str(tmp_path / "snapshots")
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        assert str(tmp_path) not in mounts.read(), "a mount was left behind"


@pytest.fixture
async def snapshots(top):
    async with OverlaySnapshotter(top) as snapshotter:
        yield snapshotter


def lazy(path: str, store: Store, keep: Store | None = None) -> OverlaySnapshotter:
    """A snapshotter whose layers come from a store."""
    return OverlaySnapshotter(path, supply=Supply(source=store, keep=keep))


def kept(top: str) -> list[str]:
    """The snapshots below a directory."""
    return sorted(n for n in os.listdir(top) if os.path.isdir(os.path.join(top, n, "fs")))


def put(root: str, files: dict[str, str | None]) -> None:
    for name, text in files.items():
        path = os.path.join(root, name)
        if text is None:
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)


def files(root: str) -> dict[str, str]:
    found = {}
    for base, _, names in os.walk(root):
        for name in names:
            path = os.path.join(base, name)
            with open(path, encoding="utf-8") as file:
                found[os.path.relpath(path, root)] = file.read()
    return found


async def step(snapshots, parent, changes):
    async with snapshots.edit(parent) as workspace:
        put(workspace.root, changes)
        return await snapshots.commit(workspace)


async def content(snapshots, snapshot) -> dict[str, str]:
    async with snapshots.edit(snapshot) as view:
        return files(view.root)


async def test_each_snapshot_is_what_was_there_when_it_was_committed(snapshots):
    one = await step(snapshots, None, {"a": "1", "d/b": "1"})
    two = await step(snapshots, one, {"a": "2", "d/b": None, "c": "2"})
    three = await step(snapshots, two, {"d": None})
    assert await content(snapshots, one) == {"a": "1", "d/b": "1"}
    assert await content(snapshots, two) == {"a": "2", "c": "2"}
    assert await content(snapshots, three) == {"a": "2", "c": "2"}
    assert three.chain == (one.id, two.id, three.id)


async def test_what_is_not_committed_is_gone(snapshots, top):
    one = await step(snapshots, None, {"a": "1"})
    async with snapshots.edit(one) as workspace:
        put(workspace.root, {"b": "2"})
        left = workspace.root
    assert not os.path.exists(left)
    assert await content(snapshots, one) == {"a": "1"}
    assert kept(top) == [one.id]


async def test_two_workspaces_on_one_parent_do_not_see_each_other(snapshots):
    one = await step(snapshots, None, {"a": "1"})
    async with snapshots.edit(one) as left, snapshots.edit(one) as right:
        put(left.root, {"a": "left"})
        put(right.root, {"b": "right"})
        first, second = await asyncio.gather(snapshots.commit(left), snapshots.commit(right))
    assert await content(snapshots, first) == {"a": "left"}
    assert await content(snapshots, second) == {"a": "1", "b": "right"}


async def test_layers_of_a_chain_rebuild_it_elsewhere(snapshots, tmp_path):
    one = await step(snapshots, None, {"a": "1", "d/x": "1", "e/y": "1"})
    async with snapshots.edit(one) as workspace:
        put(workspace.root, {"d": None, "e/y": None})
        put(workspace.root, {"d/new": "2"})
        os.chmod(os.path.join(workspace.root, "d"), 0o1711)
        two = await snapshots.commit(workspace)
    store = MemoryStore()
    layers = [await snapshots.layer(s, store) for s in (one, two)]
    async with lazy(str(tmp_path / "other"), store) as other:
        rebuilt = None
        for desc, diff_id in layers:
            rebuilt = other.apply(rebuilt, Layer(desc, diff_id))
        assert await content(other, rebuilt) == {"a": "1", "d/new": "2"}
        again = [await other.layer(s, store) for s in (rebuilt.parent, rebuilt)]
        async with other.edit(rebuilt) as view:
            assert stat.S_IMODE(os.stat(os.path.join(view.root, "d")).st_mode) == 0o1711
    assert again == layers


async def test_a_chain_of_a_hundred_layers_can_be_mounted(snapshots):
    top = None
    for n in range(100):
        top = await step(snapshots, top, {f"f{n}": str(n)})
    assert len(await content(snapshots, top)) == 100


async def test_a_chain_that_is_too_long_says_so(snapshots):
    top = None
    with pytest.raises(BuildError, match="too many"):
        for _ in range(200):
            top = await step(snapshots, top, {})


async def test_the_root_directory_keeps_its_mode_and_owner(snapshots):
    async with snapshots.edit(None) as workspace:
        os.chmod(workspace.root, 0o1750)
        os.chown(workspace.root, 3, 4)
        one = await snapshots.commit(workspace)
    two = await step(snapshots, one, {"a": "1"})
    async with snapshots.edit(two) as view:
        found = os.stat(view.root)
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o1750, 3, 4)


def sessions(top: str) -> list[str]:
    return [name for name in os.listdir(os.path.join(top, "work")) if name != ".lock"]


class Counting(MemoryStore):
    opened = 0

    def open(self, desc, *, start=0):
        self.opened += 1
        return super().open(desc, start=start)


async def test_a_layer_is_unpacked_once_however_many_ask(snapshots, top):
    store = Counting()
    layer = Layer(*await snapshots.layer(await step(snapshots, None, {"a": "1"}), store))
    async with lazy(top, store) as one:
        found = [one.apply(None, layer) for _ in range(5)]
        assert store.opened == 0
        await asyncio.gather(*(content(one, s) for s in found))
    async with lazy(top, store) as other:
        found.append(other.apply(None, layer))
        assert await content(other, found[-1]) == {"a": "1"}
    assert store.opened == 1
    assert len({s.id for s in found}) == 1
    assert snapshots.apply(found[0], layer).id != found[0].id


async def test_a_damaged_layer_leaves_nothing(top):
    store = MemoryStore()
    body = b"\x1f\x8b\x08nonsense" * 500
    desc = Descriptor.of("application/vnd.oci.image.layer.v1.tar+gzip", body)
    store._blobs[desc.digest] = body
    async with lazy(top, store, MemoryStore()) as snapshots:
        with pytest.raises(ContentError):
            await content(snapshots, snapshots.apply(None, Layer(desc, Digest.of(b""))))
        assert kept(top) == []
        (session,) = sessions(top)
        assert os.listdir(os.path.join(top, "work", session)) == ["lock"]


async def test_a_snapshot_that_was_removed_is_not_found(snapshots):
    one = await step(snapshots, None, {"a": "1"})
    assert await snapshots.exists(one)
    await snapshots.remove(one)
    await snapshots.remove(one)
    assert not await snapshots.exists(one)
    with pytest.raises(NotFound, match=one.id):
        async with snapshots.edit(one):
            pass
    with pytest.raises(NotFound, match=one.id):
        await snapshots.layer(one, MemoryStore())


async def test_a_workspace_is_committed_once(snapshots):
    async with snapshots.edit(None) as workspace:
        await snapshots.commit(workspace)
        with pytest.raises(BuildError, match="already"):
            await snapshots.commit(workspace)


async def test_cancelling_while_editing_unmounts(snapshots, top):
    one = await step(snapshots, None, {"a": "1"})
    entered = asyncio.Event()

    async def edit():
        async with snapshots.edit(one):
            entered.set()
            await asyncio.sleep(3600)

    work = asyncio.ensure_future(edit())
    await entered.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert "overlay" not in mounts_below(top)


async def test_cancelling_at_any_moment_leaves_no_mount(snapshots, top):
    one = await step(snapshots, None, {"a": "1"})
    for n in range(20):
        work = asyncio.ensure_future(step(snapshots, one, {"b": "2"}))
        await asyncio.sleep(n * 0.0003)
        work.cancel()
        await asyncio.wait([work])
        assert "overlay" not in mounts_below(top)


async def test_a_busy_mount_goes_away_all_the_same(snapshots, top):
    one = await step(snapshots, None, {"a": "1"})
    async with snapshots.edit(one) as workspace:
        held = os.open(os.path.join(workspace.root, "a"), os.O_RDONLY)
    assert "overlay" not in mounts_below(top)
    os.close(held)


def mounts_below(top: str) -> str:
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        return "".join(line for line in mounts if top in line)


async def test_only_what_was_settled_is_trusted_after_a_restart_of_the_machine(top, monkeypatch):
    async with OverlaySnapshotter(top) as snapshots:
        settled = await step(snapshots, None, {"a": "1"})
    snapshots = OverlaySnapshotter(top)
    lost = await step(snapshots, settled, {"b": "2"})
    await asyncio.to_thread(snapshots._place.close)  # as if the power went
    async with OverlaySnapshotter(top) as same_boot:
        assert await same_boot.exists(lost)
    monkeypatch.setattr(place_module, "_boot_id", lambda: "another boot")
    async with OverlaySnapshotter(top) as next_boot:
        assert await next_boot.exists(settled)
        assert not await next_boot.exists(lost)
        assert await content(next_boot, settled) == {"a": "1"}


async def test_two_processes_share_one_directory(snapshots, top):
    one = await step(snapshots, None, {"a": "1"})
    async with snapshots.edit(one) as workspace, OverlaySnapshotter(top) as other:
        assert await content(other, one) == {"a": "1"}
        put(workspace.root, {"b": "2"})  # the other one has swept; we are still here
        two = await snapshots.commit(workspace)
    assert await content(snapshots, two) == {"a": "1", "b": "2"}


KILLED = textwrap.dedent("""
    import asyncio, os, sys
    from argosy.build.snapshot.mounts import enter_private_mounts
    from argosy.build.snapshot.overlay import OverlaySnapshotter
    if sys.argv[2] == "private":
        assert enter_private_mounts()
    async def main():
        snapshots = OverlaySnapshotter(sys.argv[1])
        async with snapshots.edit(None) as w:
            open(w.root + "/a", "w").close()
            one = await snapshots.commit(w)
        async with snapshots.edit(one) as w:
            open(w.root + "/b", "w").close()
            print("ready", w.root, flush=True)
            await asyncio.sleep(60)
    asyncio.run(main())
""")


@pytest.mark.parametrize("mounts", ["private", "shared"])
async def test_a_killed_build_leaves_nothing_that_the_next_one_does_not_sweep(top, mounts):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, top, mounts], stdout=subprocess.PIPE, text=True
    )
    try:
        assert (line := process.stdout.readline()).startswith("ready")
        assert os.path.ismount(line.split()[1]) == (mounts == "shared")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert len(sessions(top)) == 1
    async with OverlaySnapshotter(top) as snapshots:
        await step(snapshots, None, {})
        (session,) = sessions(top)
        assert session == snapshots._place.name
        assert "overlay" not in mounts_below(top)


async def test_a_place_overlayfs_cannot_lie_on_says_what_to_do(snapshots, tmp_path):
    one = await step(snapshots, None, {"a": "1"})
    async with snapshots.edit(one) as nested:
        async with OverlaySnapshotter(os.path.join(nested.root, "s")) as other:
            base = await step(other, None, {"a": "1"})
            with pytest.raises(BuildError) as caught:
                await step(other, base, {})
        assert "ARGOSY_HOME" in caught.value.remedy


def test_a_tree_too_deep_for_recursion_is_removed(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    os.mkdir("deep", dir_fd=fd)
    for _ in range(1500):
        inner = os.open("deep", os.O_RDONLY, dir_fd=fd)
        os.mkdir("deep", dir_fd=inner)
        os.close(fd)
        fd = inner
    os.close(fd)
    remove_tree(str(tmp_path / "deep"))
    assert os.listdir(tmp_path) == []


async def test_a_layer_that_is_not_its_diff_id_is_refused_and_leaves_nothing(top, tmp_path):
    store = MemoryStore()
    async with OverlaySnapshotter(str(tmp_path / "other")) as other:
        honest = await other.layer(await step(other, None, {"a": "good"}), store)
        evil = await other.layer(await step(other, None, {"a": "evil"}), store)
    async with lazy(top, store) as snapshots:
        for _ in range(2):  # not even once it was taken for what it is
            with pytest.raises(DigestMismatch, match="uncompressed"):
                await content(snapshots, snapshots.apply(None, Layer(evil[0], honest[1])))
            one = snapshots.apply(None, Layer(*evil))
            assert await content(snapshots, one) == {"a": "evil"}
        assert await content(snapshots, snapshots.apply(None, Layer(*honest))) == {"a": "good"}
