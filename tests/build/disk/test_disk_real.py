"""du and prune on the state of real builds: what is told is true, what is asked for goes, no more."""

import os
import subprocess

import pytest

from argosy.build.disk.filters import filters_of
from argosy.build.disk.pruning import Request, State
from argosy.build.disk.sizes import usage
from argosy.claims import Claims
from argosy.content.copy import copy
from argosy.content.memory import MemoryStore
from tests.building import BASE, Real

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not os.path.exists("/bin/busybox"), reason="needs busybox"),
]
MEGABYTES = "dd if=/dev/urandom bs=1M count={} of={} 2>/dev/null"
APP = BASE + (
    f"FROM base AS one\nRUN {MEGABYTES.format(3, '/a')}\nRUN {MEGABYTES.format(2, '/b')} && "
    "ln /b /c && echo -n hello >/word\n"
)
OTHER = BASE + f"FROM base\nRUN {MEGABYTES.format(4, '/z')}\n"
MOUNTED = BASE + (
    f"FROM base\nRUN --mount=type=cache,id=stuff,target=/m {MEGABYTES.format(3, '/m/x')}\n"
)


@pytest.fixture
def world(tmp_path):
    world = Real(str(tmp_path))
    world.busybox()
    return world


def state_of(world):
    return State.of(world.settings.home, world.images)


def build_place(world):
    return os.path.join(world.settings.home, "build")


def on_disk(path):
    return int(subprocess.check_output(["du", "-s", "-B1", path]).split()[0])


async def spare(world):
    return sum(blob.size for blob in await world.images.spare())


def of_kind(items, kind):
    return [item for item in items if item.kind == kind]


async def test_the_items_add_up_to_what_du_says(world):
    await world.build(APP, tags=("x:1",))
    await world.build(OTHER, tags=("x:1",))  # the blobs of the first one are the cache's now
    await world.build(MOUNTED, tags=("y:1",))
    items = await state_of(world).items()
    truth = on_disk(build_place(world)) + await spare(world)
    assert abs(sum(i.size for i in items) - truth) < 0.03 * truth
    assert await spare(world) > 5 << 20


async def test_hard_links_count_once_and_sparse_files_what_they_take(tmp_path):
    (tmp_path / "a").write_bytes(os.urandom(1 << 20))
    os.link(tmp_path / "a", tmp_path / "b")
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 40)
    assert usage(str(tmp_path)) == on_disk(tmp_path)
    assert usage(str(tmp_path / "none")) == 0


async def test_every_item_says_what_it_is(world):
    await world.build(APP)
    await world.build(MOUNTED, tags=("y:1",))
    items = await state_of(world).items()
    steps = {i.description.split("] ", 1)[-1][:12]: i for i in of_kind(items, "regular")}
    assert {"COPY root /", "RUN dd if=/d"} <= set(steps)
    [mount] = of_kind(items, "exec.cachemount")
    assert (mount.description, mount.mutable) == ("cache mount stuff", True)
    assert mount.size >= 3 << 20
    copy_step = steps["COPY root /"]
    assert any(copy_step.id in i.parents for i in items)
    assert copy_step.shared  # its layer is in an image
    assert {i.kind for i in items} >= {"internal", "source.local"}


async def test_nothing_is_measured_twice(world):
    await world.build(APP)
    await state_of(world).items()
    state = state_of(world)
    await state.items()
    walked = [place for place in state.sizes._fresh if place.startswith("snapshots/")]
    assert walked in ([], ["snapshots/work"])


async def test_without_flags_all_of_the_cache_goes_and_the_images_stay(world):
    made = await world.build(APP, tags=("x:1",))
    pruned = await state_of(world).prune(Request())
    assert pruned.size > 5 << 20
    assert not of_kind(await state_of(world).items(), "regular")
    assert on_disk(build_place(world)) < 300_000
    await copy(world.images, made.digest, MemoryStore(), "")  # every blob, verified
    again = await world.build(APP, tags=("x:1",))
    assert again.cached == 0


async def test_what_was_deleted_with_rm_is_freed_by_prune(world):
    await world.build(APP, tags=("x:1",))
    await state_of(world).prune(Request())
    before = on_disk(world.images.path)
    await world.images.delete("docker.io/library/x:1")
    assert on_disk(world.images.path) == before
    pruned = await state_of(world).prune(Request())
    assert pruned.size > 5 << 20
    assert on_disk(os.path.join(world.images.path, "blobs")) < 30_000


@pytest.mark.parametrize("cap", [2 << 20, 9 << 20, 1 << 30])
async def test_the_cap_holds_on_the_disk(world, cap):
    for number, text in enumerate((APP, OTHER, MOUNTED)):
        await world.build(text, tags=(f"x:{number}",))
    await world.images.delete("docker.io/library/x:0")
    before = on_disk(build_place(world)) + await spare(world)
    pruned = await state_of(world).prune(Request(most_used=cap))
    after = on_disk(build_place(world)) + await spare(world)
    assert after <= cap or not pruned.size
    assert (cap < before) is (pruned.size > 0)
    assert pruned.above == 0


async def test_what_was_used_last_stays_longest(world):
    await world.build(APP, tags=("x:1",))
    await world.build(OTHER, tags=("x:2",))
    await world.build(APP, tags=("x:1",))  # used again
    await state_of(world).prune(Request(most_used=8 << 20))
    assert (await world.build(APP, tags=("x:1",))).cached == 3
    assert (await world.build(OTHER, tags=("x:2",))).cached == 1


async def test_only_what_the_filters_mean_goes(world):
    await world.build(MOUNTED)
    wanted = filters_of(["type=exec.cachemount", "mutable"])
    pruned = await state_of(world).prune(Request(wanted=wanted))
    assert [i.kind for i in pruned.items] == ["exec.cachemount"]
    assert (await world.build(MOUNTED)).cached == 2
    assert not (await state_of(world).prune(Request(keep=3600))).items


async def test_what_is_claimed_is_in_use_and_stays(world):
    await world.build(APP)
    place = build_place(world)
    top = next(i for i in await state_of(world).items() if "/b" in i.description)
    with Claims(os.path.join(place, "in-use")) as claims:
        chain = [top.id, *top.parents]
        claims.claim(*chain)
        items = {i.id: i for i in await state_of(world).items()}
        assert all(items[name].in_use and not items[name].is_reclaimable for name in chain)
        pruned = await state_of(world).prune(Request(most_used=1))
        assert not {i.id for i in pruned.items} & set(chain)
        assert pruned.above > 0  # and so it says that the cap does not hold
    assert top.id in {i.id for i in (await state_of(world).prune(Request())).items}


async def test_what_a_killed_prune_left_is_removed_by_the_next(world):
    await world.build(APP)
    trash = os.path.join(build_place(world), "trash")
    os.makedirs(os.path.join(trash, "half", "fs", "deep"))
    await state_of(world).prune(Request(keep=3600))
    assert os.listdir(trash) == []


async def test_where_nothing_was_built_nothing_is_made(tmp_path):
    world = Real(str(tmp_path))
    assert await state_of(world).items() == []
    assert (await state_of(world).prune(Request())).items == ()
    assert not os.path.exists(world.settings.home)
