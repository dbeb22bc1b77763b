"""Old build cache goes after builds, by BuildKit's rules; a look is rare, and free where it is none."""

import os
import time

import pytest

from argosy.build.disk.items import Item
from argosy.build.disk.policy import policy
from argosy.build.disk.pruning import Disk, plan
from argosy.build.disk.watch import is_due, tidied
from argosy.errors import ConfigError
from argosy.observe import silent
from argosy.settings import Settings
from tests.building import BASE, Real

GB, DAY, NOW = 1 << 30, 86400.0, 1e9
DISK = Disk(size=1000 * GB, free=900 * GB)


def item(name, size, days, kind="regular", **more):
    used = NOW - days * DAY
    return Item(id=name, kind=kind, description=name, size=size, used=used, **more)


def gone(items, disk=DISK, **settings):
    found = []
    for request in policy(Settings(**settings), disk):
        found += [i.id for i in plan([i for i in items if i.id not in found], request, disk, NOW)]
    return found


def test_old_sources_go_above_half_a_gigabyte():
    items = [
        item("mount", GB, 3, "exec.cachemount"), item("new mount", GB, 1, "exec.cachemount"),
        item("git", GB, 3, "source.git.checkout"), item("step", GB, 3),
        item("download", GB, 3, place="downloads/x"),
    ]  # fmt: skip
    assert gone(items) == ["download", "git", "mount"]
    assert gone([item("mount", GB // 4, 3, "exec.cachemount")]) == []


def test_what_nobody_used_for_sixty_days_goes():
    assert gone([item("old", 10, 61), item("new", 10, 59)]) == ["old"]


def test_above_the_cap_the_least_recently_used_goes():
    items = [item(f"i{days}", 30 * GB, days) for days in range(5)]
    assert gone(items) == ["i4", "i3"]  # at most 100 GB
    assert gone(items, gc_max_used_space="50%", gc_min_free_space="0") == []


def test_a_full_disk_takes_from_the_cache_but_not_all_of_it():
    items = [item(f"i{days}", 8 * GB, days) for days in range(3)]
    assert gone(items, Disk(size=1000 * GB, free=195 * GB)) == ["i2"]
    full = Disk(size=1000 * GB, free=GB)
    assert gone(items, full) == ["i2", "i1"]  # 10 GB are reserved
    assert gone(items, full, gc_reserved_space="0") == ["i2", "i1", "i0"]


def test_zero_turns_a_rule_off():
    off = {"gc_max_used_space": "0", "gc_min_free_space": "0", "gc_sources_space": "0", "gc_age": 0}
    assert policy(Settings(**off), DISK) == ()


def test_a_setting_that_cannot_be_read_names_the_variable():
    with pytest.raises(ConfigError, match="ARGOSY_GC_MAX_USED_SPACE"):
        policy(Settings(gc_max_used_space="lots"), DISK)


def test_settings_come_from_the_environment():
    environ = {"ARGOSY_GC": "off", "ARGOSY_GC_AGE": "30d", "ARGOSY_HISTORY_AGE": "36h"}
    found = Settings.load(environ)
    assert (found.gc, found.gc_age, found.history_age) == (False, 30 * DAY, 36 * 3600)
    for bad in ({"ARGOSY_GC": "perhaps"}, {"ARGOSY_GC_AGE": "long"}):
        with pytest.raises(ConfigError):
            Settings.load(bad)


def test_looks_are_rare(tmp_path):
    os.makedirs(tmp_path / "build")
    settings = Settings(home=str(tmp_path), gc_interval=300)
    assert not is_due(settings)  # from now on
    os.utime(tmp_path / "build" / "gc", (time.time() - 301,) * 2)
    assert is_due(settings)
    assert not is_due(settings)
    assert not is_due(Settings(home=str(tmp_path), gc=False, gc_interval=0))


async def test_what_fails_there_fails_no_build(tmp_path):
    os.makedirs(tmp_path / "build")
    events = []
    settings = Settings(home=str(tmp_path), gc_interval=0, gc_min_free_space="x")
    assert await tidied(settings, Real(str(tmp_path)).images, events.append) == 0
    [warning] = [e for e in events if e.kind == "warning"]
    assert "ARGOSY_GC_MIN_FREE_SPACE" in warning.text


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.skipif(not os.path.exists("/bin/busybox"), reason="needs busybox")
async def test_builds_keep_below_the_cap_by_themselves(tmp_path):
    world = Real(str(tmp_path))
    world.busybox()
    caps = {"gc_max_used_space": "9MB", "gc_reserved_space": "0", "gc_min_free_space": "0"}
    world.settings = Settings(home=world.settings.home, gc_interval=0, **caps)
    for number in range(5):
        step = f"RUN dd if=/dev/urandom of=/{number} bs=1M count=3 2>/dev/null"
        await world.build(f"{BASE}FROM base\n{step}\n", tags=(f"x:{number}",))
        kept = sum(
            s.st_blocks * 512
            for folder, _, files in os.walk(os.path.join(world.settings.home, "build"))
            for s in [os.lstat(os.path.join(folder, f)) for f in files]
        )
        assert kept <= 9 << 20
    assert (await world.build(f"{BASE}FROM base\n{step}\n", tags=("x:4",))).cached == 2
    assert await tidied(world.settings, world.images, silent) == 0
