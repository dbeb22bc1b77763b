"""Platforms and how they match, by containerd's rules (containerd/platforms).

Normalised: `x86_64` is `amd64`, `aarch64` is `arm64` (whose only variant, v8, is
left out), `armhf` is `arm/v7`, `armel` is `arm/v6`, `amd64/v1` is `amd64`.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Self, TypeVar

from argosy.errors import InvalidPlatform
from argosy.values import frozen

T = TypeVar("T")

_PART = re.compile(r"[A-Za-z0-9_.-]+")
_OS = {"macos": "darwin"}
_ARCH = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5l": ("arm", "v5"),
    "ppc64el": ("ppc64le", ""),
    "mips64el": ("mips64le", ""),
    "loongarch64": ("loong64", ""),
}
_DEFAULT_VARIANT = {"arm": "v7", "arm64": "v8", "amd64": "v1"}
KNOWN_ARCHITECTURES = frozenset(
    "386 amd64 arm arm64 loong64 mips mipsle mips64 mips64le ppc ppc64 ppc64le riscv riscv64"  # noqa: SIM905 - a word a line would hide the table
    " s390 s390x sparc64 wasm".split()
)
_KNOWN_OS = frozenset(
    "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9"  # noqa: SIM905
    " solaris wasip1 windows zos".split()
)


@frozen
class Platform:
    """An operating system and processor an image is for; always held normalised."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `os`, `arch`, `os/arch/variant`, `os(version+feature)/arch`; InvalidPlatform says why not."""
        system, slash, rest = text.strip().partition("/")
        system, version, features = _split_options(text, system)
        parts = [system, *rest.split("/")] if slash else [system]
        if len(parts) > 3 or not all(_PART.fullmatch(p) for p in parts):
            raise InvalidPlatform(
                f"{text!r} is not a platform",
                why="it has the form os/architecture[/variant]",
                remedy="write for example linux/amd64 or linux/arm/v7",
            )
        if len(parts) == 1:
            return cls._from_single(text, parts[0].lower(), version)
        variant = parts[2] if len(parts) == 3 else ""
        return cls.of(parts[0], parts[1], variant, version, features)

    @classmethod
    def _from_single(cls, text: str, word: str, version: str) -> Self:
        if _OS.get(word, word) in _KNOWN_OS:
            return cls.of(word, cls.host().architecture, "", version)
        if _normal_arch(word, "")[0] in KNOWN_ARCHITECTURES:
            return cls.of("linux", word)
        raise InvalidPlatform(
            f"{text!r} is not a platform",
            why=f"{word!r} is neither an operating system nor an architecture known here",
            remedy="write for example linux/amd64",
        )

    @classmethod
    def of(
        cls,
        os: str,
        architecture: str,
        variant: str = "",
        os_version: str = "",
        os_features: Iterable[str] = (),
    ) -> Self:
        """A platform from its parts, normalised."""
        arch, variant = _normal_arch(architecture.lower(), variant.lower())
        features = tuple(sorted(set(os_features)))
        return cls(_OS.get(os.lower(), os.lower()), arch, variant, os_version, features)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """From a descriptor's `platform` or an image config (same field names); TypeError if not text."""
        words = [value.get(n) or "" for n in ("os", "architecture", "variant", "os.version")]
        features = value.get("os.features") or []
        if not isinstance(features, list) or not all(
            isinstance(word, str) for word in [*words, *features]
        ):
            raise TypeError("os, architecture, variant, os.version and os.features must be text")
        system, architecture, variant, version = words
        return cls.of(system, architecture, variant, version, features)

    @classmethod
    def host(cls) -> Self:
        """The platform this process runs on."""
        name = os.uname()
        return cls.of(name.sysname, name.machine)

    def to_json(self) -> dict[str, Any]:
        """The descriptor's `platform` object; empty parts are left out."""
        value: dict[str, Any] = {"architecture": self.architecture, "os": self.os}
        if self.os_version:
            value["os.version"] = self.os_version
        if self.os_features:
            value["os.features"] = list(self.os_features)
        # The registry of images always writes arm's variant; arm64's v8 only when it is given.
        variant = self.variant or ("v7" if self.architecture == "arm" else "")
        return {**value, "variant": variant} if variant else value

    def __str__(self) -> str:
        options = "+".join((self.os_version, *self.os_features))
        version = f"({options})" if options else ""
        return "/".join(p for p in (self.os + version, self.architecture, self.variant) if p)

    @property
    def is_known(self) -> bool:
        """False for `unknown/unknown`, what attestation manifests carry."""
        return self.os not in ("", "unknown") and self.architecture not in ("", "unknown")

    def matches(self, other: "Platform") -> bool:
        """Strict match: `other` is this very platform and needs no feature this one lacks.

        On Windows the build numbers are the same too, where both are stated.
        """
        same = (self.os, self.architecture, _full_variant(self)) == (
            other.os,
            other.architecture,
            _full_variant(other),
        )
        if not same or not set(other.os_features) <= set(self.os_features):
            return False
        return self.os != "windows" or _windows_match(self.os_version, other.os_version)

    def runnable(self) -> list["Platform"]:
        """What a machine of this platform can run, best first (containerd's `Only` vector)."""
        return [self, *(replace(self, architecture=a, variant=v) for a, v in _fallbacks(self))]


