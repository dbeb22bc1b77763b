"""What ADD takes from outside: each source resolved once per build, all at the same time."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Union

from argosy.build.dockerfile.git_reference import parse_git
from argosy.build.dockerfile.plan import CopyStep, Download, Plan
from argosy.build.sources.outside import Outside
from argosy.concurrency import gather
from argosy.errors import ArgosyError, BuildError

if TYPE_CHECKING:
    from argosy.build.sources.mirror import GitTree
    from argosy.build.sources.web import WebFile

Added = Union["WebFile", "GitTree"]


@dataclass(slots=True)
class Additions:
    """The downloads of one build's plans."""

    outside: Outside
    _found: dict[Download, Added] = field(default_factory=dict)

    async def resolve_all(self, plan: Plan) -> Mapping[Download, Added]:
        """Every download of a plan; the first error names the line that asks for it."""
        steps = [s for stage in plan.stages for s in stage.steps if isinstance(s, CopyStep)]
        new = {d: step for step in steps for d in step.downloads if d not in self._found}
        await gather(self._resolve(d, step) for d, step in new.items())
        return self._found

    async def _resolve(self, download: Download, step: CopyStep) -> None:
        found = added(download, self.outside)
        try:
            await found.resolve()
        except ArgosyError as e:
            e.evidence.setdefault("file", step.where.file)
            e.evidence.setdefault("line", step.where.first)
            raise
        self._found[download] = found


def added(download: Download, outside: Outside) -> Added:
    """The source that a download stands for; nothing is asked yet."""
    # Most builds have neither: their start does not pay for them.
    from argosy.build.sources.mirror import GitTree  # noqa: PLC0415
    from argosy.build.sources.web import WebFile  # noqa: PLC0415

    if download.kind == "http":
        return WebFile(download.url, outside, download.checksum)
    reference = parse_git(download.url)
    if reference is None:
        raise BuildError(f"{download.url!r} is no git repository")
    return GitTree(
        replace(
            reference,
            keep_git_dir=reference.keep_git_dir or download.keep_git_dir,
            checksum=download.checksum or reference.checksum,
        ),
        outside,
    )
