"""What a Dockerfile offers: its targets, and what a target takes.

Source: BuildKit's frontend.outline and frontend.targets; the JSON has their names.
A comment `# NAME text` right above ARG or FROM describes what is called NAME.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from argosy.build.dockerfile.evaluate import Bases, Evaluation
from argosy.build.dockerfile.expand import Watched, expand
from argosy.build.dockerfile.instructions import Arg, Instruction
from argosy.build.dockerfile.lint.findings import location
from argosy.build.dockerfile.lint.style import description
from argosy.build.dockerfile.parser import Dockerfile
from argosy.build.dockerfile.plan import CacheMount, RunStep, SecretMount, SshMount, Stage
from argosy.build.dockerfile.source import Source, SourceRange
from argosy.build.dockerfile.stage_state import StageState
from argosy.build.dockerfile.stages import FrontendOptions, Node, StageGraph, arrange
from argosy.values import frozen

VERSION = "1.0.0"


@frozen(kw_only=True)
class Parameter:
    """A build argument that a target takes, and the value it has in this build."""

    name: str
    value: str = ""
    description: str = ""
    where: SourceRange


@frozen(kw_only=True)
class Need:
    """A secret, an ssh agent, or a cache, by id."""

    id: str
    required: bool = False
    where: SourceRange


@frozen(kw_only=True)
class Outline:
    """What one target takes, each list from the top of the file down."""

    source: Source
    name: str = ""
    description: str = ""
    args: tuple[Parameter, ...] = ()
    secrets: tuple[Need, ...] = ()
    agents: tuple[Need, ...] = ()
    caches: tuple[Need, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As BuildKit's; what is empty is left out."""
        return _filled(
            {
                "version": VERSION,
                "name": self.name,
                "description": self.description,
                "args": [_parameter(arg) for arg in self.args],
                "secrets": [_need(need) for need in self.secrets],
                "ssh": [_need(need) for need in self.agents],
                "cache": [{"ID": c.id, "location": location(c.where)} for c in self.caches],
                "sources": encoded(self.source),
            }
        )


@frozen(kw_only=True)
class Offer:
    """A stage that can be built: `base` and `platform` as they are written."""

    name: str
    is_default: bool
    description: str
    base: str
    platform: str
    where: SourceRange

    def to_json(self) -> dict[str, Any]:
        """As BuildKit's; what is empty is left out."""
        return _filled(
            {
                "name": self.name,
                "default": self.is_default,
                "description": self.description,
                "base": self.base,
                "platform": self.platform,
                "location": location(self.where),
            }
        )


def encoded(source: Source) -> list[str]:
    """The text, as the JSON of every call carries it."""
    return [base64.b64encode("\n".join(source.lines).encode()).decode()]


def targets(dockerfile: Dockerfile) -> tuple[Offer, ...]:
    """Every stage of the file, in order; the last one is built if no other is asked for."""
    last = len(dockerfile.stages) - 1
    return tuple(
        Offer(
            name=stage.start.name,
            is_default=stage.index == last,
            description=description(stage.start.comments, stage.start.name),
            base=stage.start.image,
            platform=stage.start.platform,
            where=stage.start.where,
        )
        for stage in dockerfile.stages
    )


def outline(dockerfile: Dockerfile, options: FrontendOptions, bases: Bases) -> Outline:
    """What the target takes; DockerfileError if it cannot be evaluated."""
    graph = arrange(dockerfile, options)
    watch = _Declared(options.build_args, graph.scope)
    evaluation = Evaluation(graph, bases, watch)
    nodes = evaluation.reachable()
    stages = [evaluation.stage(node) for node in nodes]
    start = graph.nodes[graph.target].stage.start
    return Outline(
        source=dockerfile.source,
        name=start.name,
        description=description(start.comments, start.name),
        args=_args(graph, nodes, watch),
        secrets=_needs(stages, SecretMount),
        agents=_needs(stages, SshMount),
        caches=_needs(stages, CacheMount),
    )


@dataclass(slots=True)
class _Declared:
    """A Watch that notes the arguments stages declare; of two of a name the later stage's."""

    given: Mapping[str, str]
    scope: Mapping[str, str]
    own: dict[str, Parameter] = field(default_factory=dict)
    inherited: set[str] = field(default_factory=set)

    def begins(self, node: Node, state: StageState) -> None:
        """Nothing is declared yet."""

    def applied(self, instruction: Instruction, state: StageState) -> None:
        """An ARG without a value of its own, in this build, has the one before the first FROM."""
        if not isinstance(instruction, Arg):
            return
        for name, default in instruction.args:
            if default is None and name not in self.given and name in self.scope:
                self.inherited.add(name)
            else:
                self.own[name] = _described(instruction, name, state.args.get(name))


def _described(arg: Arg, name: str, value: str | None) -> Parameter:
    said = description(arg.comments, name)
    return Parameter(name=name, value=value or "", description=said, where=arg.where)


def _args(graph: StageGraph, nodes: Iterable[Node], watch: _Declared) -> tuple[Parameter, ...]:
    needs: dict[str, set[str]] = {}
    known: dict[str, Parameter] = {}
    for arg, name, asked in _globals(graph):
        needs[name] = needs.get(name, set()) | asked
        known[name] = _described(arg, name, graph.scope.get(name))
    used = set(watch.inherited)
    for node in nodes:
        start = node.stage.start
        used |= _asked(graph, start.image) | _asked(graph, start.platform)
    found = {name: known[name] for name in _closure(used, needs) if name in known}
    return _ordered({**found, **watch.own}.values())


def _globals(graph: StageGraph) -> Iterator[tuple[Arg, str, set[str]]]:
    """Every argument before the first FROM, and the names that its default asks for."""
    for arg in graph.dockerfile.global_args:
        for name, default in arg.args:
            is_given = default is None or name in graph.options.build_args
            yield arg, name, set() if is_given else _asked(graph, default or "")


def _asked(graph: StageGraph, word: str) -> set[str]:
    watched = Watched(graph.scope)
    expand(word, watched, graph.dockerfile.escape)
    return watched.asked


def _closure(names: set[str], needs: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [*names]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += needs.get(name, ())
    return found


def _ordered(parameters: Iterable[Parameter]) -> tuple[Parameter, ...]:
    return tuple(sorted(parameters, key=lambda p: (p.where.first, p.name)))


def _needs(
    stages: Iterable[Stage], kind: type[SecretMount | SshMount | CacheMount]
) -> tuple[Need, ...]:
    found: dict[str, Need] = {}
    steps = [s for stage in stages for s in stage.steps if isinstance(s, RunStep)]
    for step in sorted(steps, key=lambda s: s.where.first):
        for mount in step.mounts:
            if isinstance(mount, kind):
                before = found.get(mount.id)
                required = getattr(mount, "required", False) or (before and before.required)
                where = before.where if before else step.where
                found[mount.id] = Need(id=mount.id, required=bool(required), where=where)
    return tuple(found.values())


def _parameter(arg: Parameter) -> dict[str, Any]:
    fields = {"name": arg.name, "description": arg.description, "value": arg.value}
    return _filled({**fields, "location": location(arg.where)})


def _need(need: Need) -> dict[str, Any]:
    return _filled({"name": need.id, "required": need.required, "location": location(need.where)})


def _filled(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}
