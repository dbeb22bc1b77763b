"""Cache mounts that travel with mounts=true."""

import fcntl
import os

import pytest

from argosy.build.remote_cache import mounts
from argosy.build.steps.mounts import cache_directory
from tests.build.remote_cache.test_remote_cache_builds import REF, machine, make, shelf_of, warnings

__all__ = ["machine"]  # the fixture

TO = f"type=registry,ref={REF},mounts=true"
FROM = f"type=registry,ref={REF},mounts=true"
KEEP = "FROM scratch\nRUN --mount=type=cache,target=/cache,id=c,sharing={} keep /cache/x {}\n"
SHOW = "FROM scratch\nRUN --mount=type=cache,target=/cache,id=c,sharing={} show /cache/x\n"


def place(bench, name="c"):
    return cache_directory(os.path.join(bench.settings.home, "build", "mounts"), name)


@pytest.mark.parametrize("sharing", ["shared", "locked", "private"])
async def test_a_mount_is_there_on_another_machine(machine, sharing):
    one, two = machine(), machine()
    await make(one, KEEP.format(sharing, "kept"), to=[TO])
    await make(two, SHOW.format(sharing), source=[FROM])
    assert two.execute.seen == [b"kept"]


async def test_without_mounts_nothing_of_them_travels(machine):
    one, two = machine(), machine()
    await make(one, KEEP.format("shared", "kept"), to=[REF])
    store = one.repository_of("example.com/app")
    assert mounts.SCOPE not in (await shelf_of(store)).entries
    await make(one, KEEP.format("shared", "kept"), to=[TO])
    assert mounts.SCOPE in (await shelf_of(store)).entries
    await make(two, "FROM scratch\nRUN --mount=type=cache,target=/cache,id=c true\n", source=[REF])
    assert os.listdir(os.path.join(place(two), "data")) == []


async def test_a_mount_that_has_files_is_left_alone(machine):
    one, two = machine(), machine()
    await make(one, KEEP.format("shared", "theirs"), to=[TO])
    await make(two, KEEP.format("shared", "ours").replace("keep", "keep"))
    await make(two, SHOW.format("shared"), source=[FROM])
    assert two.execute.seen == [b"ours"]


async def test_an_empty_mount_is_filled_if_nobody_else_can_have_it(machine):
    one, two = machine(), machine()
    await make(one, KEEP.format("locked", "kept"), to=[TO])
    os.makedirs(os.path.join(place(two), "data"))
    await make(two, SHOW.format("locked"), source=[FROM])
    assert two.execute.seen == [b"kept"]


async def test_the_latest_export_of_a_mount_counts_and_no_other_is_kept(machine):
    one, two = machine(), machine()
    await make(one, KEEP.format("shared", "first"), to=[TO])
    await make(one, KEEP.format("shared", "second"), to=[TO])
    shelf = await shelf_of(one.repository_of("example.com/app"))
    assert len(shelf.parts[mounts.SCOPE].config.records) == 1
    await make(two, SHOW.format("shared"), source=[FROM])
    assert two.execute.seen == [b"second"]


async def test_a_mount_that_stays_locked_is_left_out_with_a_warning(machine, monkeypatch):
    monkeypatch.setattr(mounts, "_BUSY_SECONDS", 0.05)
    one = machine()
    dockerfile = KEEP.format("locked", "kept")
    await make(one, dockerfile)
    with open(os.path.join(place(one), "lock")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        await make(one, dockerfile, to=[TO])
    assert any("not exported" in text for text in warnings(one))


async def test_a_damaged_mount_costs_a_warning_and_begins_empty(machine):
    one, two = machine(), machine()
    await make(one, KEEP.format("shared", "kept"), to=[TO])
    store = one.repository_of("example.com/app")
    for blob in (await shelf_of(store)).parts[mounts.SCOPE].blobs:
        store._blobs[blob] = bytes(len(store._blobs[blob]))
    await make(two, "FROM scratch\nRUN --mount=type=cache,target=/cache,id=c true\n", source=[FROM])
    assert any("cache mount c is not used" in text for text in warnings(two))
    assert os.listdir(os.path.join(place(two), "data")) == []


async def test_files_keep_their_times_modes_and_owners(machine):
    one, two = machine(), machine()
    dockerfile = KEEP.format("shared", "kept")
    await make(one, dockerfile)
    path = os.path.join(place(one), "data", "x")
    os.chmod(path, 0o640)
    os.chown(path, 7, 8)
    os.utime(path, (1000, 2000))
    await make(one, dockerfile, to=[TO])
    await make(two, SHOW.format("shared"), source=[FROM])
    found = os.stat(os.path.join(place(two), "data", "x"))
    assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == (0o640, 7, 8)
    assert found.st_mtime == 2000
