"""build: from a Dockerfile and a context to images where they were asked for."""

from argosy.build.options import (
    Archive,
    BuildOptions,
    BuildResult,
    Ends,
    Engine,
    Output,
    Secret,
)
from argosy.observe import Report, silent
from argosy.settings import Settings

__all__ = ["Archive", "BuildOptions", "BuildResult", "Ends", "Engine", "Output", "Secret", "build"]


async def build(
    options: BuildOptions,
    *,
    settings: Settings,
    ends: Ends,
    report: Report = silent,
    engine: Engine | None = None,
) -> BuildResult:
    """Build for every platform and export; each equal step runs once.

    Raises DockerfileError, StepFailed, another ArgosyError; nothing is tagged or
    pushed unless every platform was built.
    """
    raise NotImplementedError
