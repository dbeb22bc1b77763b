"""Checks of FROM: the image, its platform, and the arguments in both.

Source: BuildKit's dockerfile2llb, toDispatchState and validations.go.
"""

from collections.abc import Mapping
from contextlib import suppress

from argosy.build.dockerfile.expand import Watched, expand
from argosy.build.dockerfile.lint import rules
from argosy.build.dockerfile.lint.findings import Findings
from argosy.build.dockerfile.lint.suggest import hint
from argosy.build.dockerfile.parser import BuildStage, Dockerfile
from argosy.build.dockerfile.source import Fault
from argosy.build.dockerfile.stages import FrontendOptions, global_scope
from argosy.errors import ArgosyError
from argosy.model.platform import Platform
from argosy.model.reference import Reference

_MAX_KNOWN = 200


def check_origins(dockerfile: Dockerfile, options: FrontendOptions, found: Findings) -> None:
    """Every FROM of the file; DockerfileError if the global arguments cannot be evaluated."""
    scope = global_scope(dockerfile, options)
    defaults = _defaults(dockerfile, options)
    declared = {name for arg in dockerfile.global_args for name, _ in arg.args}
    known = declared | scope.keys()
    for stage in dockerfile.stages:
        for word in (stage.start.image, stage.start.platform):
            missing = _Read(word, scope, dockerfile.escape).missing - known
            for name in sorted(missing):
                said = hint(name, known) if len(known) < _MAX_KNOWN else ""
                found.add(rules.UNDEFINED_ARG_IN_FROM, stage.start.where, name, said)
        platform = _Read(stage.start.platform, scope, dockerfile.escape)
        _platform(stage, platform, found)
        if defaults is not None:
            image = _Read(stage.start.image, defaults, dockerfile.escape)
            if image.asked and image.value is not None and not _is_image(image.value):
                where = stage.start.where
                found.add(rules.INVALID_DEFAULT_ARG_IN_FROM, where, stage.start.image)


class _Read:
    """A word with its variables: what it comes to (None if to nothing), and what it asked for."""

    def __init__(self, word: str, scope: Mapping[str, str], escape: str) -> None:
        self.scope = Watched(scope)
        self.value: str | None = None
        with suppress(Fault):
            self.value = expand(word, self.scope, escape)
        self.asked = self.scope.asked
        self.missing = self.scope.missing


def _platform(stage: BuildStage, read: _Read, found: Findings) -> None:
    start = stage.start
    if read.asked == {"TARGETPLATFORM"} and read.value == read.scope["TARGETPLATFORM"]:
        found.add(rules.REDUNDANT_TARGET_PLATFORM, start.where, start.platform)
    if read.asked or not read.value:
        return
    try:
        platform = Platform.parse(read.value)
    except ArgosyError:
        return  # an error of its own, when the stages are arranged
    # A stage that is named after a platform is meant for it.
    if platform.os not in start.name and platform.architecture not in start.name:
        found.add(rules.FROM_PLATFORM_FLAG_CONST_DISALLOWED, start.where, read.value)


def _defaults(dockerfile: Dockerfile, options: FrontendOptions) -> dict[str, str] | None:
    """The global arguments as they are when nobody gives any; None if they cannot be had."""
    bare = FrontendOptions(
        platform=options.platform, build_platform=options.build_platform, target=options.target
    )
    try:
        return global_scope(dockerfile, bare)
    except ArgosyError:
        return None


def _is_image(text: str) -> bool:
    try:
        Reference.parse(text)
    except ArgosyError:
        return False
    return True