def _split_options(text: str, system: str) -> tuple[str, str, list[str]]:
    if "(" not in system:
        return system, "", []
    name, _, rest = system.partition("(")
    if not rest.endswith(")"):
        raise InvalidPlatform(
            f"{text!r} is not a platform",
            why="the parenthesis of the OS version is not closed",
            remedy="write for example windows(10.0.17763)/amd64",
        )
    version, *features = rest[:-1].split("+")
    return name, version, features


def _normal_arch(architecture: str, variant: str) -> tuple[str, str]:
    arch, implied = _ARCH.get(architecture, (architecture, ""))
    variant = (implied or variant).removesuffix(".0")
    if variant and variant[0].isdigit():
        variant = "v" + variant
    if arch == "arm":
        variant = variant or "v7"
    elif architecture == "i386" or (arch in _DEFAULT_VARIANT and variant == _DEFAULT_VARIANT[arch]):
        variant = ""
    return arch, variant


def _full_variant(platform: Platform) -> str:
    return platform.variant or _DEFAULT_VARIANT.get(platform.architecture, "")


def _fallbacks(platform: Platform) -> list[tuple[str, str]]:
    arch, variant = platform.architecture, _full_variant(platform)
    level = int(variant[1:]) if re.fullmatch(r"v[0-9]", variant) else 0
    if arch == "amd64":
        lower = [(arch, "" if n == 1 else f"v{n}") for n in range(level - 1, 0, -1)]
        return [*lower, ("386", "")]
    if arch == "arm64":
        return [*_arm64_fallbacks(variant), *(("arm", f"v{n}") for n in (8, 7, 6, 5))]
    if arch == "arm":
        return [(arch, f"v{n}") for n in range(level - 1, 4, -1)]
    return []


def _arm64_fallbacks(variant: str) -> list[tuple[str, str]]:
    """Lower minor versions; v9.x runs what v8.(x+5) does (Arm: v9.0 is v8.5 and more)."""
    found = re.fullmatch(r"v([89])(?:\.([0-9]))?", variant)
    if found is None:
        return []
    major, minor = int(found[1]), int(found[2] or 0)
    lower = [(9, n) for n in range(minor - 1, -1, -1)] if major == 9 else []
    top = minor + 5 if major == 9 else minor - 1
    lower += [(8, n) for n in range(top, -1, -1)]
    words = [f"v{m}.{n}" if n else f"v{m}" for m, n in lower]
    return [("arm64", "" if word == "v8" else word) for word in words]


def _windows_match(wanted: str, have: str) -> bool:
    # Windows containers need the host's build: the first three numbers of os.version.
    return not wanted or not have or wanted.split(".")[:3] == have.split(".")[:3]


def best_match(wanted: Platform, have: Sequence[tuple[Platform, T]]) -> T | None:
    """The item whose platform suits `wanted` best, the first among equals; None if none can run."""
    for candidate in wanted.runnable():
        for platform, item in have:
            if candidate.matches(platform):
                return item
    return None
