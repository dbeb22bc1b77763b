"""All checks of a Dockerfile: what `--check` shows, and what a build warns of.

A build checks the stages that it needs; `--check` without a target checks all.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import field
from typing import Any

from argosy.build.dockerfile.evaluate import Bases, Evaluation
from argosy.build.dockerfile.ignore import Matcher
from argosy.build.dockerfile.instructions import User
from argosy.build.dockerfile.lint import rules
from argosy.build.dockerfile.lint.findings import Finding, Findings, Selection, selection_of
from argosy.build.dockerfile.lint.origins import check_origins
from argosy.build.dockerfile.lint.style import check_style
from argosy.build.dockerfile.lint.values import ValueChecks
from argosy.build.dockerfile.parser import Dockerfile
from argosy.build.dockerfile.plan import BaseImage, FromImage, FromStage, Stage
from argosy.build.dockerfile.source import Fault, Source, SourceRange
from argosy.build.dockerfile.stages import FrontendOptions, Node, StageGraph, arrange
from argosy.errors import ArgosyError, DockerfileError
from argosy.model.platform import Platform
from argosy.values import frozen

_ROOTS = ("", "0", "root")


@frozen(kw_only=True)
class Surroundings:
    """What the checks look at beside the Dockerfile.

    `bases` has the configs of the base images that could be had; checks that depend on
    another one are left out. `platforms` says what images turned out to be made for,
    where that is not what was asked.
    """

    bases: Bases = field(default_factory=dict)
    ignore: Matcher | None = None
    platforms: Mapping[BaseImage, Sequence[str]] = field(default_factory=dict)


@frozen(kw_only=True)
class Report:
    """What was found, from the top of the file down, and the error the checks ended at."""

    source: Source
    findings: tuple[Finding, ...]
    error: ArgosyError | None = None
    is_error: bool = False  # error=true: findings fail a build

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings that are more than advice."""
        return tuple(f for f in self.findings if not f.rule.advice)

    @property
    def violation(self) -> DockerfileError | None:
        """What a build with error=true fails with, if anything was found."""
        if not (self.is_error and self.faults):
            return None
        names = ", ".join(dict.fromkeys(f.rule.name for f in self.faults))
        first = self.faults[0]
        fault = Fault(
            f"lint violation found for rules: {names}",
            why=first.detail,
            remedy="mend it, or leave the check out: # check=error=true;skip=NAME",
        )
        return self.source.error(fault, first.where)


def lint(
    dockerfile: Dockerfile,
    options: FrontendOptions,
    around: Surroundings,
    *,
    every_stage: bool = False,
) -> Report:
    """Run every check that is wanted; never raises for what a Dockerfile says.

    Where the Dockerfile cannot be evaluated, the report has what was found until then.
    """
    selection = Selection()
    found = Findings(dockerfile, selection)
    try:
        selection = selection_of(dockerfile, options.build_args)
        found = Findings(dockerfile, selection)
        check_style(dockerfile, found)
        check_origins(dockerfile, options, found)
        graph = arrange(dockerfile, options)
        _check_stages(graph, around, found, every_stage=every_stage)
    except ArgosyError as e:
        return Report(
            source=dockerfile.source, findings=found.sorted(), error=e, is_error=selection.is_error
        )
    return Report(source=dockerfile.source, findings=found.sorted(), is_error=selection.is_error)


def lint_beginning(dockerfile: Dockerfile, build_args: Mapping[str, str]) -> tuple[Finding, ...]:
    """Checks of style alone, for the part of a Dockerfile above an error."""
    try:
        found = Findings(dockerfile, selection_of(dockerfile, build_args))
    except ArgosyError:
        return ()
    check_style(dockerfile, found)
    return found.sorted()


def _check_stages(
    graph: StageGraph, around: Surroundings, found: Findings, *, every_stage: bool
) -> None:
    unknown: set[BaseImage] = set()
    bases = _Lenient(around.bases, unknown)
    watch = ValueChecks(
        found=found,
        ignore=around.ignore,
        unknown=unknown,
        written=frozenset(id(i) for s in graph.dockerfile.stages for i in s.instructions),
    )
    evaluation = Evaluation(graph, bases, watch)
    reachable = evaluation.reachable()
    shaky: set[int] = set()  # stages on an unknown image: they may fail for want of its variables
    for node in graph.nodes if every_stage else reachable:
        _check_platform(node, around, found)
        if isinstance(node.base, FromStage) and node.base.index in shaky:
            shaky.add(node.stage.index)
            continue
        try:
            stage = evaluation.stage(node)
        except DockerfileError:
            if not (isinstance(node.base, FromImage) and node.base.image in unknown):
                raise
            shaky.add(node.stage.index)
            continue
        if node.stage.index == graph.target and not _on_unknown(graph, node, unknown):
            _check_user(graph, stage, found)


class _Lenient(dict[BaseImage, Mapping[str, Any]]):
    """Configs of images; of one that is not there, an empty one, which is noted."""

    def __init__(self, known: Bases, unknown: set[BaseImage]) -> None:
        super().__init__(known)
        self._known = known
        self._unknown = unknown

    def __contains__(self, image: object) -> bool:
        if image not in self._known and isinstance(image, BaseImage):
            self._unknown.add(image)
        return True

    def __missing__(self, image: BaseImage) -> Mapping[str, Any]:
        self._unknown.add(image)
        return {}


def _on_unknown(graph: StageGraph, node: Node, unknown: AbstractSet[BaseImage]) -> bool:
    while isinstance(node.base, FromStage):
        node = graph.nodes[node.base.index]
    return isinstance(node.base, FromImage) and node.base.image in unknown


def _check_platform(node: Node, around: Surroundings, found: Findings) -> None:
    if not isinstance(node.base, FromImage):
        return
    image, where = node.base.image, node.stage.start.where
    for actual in around.platforms.get(image, _actual(around.bases.get(image, {}), image)):
        expected = str(image.platform)
        found.add(rules.INVALID_BASE_IMAGE_PLATFORM, where, image.ref, actual, expected)


def _actual(config: Mapping[str, Any], image: BaseImage) -> Sequence[str]:
    """The platform of an image's config, if it has one, and it is another than was asked for."""
    system, machine = config.get("os"), config.get("architecture")
    if not (isinstance(system, str) and isinstance(machine, str) and system and machine):
        return ()
    same = (system, machine) == (image.platform.os, image.platform.architecture)
    variant = config.get("variant")
    actual = Platform(system, machine, variant if isinstance(variant, str) else "")
    return () if same else (str(actual),)


def _check_user(graph: StageGraph, stage: Stage, found: Findings) -> None:
    """Who the finished image runs as; an image that runs nothing is data, and has no user."""
    runs = stage.config.get("Entrypoint") or stage.config.get("Cmd")
    user = str(stage.config.get("User", ""))
    if runs and user.partition(":")[0] in _ROOTS:
        found.add(rules.FINAL_USER_ROOT, _user_at(graph, stage), user or "root")


def _user_at(graph: StageGraph, stage: Stage) -> SourceRange:
    """The last USER of the stage, else its FROM."""
    written = graph.dockerfile.stages[stage.index]
    users = [i.where for i in written.instructions if isinstance(i, User)]
    return users[-1] if users else written.start.where
