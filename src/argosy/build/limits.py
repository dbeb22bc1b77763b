"""What a RUN step may use at most, as `--resource`, `--ulimit` and `--shm-size` say it.

Limits are about the machine, not the result, so they are never part of a cache key.
Source: docker buildx build; OCI runtime-spec config.md (rlimits), config-linux.md (resources).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Literal, Self

from argosy.errors import UsageError
from argosy.settings import size
from argosy.values import frozen

_ULIMITS = (
    *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice"),
    *("nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"),
)
_UNLIMITED = (1 << 64) - 1


@frozen(kw_only=True)
class Ulimit:
    """One resource limit of the processes: `nofile=1024:2048`; -1 is none."""

    name: str
    soft: int
    hard: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `NAME=SOFT[:HARD]`. UsageError, if it is not one."""
        name, equals, values = text.partition("=")
        soft, _, hard = values.partition(":")
        known = name in _ULIMITS and equals
        if not known or not (_whole(soft) and _whole(hard or soft)):
            raise UsageError(
                f"--ulimit {text!r} cannot be read",
                why="" if known else f"known limits are {', '.join(_ULIMITS)}",
                remedy="write for example --ulimit nofile=1024:2048",
            )
        low, high = int(soft), int(hard or soft)
        if high != -1 and (low > high or low == -1):
            raise UsageError(f"--ulimit {text!r}: the soft limit is above the hard one")
        return cls(name=name, soft=low, hard=high)

    def to_json(self) -> dict[str, Any]:
        """As the OCI runtime-spec has it."""
        soft, hard = (_UNLIMITED if n == -1 else n for n in (self.soft, self.hard))
        return {"type": f"RLIMIT_{self.name.upper()}", "soft": soft, "hard": hard}


@frozen(kw_only=True)
class Limits:
    """Limits of each step; 0 and `` set none."""

    memory: int = 0  # bytes
    memory_swap: int = 0  # bytes of memory and swap together; -1 is no limit
    cpu_shares: int = 0  # relative weight
    cpu_period: int = 0  # microseconds
    cpu_quota: int = 0  # microseconds per period
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    shm_size: int = 0  # of /dev/shm, bytes; 0 is 64 MiB
    ulimits: tuple[Ulimit, ...] = field(default=())
    cgroup_parent: str = ""

    @property
    def resources(self) -> dict[str, Any]:
        """The `memory` and `cpu` parts of the OCI runtime-spec's `linux.resources`."""
        memory = {"limit": self.memory, "swap": self._swap}
        cpu = {
            "shares": self.cpu_shares,
            "period": self.cpu_period,
            "quota": self.cpu_quota,
            "cpus": self.cpuset_cpus,
            "mems": self.cpuset_mems,
        }
        parts = {"memory": _given(memory), "cpu": _given(cpu)}
        return {name: part for name, part in parts.items() if part}

    @property
    def _swap(self) -> int:
        # As docker: a limit of memory alone allows as much swap again.
        return self.memory_swap or (2 * self.memory)


@frozen(kw_only=True)
class Conditions:
    """What a build says of all its RUN steps."""

    network: Literal["default", "none", "host"] = "default"
    hostname: str = "argosy"
    hosts: tuple[tuple[str, str], ...] = ()  # --add-host
    limits: Limits = field(default_factory=Limits)
    allow: frozenset[str] = frozenset()  # entitlements: what --allow names


def _given(part: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if value}


def read_resources(words: Sequence[str]) -> dict[str, Any]:
    """The fields of Limits that `--resource memory=1g,cpu-quota=…` words set. UsageError."""
    found: dict[str, Any] = {}
    for word in words:
        for part in word.split(","):
            name, equals, value = part.partition("=")
            read = _RESOURCES.get(name.strip())
            if read is None or not equals:
                raise UsageError(
                    f"--resource {part!r} cannot be read",
                    remedy=f"write NAME=VALUE; names are {', '.join(_RESOURCES)}",
                )
            found[name.strip().replace("-", "_")] = _read(part, value.strip(), read)
    return found


def _read(part: str, value: str, read: Callable[[str], Any]) -> Any:
    try:
        return read(value)
    except ValueError as e:
        raise UsageError(f"--resource {part!r} cannot be read", why=str(e)) from e


def read_size(flag: str, text: str) -> int:
    """Bytes from `64m` or `1g`; UsageError names the flag."""
    try:
        return size(text) if text else 0
    except ValueError as e:
        raise UsageError(f"{flag} {text!r} is not a size", remedy=f"write {flag} 128m") from e


def _swap(text: str) -> int:
    return -1 if text == "-1" else size(text)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def _set(text: str) -> str:
    if not text or set(text) - set("0123456789,-"):
        raise ValueError(f"{text!r} is not a set of numbers such as 0-3,8")
    return text


def _whole(text: str) -> bool:
    return text == "-1" or text.isdecimal()


_RESOURCES: Mapping[str, Callable[[str], Any]] = {
    "memory": size,
    "memory-swap": _swap,
    "cpu-shares": _count,
    "cpu-period": _count,
    "cpu-quota": _count,
    "cpuset-cpus": _set,
    "cpuset-mems": _set,
}
