"""A step's config in a user namespace: what only root may ask for is not in it."""

import pytest

from argosy.build.execute import rootless
from argosy.build.execute.accounts import Account
from argosy.build.execute.spec import Place, runtime_config
from argosy.build.graph import Process
from argosy.build.limits import Limits
from argosy.errors import RuntimeUnavailable

PLACE = Place(id="x", root="/r", hosts="/h", resolv_conf="/c")


@pytest.fixture(autouse=True)
def ids(monkeypatch):
    known = {"count": 65537}
    monkeypatch.setattr(rootless, "mapped", lambda _kind: known["count"])
    return known


def config(**more):
    process = Process(args=("/x",), env={}, **{"network": "default", **more})
    return runtime_config(process, Account(uid=0, gid=0, groups=(4, 5)), PLACE)


def mount(found, target):
    return next(m for m in found["mounts"] if m["destination"] == target)


def test_nothing_asks_for_a_cgroup_or_device_rules():
    changed = rootless.unprivileged(config())
    assert not {"cgroupsPath", "resources"} & set(changed["linux"])
    assert changed["linux"]["seccomp"] == config()["linux"]["seccomp"]


def test_sys_is_the_machines_own_without_its_cgroups():
    changed = rootless.unprivileged(config())
    assert (mount(changed, "/sys")["type"], mount(changed, "/sys")["source"]) == ("none", "/sys")
    assert {"rbind", "ro"} <= set(mount(changed, "/sys")["options"])
    assert mount(changed, "/sys/fs/cgroup")["type"] == "tmpfs"


def test_with_a_network_of_its_own_a_step_has_a_sys_of_its_own():
    assert mount(rootless.unprivileged(config(network="none")), "/sys")["type"] == "sysfs"


def test_with_one_id_only_there_are_no_groups_to_name(ids):
    assert rootless.unprivileged(config())["process"]["user"]["additionalGids"] == [4, 5]
    ids["count"] = 1
    changed = rootless.unprivileged(config())
    assert "additionalGids" not in changed["process"]["user"]
    assert "gid=5" not in mount(changed, "/dev/pts")["options"]


def test_the_config_it_is_made_of_stays_as_it_is():
    before = config()
    rootless.unprivileged(before)
    assert before == config()


def test_limits_that_could_not_hold_are_refused():
    with pytest.raises(RuntimeUnavailable, match="cannot limit memory"):
        rootless.unprivileged(config(limits=Limits(memory=1 << 30)))
    rootless.unprivileged(config(limits=Limits(shm_size=1 << 20)))
