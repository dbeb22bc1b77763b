"""Every setting, declared once: name, type, default, environment variable, meaning.

Order of precedence: a flag, `ARGOSY_<NAME>` in the environment, the default.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from argosy.errors import ConfigError

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|d|h|m|s))+")
_PIECE = re.compile(r"(\d+(?:\.\d+)?)(ms|d|h|m|s)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DECIMAL = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp])b", re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def amount(text: str) -> int:
    """Bytes of storage, as they are shown again: `10GB` is 10^10, `10GiB` and `10g` are binary.

    ValueError for anything else.
    """
    if found := _DECIMAL.fullmatch(text.strip()):
        return int(float(found[1]) * 1000 ** (" kmgtp".index(found[2].lower())))
    return size(text)


def size(text: str) -> int:
    """Bytes as docker reads them: `512`, `64k`, `10MB`, `2GiB`, all binary. ValueError for anything else."""
    plain = text.strip().lower().removesuffix("ib").removesuffix("b")
    number = plain.rstrip("kmgt")
    unit = plain[len(number) :]
    if unit not in _UNITS or not number.replace(".", "", 1).isdecimal():
        raise ValueError(f"{text!r} is not a size such as 64k or 2GiB")
    return int(float(number) * _UNITS[unit])


def switch(text: str) -> bool:
    """`1`, `true`, `on`, or `0`, `false`, `off`. ValueError for anything else."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def duration(text: str) -> float:
    """Seconds from `90`, `48h`, `1h30m`, `250ms` or `7d`. ValueError for anything else."""
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration such as 48h or 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in _PIECE.findall(text))


def _setting(default: Any, parse: Callable[[str], Any], help: str) -> Any:  # noqa: A002
    return field(default=default, metadata={"parse": parse, "help": help})


INVOKER = "ARGOSY_ROOTLESS_UID"  # set in a user namespace: who this root is outside


def invoker() -> int:
    """The uid of who called: in a user namespace of Argosy's own not 0, though it looks so there."""
    said = os.environ.get(INVOKER, "")
    return int(said) if said.isdecimal() else os.geteuid()


def _default_home() -> str:
    if invoker() == 0:
        return "/var/lib/argosy"
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(data, "argosy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What can be tuned; read once at start, handed down, never global."""

    home: str = _setting("", str, "directory of local images, build cache and snapshots")
    retries: int = _setting(5, int, "how often a failed transfer is tried again")
    retry_wait: float = _setting(1.0, float, "seconds before the first retry; doubles each time")
    retry_wait_max: float = _setting(30.0, float, "seconds a retry waits at most")
    auth_retries: int = _setting(3, int, "how often a token is asked for again")
    auth_retry_wait: float = _setting(0.1, float, "seconds before a token is asked for again")
    connect_timeout: float = _setting(10.0, float, "seconds to connect to a registry")
    read_timeout: float = _setting(
        60.0, float, "seconds without a byte before a transfer is broken off"
    )
    jobs: int = _setting(4, int, "blobs in flight at once in one copy")
    chunk_size: int = _setting(0, size, "upload blobs in chunks of this size; 0 streams them whole")
    verify_timeout: float = _setting(
        5.0, float, "seconds to verify a manifest before an index is tagged"
    )
    upload_ttl: float = _setting(
        86400.0, float, "seconds after which a registry drops an upload nobody writes to"
    )

    gc: bool = _setting(True, switch, "remove old build cache after builds")
    gc_interval: float = _setting(300.0, duration, "how often builds look for old cache")
    gc_max_used_space: str = _setting(
        "80%,100GB", str, "what builds may keep on the disk; of several amounts the lesser"
    )
    gc_min_free_space: str = _setting("20%", str, "what the disk has to have free")
    gc_reserved_space: str = _setting(
        "10%,10GB", str, "what builds may keep however full the disk is"
    )
    gc_age: float = _setting(5184000.0, duration, "how long unused build cache is kept: 60 days")
    gc_sources_space: str = _setting(
        "512MB", str, "above this, cache mounts and sources go when they are old"
    )
    gc_sources_age: float = _setting(172800.0, duration, "when they are old: after 48 hours")
    history_entries: int = _setting(50, int, "builds that are remembered; 0 remembers none")
    history_age: float = _setting(604800.0, duration, "how long builds are remembered: 7 days")

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Settings from `ARGOSY_*` variables; ConfigError names the variable that cannot be read."""
        environ = os.environ if environ is None else environ
        found: dict[str, Any] = {}
        for item in fields(cls):
            variable = f"ARGOSY_{item.name.upper()}"
            if (text := environ.get(variable)) is not None:
                found[item.name] = _parsed(variable, text, item.metadata["parse"])
        found["home"] = found.get("home") or _default_home()
        return cls(**found)


def _parsed(variable: str, text: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(text)
    except (ValueError, KeyError) as e:
        raise ConfigError(
            f"{variable}={text!r} cannot be read",
            why=str(e),
            remedy="unset it or give it a valid value",
        ) from e
