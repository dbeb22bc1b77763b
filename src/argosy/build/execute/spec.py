"""The OCI runtime config of a RUN step: a pure function from a process to config.json.

As docker build sets a step up: Docker's default capabilities, mounts, masked paths
and seccomp bounds; privileges may be gained (setuid works). An insecure step has every
capability this process has to give, and no bounds.
Source: OCI runtime-spec config.md, config-linux.md.
"""

from typing import Any

from argosy.build.execute.accounts import Account
from argosy.build.execute.cgroups import cgroup_of
from argosy.build.execute.seccomp import profile
from argosy.build.graph import Mount, Process
from argosy.model.platform import Platform
from argosy.values import frozen

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)
# Their bits (capability.h): the kernel's own list says which of them this process has to give.
_BITS = dict(zip(_CAPABILITIES, (0, 1, 4, 3, 27, 13, 6, 7, 31, 8, 10, 18, 5, 29), strict=True))

# Every capability, in the order of its bit (capability.h).
_EVERY = (
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID"),
    *("CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE"),
    *("CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW"),
    *("CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT"),
    *("CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE"),
    *("CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE"),
    *("CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE"),
    *("CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ"),
    *("CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE"),
)

_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def _mount(target: str, kind: str, *options: str, source: str = "") -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source or kind, "options": list(options)}


_MOUNTS = (
    _mount("/proc", "proc", "nosuid", "noexec", "nodev"),
    _mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
    _mount(
        "/dev/pts",
        "devpts",
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
        "gid=5",
    ),
    _mount(
        "/dev/shm",  # noqa: S108 - a mount point inside the container
        "tmpfs",
        "nosuid",
        "noexec",
        "nodev",
        "mode=1777",
        "size=65536k",
        source="shm",
    ),
    _mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
    _mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
)


@frozen(kw_only=True)
class Place:
    """Where one container runs: its id, its root, and the files it gets for /etc."""

    id: str
    root: str
    hosts: str
    resolv_conf: str


def runtime_config(process: Process, account: Account, place: Place) -> dict[str, Any]:
    """config.json of a step."""
    return {
        "ociVersion": "1.0.2",
        "root": {"path": place.root, "readonly": False},
        "hostname": process.hostname,
        "process": _process(process, account),
        "mounts": [*_own(process), *_etc(place), *(_given(mount) for mount in process.mounts)],
        "linux": _linux(process, place),
    }


def _own(process: Process) -> list[dict[str, Any]]:
    """The mounts every step has; /dev/shm as large as was asked, /sys writable if insecure."""
    found = []
    for mount in _MOUNTS:
        options = list(mount["options"])
        if mount["destination"] == "/dev/shm" and process.limits.shm_size:  # noqa: S108
            options[-1] = f"size={process.limits.shm_size}"
        if mount["destination"] == "/sys" and process.insecure:
            options[-1] = "rw"
        found.append({**mount, "options": options})
    return found


def targets(process: Process) -> list[str]:
    """Every path something is mounted on: what is not there, the runtime makes."""
    own = [
        mount["destination"] for mount in _MOUNTS if not mount["destination"].startswith("/dev/")
    ]
    return [*own, "/etc/resolv.conf", "/etc/hosts", *(mount.target for mount in process.mounts)]


def _process(process: Process, account: Account) -> dict[str, Any]:
    env = {"PATH": PATH, "HOME": account.home, **process.env}
    return {
        "terminal": process.interactive,
        "user": {
            "uid": account.uid,
            "gid": account.gid,
            "umask": 0o022,
            "additionalGids": list(account.groups),
        },
        "args": list(process.args),
        "env": [f"{name}={value}" for name, value in env.items()],
        "cwd": process.cwd,
        "capabilities": _capabilities(root=account.uid == 0, insecure=process.insecure),
        "noNewPrivileges": False,
        "rlimits": [limit.to_json() for limit in process.limits.ulimits],
    }


def _capabilities(*, root: bool, insecure: bool) -> dict[str, list[str]]:
    # Nothing is inheritable (CVE-2022-24769). Who is not root holds nothing, but may gain
    # what the bounding set allows, by setuid programs and file capabilities.
    given = _bounding()
    wanted = _BITS if not insecure else {name: bit for bit, name in enumerate(_EVERY)}
    held = [name for name, bit in wanted.items() if given >> bit & 1]
    return {"bounding": held, **({"effective": held, "permitted": held} if root else {})}


def _bounding() -> int:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        line = next((line for line in file if line.startswith("CapBnd:")), "CapBnd: 0")
    return int(line.split()[1], 16)


def _etc(place: Place) -> list[dict[str, Any]]:
    return [
        _mount("/etc/resolv.conf", "bind", "bind", "rw", "private", source=place.resolv_conf),
        _mount("/etc/hosts", "bind", "bind", "rw", "private", source=place.hosts),
    ]


def _given(mount: Mount) -> dict[str, Any]:
    if mount.kind == "tmpfs":
        options = ["nosuid", "nodev", "mode=1777", *(["ro"] if mount.readonly else [])]
        options += [f"size={mount.size}"] if mount.size else []
        return _mount(mount.target, "tmpfs", *options)
    access = "ro" if mount.readonly else "rw"
    return _mount(mount.target, "bind", "rbind", access, "rprivate", source=mount.source)


def _linux(process: Process, place: Place) -> dict[str, Any]:
    namespaces = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
    if process.network == "none":
        namespaces.append({"type": "network"})
    everything = {"access": "rwm", "allow": process.insecure}
    nodes = ({"type": kind, "access": "m", "allow": True} for kind in ("c", "b"))
    sandbox = {
        "seccomp": profile(Platform.host().architecture),
        "maskedPaths": list(_MASKED),
        "readonlyPaths": list(_READ_ONLY),
    }
    return {
        "namespaces": namespaces,
        "cgroupsPath": f"/{cgroup_of(place.id, process.limits.cgroup_parent)}",
        "resources": {"devices": [everything, *nodes], **process.limits.resources},
        **({} if process.insecure else sandbox),
    }


def hosts_file(process: Process) -> str:
    """/etc/hosts of a step: localhost, its hostname, and what was added; nothing of this machine's.

    Else a build would depend on where it runs.
    """
    lines = [
        f"127.0.0.1\tlocalhost {process.hostname}",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        *(f"{address}\t{name}" for name, address in process.hosts),
    ]
    return "\n".join(lines) + "\n"


def resolv_file() -> str:
    """/etc/resolv.conf of a step: the machine's own."""
    try:
        with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
