"""What a step's config.json cannot have in a user namespace, and what it has instead.

Source: OCI runtime-spec config-linux.md; user_namespaces(7), sysfs(5), mount_namespaces(7).
"""

from typing import Any

from argosy.build.rootless.mapping import mapped
from argosy.errors import RuntimeUnavailable

_TTY = 5  # the group of terminals


def unprivileged(config: dict[str, Any]) -> dict[str, Any]:
    """The same config for a runtime without root: what is missing are limits and device rules."""
    if asked := {"memory", "cpu"} & set(config["linux"].get("resources") or ()):
        raise RuntimeUnavailable(
            f"cannot limit {' and '.join(sorted(asked))} of a step without root",
            why="a user has no cgroup of his own to set limits in",
            remedy="leave --resource out, or run as root (sudo)",
        )
    linux = {k: v for k, v in config["linux"].items() if k not in ("resources", "cgroupsPath")}
    network = any(item["type"] == "network" for item in linux["namespaces"])
    mounts = [
        changed for mount in config["mounts"] for changed in _mounts(mount, own_network=network)
    ]
    return {**config, "linux": linux, "mounts": mounts, "process": _process(config["process"])}


def _mounts(mount: dict[str, Any], *, own_network: bool) -> list[dict[str, Any]]:
    if mount["type"] == "sysfs" and not own_network:
        # sysfs shows a network namespace, so who has none of his own may not mount it.
        options = ["rbind", *mount["options"]]
        hidden = {**_HIDDEN, "options": list(_HIDDEN["options"])}
        return [{**mount, "type": "none", "source": "/sys", "options": options}, hidden]
    if mount["type"] == "devpts" and mapped("gid") <= _TTY:
        return [{**mount, "options": [o for o in mount["options"] if o != f"gid={_TTY}"]}]
    return [mount]


# As in a sysfs of one's own: nothing of the host's cgroups.
_HIDDEN: dict[str, Any] = {
    "destination": "/sys/fs/cgroup",
    "type": "tmpfs",
    "source": "tmpfs",
    "options": ["nosuid", "noexec", "nodev", "ro", "mode=555", "size=4k"],
}


def _process(process: dict[str, Any]) -> dict[str, Any]:
    """Without ids to give away nobody may change groups either (setgroups is denied)."""
    if mapped("gid") > 1:
        return process
    user = {k: v for k, v in process["user"].items() if k != "additionalGids"}
    return {**process, "user": user}
