"""`--cache-to` and `--cache-from`: the words of buildx, read into values."""

import csv
from collections.abc import Mapping
from dataclasses import field
from typing import Literal, Self, get_args

from argosy.errors import UsageError
from argosy.model.digest import Digest
from argosy.model.reference import Reference
from argosy.values import frozen

CacheKind = Literal["registry", "local", "inline", "gha"]
Mode = Literal["min", "max"]
Compressing = Literal["", "gzip", "zstd", "none"]

_COMMON = {"mode", "mounts", "ignore-error", "compression", "compression-level"}
_FORM = {*_COMMON, "force-compression", "image-manifest", "oci-mediatypes"}
_SERVICE = {"scope", "url", "url_v2", "token", "timeout", "ghtoken", "repository"}
_TO = {
    "registry": {*_FORM, "ref"},
    "local": {*_FORM, "dest", "tag", "reset"},
    "inline": {"mode"},
    "gha": {*_FORM, *_SERVICE},
}
_FROM = {
    "registry": {"ref", "mounts"},
    "local": {"src", "tag", "digest", "mounts"},
    "gha": {*_SERVICE, "mounts"},
}
_COMPRESSIONS: dict[str, Compressing] = {"gzip": "gzip", "zstd": "zstd", "uncompressed": "none"}
_UNITS = {"s": 1, "m": 60, "h": 3600}


@frozen(kw_only=True)
class ActionsCache:
    """Where GitHub's cache service is, and which part of it is meant; empty means the job's own."""

    scope: str = "argosy"
    url: str = ""
    url_v2: str = ""
    token: str = field(default="", repr=False)
    timeout: float = 600.0  # seconds that one blob may take


@frozen(kw_only=True)
class CacheTo:
    """One `--cache-to`: where the records of a build go."""

    kind: CacheKind
    ref: str = ""  # registry: the reference; local: the tag
    dest: str = ""
    mode: Mode = "min"
    oci_media_types: bool = True
    compression: Compressing = ""  # of layers that the image does not have; empty: as they are
    compression_level: int | None = None
    force_compression: bool = False
    ignore_error: bool = False
    reset: bool = False
    mounts: bool = False
    actions: ActionsCache = field(default_factory=ActionsCache)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `type=registry,ref=…` or a bare reference; UsageError says what cannot be read."""
        words = _Words.read("--cache-to", text, _TO)
        kind = words.kind(("registry", "local", "inline", "gha"))
        words.true("image-manifest", default=True)  # it always is: below an index
        return cls(
            kind=kind,
            ref=words.place(kind, "dest"),
            dest=words.get("dest"),
            mode="max" if words.one_of("mode", ("min", "max"), "min") == "max" else "min",
            oci_media_types=words.true("oci-mediatypes", default=True),
            compression=words.compression(),
            compression_level=words.level(),
            force_compression=words.true("force-compression"),
            ignore_error=words.true("ignore-error"),
            reset=words.true("reset"),
            mounts=words.true("mounts"),
            actions=words.actions(),
        )

    @property
    def name(self) -> str:
        """How it is called in progress and errors."""
        return _name(self.kind, self.ref, self.dest, self.actions)


@frozen(kw_only=True)
class CacheFrom:
    """One `--cache-from`: where records of earlier builds are looked up."""

    kind: CacheKind
    ref: str = ""  # registry: the reference; local: the tag or digest
    src: str = ""
    mounts: bool = False
    actions: ActionsCache = field(default_factory=ActionsCache)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `type=local,src=…` or a bare reference; UsageError says what cannot be read."""
        words = _Words.read("--cache-from", text, _FROM)
        kind = words.kind(("registry", "local", "gha"))
        digest = words.get("digest")
        return cls(
            kind=kind,
            ref=Digest.parse(digest) if digest else words.place(kind, "src"),
            src=words.get("src"),
            mounts=words.true("mounts"),
            actions=words.actions(),
        )

    @property
    def name(self) -> str:
        """How it is called in progress and errors."""
        return _name(self.kind, self.ref, self.src, self.actions)


def _name(kind: str, ref: str, path: str, actions: ActionsCache) -> str:
    place = {"registry": ref, "local": path, "gha": actions.scope}.get(kind, "")
    return f"{kind} cache {place}".strip()


