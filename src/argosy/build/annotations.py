"""Annotations and the places they go to: manifests, the index, and the descriptors of either.

`--annotation [TYPE[PLATFORM],…:]KEY=VALUE` as buildx reads it, and the image
exporter's `annotation-TYPE[PLATFORM].KEY=VALUE` in `--output`. Without a type it is
the manifest's, of every platform.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Self, get_args

from argosy.errors import UsageError
from argosy.model.platform import Platform
from argosy.values import frozen

Level = Literal["manifest", "index", "manifest-descriptor", "index-descriptor"]
_WHERE = re.compile(r"([a-z-]+)(?:\[([A-Za-z0-9_./-]+)])?")
_ATTRIBUTE = re.compile(r"annotation(?:-([a-z-]+))?(?:\[([^]]+)])?\.(.+)", re.DOTALL)


@frozen
class Annotation:
    """One note at one level; of one platform, or of all."""

    key: str
    value: str
    level: Level = "manifest"
    platform: Platform | None = None

    @classmethod
    def parse(cls, name: str, value: str) -> tuple[Self, ...]:
        """Read the name and value of `--annotation`; one for each place named. UsageError."""
        where, colon, key = name.partition(":")
        if not colon:
            return (cls(name, value),)
        places = where.split(",")
        if not key:
            raise _unreadable(name, "there is no key after the colon")
        return tuple(cls(key, value, *_place(name, place)) for place in places)

    @classmethod
    def of_attribute(cls, name: str, value: str) -> Self | None:
        """Read an attribute of `--output`; None if it is no annotation."""
        found = _ATTRIBUTE.fullmatch(name)
        if found is None:
            return None
        level, platform, key = found.groups()
        return cls(
            key,
            value,
            _level(name, level or "manifest"),
            Platform.parse(platform) if platform else None,
        )


def _place(name: str, text: str) -> tuple[Level, Platform | None]:
    found = _WHERE.fullmatch(text.strip())
    if found is None:
        raise _unreadable(name, f"{text!r} is not TYPE or TYPE[PLATFORM]")
    return _level(name, found[1]), Platform.parse(found[2]) if found[2] else None


def _level(name: str, text: str) -> Level:
    for level in get_args(Level):
        if level == text:
            return _as_level(text)
    raise _unreadable(name, f"{text!r} is not one of {', '.join(get_args(Level))}")


def _as_level(text: str) -> Level:
    return next(level for level in get_args(Level) if level == text)


def _unreadable(name: str, why: str) -> UsageError:
    return UsageError(
        f"annotation {name!r} cannot be read",
        why=why,
        remedy="write KEY=VALUE, index:KEY=VALUE or manifest[linux/arm64]:KEY=VALUE",
    )


@frozen
class Annotations:
    """The notes of one result; where two say different things, the later one counts."""

    all: tuple[Annotation, ...] = ()

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Self:
        """Those of `--annotation`, by the name with its types."""
        return cls(tuple(a for name, value in given.items() for a in Annotation.parse(name, value)))

    def __add__(self, more: "Annotations | Iterable[Annotation]") -> "Annotations":
        return Annotations((*self.all, *(more.all if isinstance(more, Annotations) else more)))

    def at(self, level: Level, platform: Platform | None = None) -> dict[str, str]:
        """What is written at a level; of a platform those for all platforms too."""
        return {
            a.key: a.value
            for a in self.all
            if a.level == level and (a.platform is None or a.platform == platform)
        }

    def check(self, platforms: Sequence[Platform]) -> None:
        """UsageError for a note whose place the result does not have."""
        for note in self.all:
            if note.level in ("index", "index-descriptor") and len(platforms) < 2:
                raise UsageError(
                    f"annotation {note.key} is for an index, but the result is a single manifest",
                    remedy="build for several platforms, or annotate the manifest",
                )
            if note.platform is not None and note.platform not in platforms:
                raise UsageError(
                    f"annotation {note.key} is for {note.platform}, which is not built",
                    why=f"the build is for {', '.join(map(str, platforms))}",
                    remedy="add it to --platform, or leave the platform away",
                )
