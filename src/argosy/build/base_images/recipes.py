"""Which base images can be made, and of what: `debian:RELEASE[-slim]`, `busybox[:RELEASE]`."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from argosy.build.base_images.busybox import busybox_tree
from argosy.build.base_images.debian import machine_suite
from argosy.build.base_images.tree import clean_tree
from argosy.errors import UsageError
from argosy.values import frozen

# Release numbers, for those who think in them; apt knows the names.
_NUMBERS = {"10": "buster", "11": "bullseye", "12": "bookworm", "13": "trixie", "14": "forky"}
_SUITE = re.compile(r"[a-z][a-z0-9.-]*")


@frozen(kw_only=True)
class Recipe:
    """How one kind of base image is made of Debian's packages."""

    suite: str
    variant: Literal["minbase", "extract"]  # of mmdebstrap; `extract` runs nothing
    packages: tuple[str, ...]
    command: str  # what the image runs if nothing else is said
    clean: Callable[[Iterator[bytes], int], Iterator[bytes]]  # the file tree's tar to the layer's
    slim: bool = False  # without documentation

    @property
    def runs(self) -> bool:
        """Whether programs of the image are run to make it, so that foreign ones need an emulator."""
        return self.variant != "extract"


def recipe_of(what: str, packages: Sequence[str] = ()) -> Recipe:
    """The recipe of `debian:bookworm-slim` or `busybox`; UsageError says what there is."""
    kind, _, release = what.partition(":")
    default = (kind == "busybox" and machine_suite()) or "stable"
    name = (release or default).removesuffix("-slim")
    suite = _NUMBERS.get(name, name)
    more = tuple(sorted(set(packages)))
    if kind not in ("debian", "busybox") or not _SUITE.fullmatch(suite):
        raise UsageError(
            f"Argosy has no recipe for {what!r}",
            why="base images are made from Debian's packages",
            remedy="write debian:RELEASE, for example debian:bookworm or debian:12-slim; or busybox",
        )
    slim = release.endswith("-slim")
    if kind == "debian":
        return Recipe(
            suite=suite,
            variant="minbase",
            packages=more,
            command="bash",
            clean=clean_tree,
            slim=slim,
        )
    if more or slim:
        raise UsageError(
            "a busybox base has one program and no package manager",
            remedy="leave --include and -slim away, or take debian:RELEASE",
        )
    return Recipe(
        suite=suite,
        variant="extract",
        packages=("busybox-static",),
        command="sh",
        clean=busybox_tree,
    )