@frozen
class _Words:
    """The fields of one flag's value, with errors that name the flag."""

    flag: str
    text: str
    fields: Mapping[str, str]

    @classmethod
    def read(cls, flag: str, text: str, known: Mapping[str, set[str]]) -> Self:
        if "=" not in text:
            return cls(flag, text, {"type": "registry", "ref": text})
        words = cls(flag, text, _fields(flag, text))
        kind = words.fields.get("type", "registry")
        if kind not in known:
            raise words.unreadable(f"type must be one of {', '.join(known)}")
        if unknown := sorted(set(words.fields) - known[kind] - {"type"}):
            raise words.unreadable(f"type={kind} has no {unknown[0]!r} here")
        return words

    def kind(self, kinds: tuple[CacheKind, ...]) -> CacheKind:
        name = self.fields.get("type", "registry")
        return next(k for k in get_args(CacheKind) if k == name and k in kinds)

    def get(self, name: str, default: str = "") -> str:
        return self.fields.get(name, default)

    def true(self, name: str, *, default: bool = False) -> bool:
        value = self.get(name, "true" if default else "false").lower()
        if value not in ("true", "false", "1", "0"):
            raise self.unreadable(f"{name} must be true or false")
        return value in ("true", "1")

    def one_of(self, name: str, values: tuple[str, ...], default: str) -> str:
        value = self.get(name, default)
        if value not in values:
            raise self.unreadable(f"{name} must be {' or '.join(values)}")
        return value

    def place(self, kind: CacheKind, path: str) -> str:
        """The registry's reference, in full, or the tag of a directory."""
        if kind == "registry":
            if not self.get("ref"):
                raise self.unreadable("type=registry needs ref=REGISTRY/REPOSITORY:TAG")
            found = Reference.parse(self.get("ref"))
            return str(found if found.tag or found.digest else found.with_tag("latest"))
        if kind == "local" and not self.get(path):
            raise self.unreadable(f"type=local needs {path}=DIRECTORY")
        return self.get("tag", "latest") if kind == "local" else ""

    def compression(self) -> Compressing:
        name = self.get("compression")
        if name and name not in _COMPRESSIONS:
            raise self.unreadable(f"compression must be one of {', '.join(_COMPRESSIONS)}")
        if not name and (self.get("compression-level") or self.true("force-compression")):
            raise self.unreadable("say which compression=gzip|zstd|uncompressed is meant")
        return _COMPRESSIONS.get(name, "")

    def level(self) -> int | None:
        text = self.get("compression-level")
        if text and not text.isdecimal():
            raise self.unreadable("compression-level must be a number")
        return int(text) if text else None

    def actions(self) -> ActionsCache:
        return ActionsCache(
            scope=self.get("scope", "argosy"),
            url=self.get("url"),
            url_v2=self.get("url_v2"),
            token=self.get("token"),
            timeout=self._seconds(self.get("timeout", "10m")),
        )

    def _seconds(self, text: str) -> float:
        number, unit = (text[:-1], text[-1:]) if text[-1:] in _UNITS else (text, "s")
        if not number.isdecimal():
            raise self.unreadable("timeout is a duration as 90s, 10m or 1h")
        return float(int(number) * _UNITS[unit])

    def unreadable(self, why: str) -> UsageError:
        return UsageError(
            f"{self.flag} {_shown(self.text)!r} cannot be read",
            why=why,
            remedy=f"write for example {self.flag} type=registry,ref=registry/repository:cache",
        )


def _fields(flag: str, text: str) -> dict[str, str]:
    try:
        parts = next(csv.reader([text], strict=True), [])
    except csv.Error as e:
        raise _Words(flag, text, {}).unreadable(str(e)) from e
    fields: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals:
            raise _Words(flag, text, {}).unreadable(f"{_shown(part)!r} is not NAME=VALUE")
        fields[name.strip().lower()] = value.strip()
    return fields


def _shown(text: str) -> str:
    """The words without a token's value: errors end in logs."""
    parts = (
        "token=…" if p.strip().lower().startswith(("token=", "ghtoken=")) else p
        for p in text.split(",")
    )
    return ",".join(parts)
