"""Prunes that are killed, and prunes while builds run: a sound store and right images, always."""

import os
import random
import subprocess
import sys
import textwrap
from contextlib import suppress

import pytest

from argosy.build.cache import BuildCache
from argosy.build.disk.pruning import Request, State
from argosy.claims import Claims
from argosy.content.copy import copy
from argosy.content.memory import MemoryStore
from argosy.stores.layout import OCILayout
from tests.building import BASE, Real

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not os.path.exists("/bin/busybox"), reason="needs busybox"),
]
APP = BASE + textwrap.dedent("""\
    FROM base AS one
    RUN i=0; while [ $i -lt 300 ]; do echo $i >/file$i; i=$((i+1)); done
    RUN --mount=type=cache,target=/m echo x >>/m/x; cat /file7 >/seven
    FROM base
    COPY --from=one /seven /
    COPY --link --from=one /file8 /eight/
    RUN cat /seven /eight/file8 >/both && [ "$(cat /both)" = "$(printf '7\\n8')" ]
""")
PRUNE = textwrap.dedent("""
    import asyncio, sys
    from argosy.build.disk.pruning import Request, State
    from argosy.claims import Claims
    from argosy.stores.layout import OCILayout

    async def main(home):
        with Claims(home + "/build/in-use") as claims:
            images = OCILayout(home + "/images", durable=False, claims=claims)
            state = State.of(home, images)
            await state.items()
            print("ready", flush=True)
            for line in sys.stdin:
                pruned = await state.of(home, images).prune(Request())
                print(len(pruned.items), flush=True)

    asyncio.run(main(sys.argv[1]))
""")


@pytest.fixture
def world(tmp_path):
    world = Real(str(tmp_path))
    world.busybox()
    return world


def pruner(world):
    return subprocess.Popen(
        [sys.executable, "-c", PRUNE, world.settings.home],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


async def built(world, name="x:1"):
    return (await world.build(APP, tags=(name,), source_date_epoch=0)).digest


async def whole(world, digest):
    """Every blob of an image is there and is what its name says."""
    await copy(world.images, digest, MemoryStore(), "")


async def test_a_prune_that_is_killed_leaves_a_sound_store(world):
    wanted = await built(world)
    delays = random.Random(20)
    broken_off = 0
    for number in range(24):
        # A blob and a manifest that nobody needs, too.
        await world.images.tag(await world.images.resolve(wanted), "gone:1")
        with pruner(world) as process:
            assert process.stdout.readline() == "ready\n"
            process.stdin.write("\n")
            process.stdin.flush()
            try:
                process.wait(delays.uniform(0, 0.03) if number % 4 else delays.uniform(0, 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
            broken_off += process.stdout.read() == ""
        await whole(world, wanted)
        if number % 2:
            await world.images.delete(wanted)  # the next prune has blobs to remove
        assert await built(world) == wanted
        await whole(world, wanted)
    assert broken_off >= 12
    await world.images.delete(wanted)
    await State.of(world.settings.home, world.images).prune(Request())
    assert os.listdir(os.path.join(world.settings.home, "build", "trash")) == []
    assert await world.images.spare() == []


async def test_builds_succeed_while_others_prune_all_the_time(world):
    wanted = await built(world)
    with pruner(world) as process:
        assert process.stdout.readline() == "ready\n"
        went = 0
        for _ in range(15):
            await world.images.delete("docker.io/library/x:1")  # its blobs may go from now on
            process.stdin.write("\n")
            process.stdin.flush()
            with Claims(os.path.join(world.settings.home, "build", "in-use")) as claims:
                world.images = OCILayout(world.images.path, durable=False, claims=claims)
                assert await built(world) == wanted
            await whole(world, wanted)
            went += int(process.stdout.readline()) > 0
        process.stdin.close()
        process.wait(30)
    assert process.returncode == 0
    assert went > 5


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "none", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)  # a killed build may still let go


async def test_a_disk_that_is_full_to_the_last_byte_can_be_pruned(small_disk):
    world = Real(str(small_disk))
    world.busybox()
    for number in range(2):
        step = f"RUN dd if=/dev/urandom of=/{number} bs=1M count=4 2>/dev/null"
        await world.build(f"{BASE}FROM base\n{step}\n", tags=("x:1",))
    with open(small_disk / "fill", "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert os.statvfs(small_disk).f_bavail == 0
    state = State.of(world.settings.home, world.images)
    assert sum(item.size for item in await state.items()) > 12 << 20
    assert (await state.prune(Request())).size > 12 << 20
    assert os.statvfs(small_disk).f_bavail * 4096 > 12 << 20
    os.unlink(small_disk / "fill")
    async with BuildCache(os.path.join(world.settings.home, "build", "cache.db")) as cache:
        assert [r for r in await cache.records() if r.snapshot] == []
    assert (await world.build(f"{BASE}FROM base\n{step}\n", tags=("x:1",))).cached == 0
