"""Who asks for an image: the place, and the name that was perhaps meant.

For errors that come up when an image is looked up, far from the Dockerfile.
"""

from collections.abc import Iterator

from argosy.build.dockerfile.instructions import From, Instruction
from argosy.build.dockerfile.parser import Dockerfile
from argosy.build.dockerfile.source import SourceRange, did_you_mean
from argosy.build.dockerfile.stages import from_names
from argosy.errors import ArgosyError, NoMatchingPlatform

# The images that most Dockerfiles stand on, as in BuildKit's suggestions.
_COMMON = ("alpine", "busybox", "centos", "debian", "fedora", "golang", "ubuntu")


def tell_where(error: ArgosyError, dockerfile: Dockerfile, image: str) -> None:
    """Add to an error about an image the line that asks for it, and a name that is much like it."""
    where = _asker(dockerfile, image)
    if where.first:
        error.evidence.setdefault("file", where.file)
        error.evidence.setdefault("line", where.first)
    if isinstance(error, NoMatchingPlatform):
        return  # the name was right
    if meant := similar_stage(dockerfile, image):
        error.remedy = f"{meant} {error.remedy}".rstrip()


def similar_stage(dockerfile: Dockerfile, image: str) -> str:
    """`did you mean …?` when an image that was not found is like a stage's or a well known name."""
    names = [s.start.name_written for s in dockerfile.stages if s.start.name]
    known = [name for name in (*names, *_COMMON) if name.lower() != image.lower()]
    return did_you_mean(image.partition(":")[0], known) if image not in _COMMON else ""


def _asker(dockerfile: Dockerfile, image: str) -> SourceRange:
    """The first instruction that names the image; else the first that might, by a variable."""
    named = list(_named(dockerfile))
    for instruction, written in named:
        if written == image:
            return instruction.where
    for instruction, written in named:
        if isinstance(instruction, From) and "$" in written:
            return instruction.where
    return SourceRange()


def _named(dockerfile: Dockerfile) -> Iterator[tuple[Instruction, str]]:
    for stage in dockerfile.stages:
        yield stage.start, stage.start.image
        for instruction in stage.instructions:
            for name in from_names([instruction]):
                yield instruction, name
