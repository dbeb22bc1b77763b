"""A Dockerfile and the configs of its base images to a Plan, for one platform. Pure.

Two phases, since `ENV PATH=$PATH:/x` needs what the base image sets:

    bases = {}
    while missing := base_images(dockerfile, options, bases):
        bases |= {image: <its config's JSON> for image in missing}
    plan = evaluate(dockerfile, options, bases)

The loop runs more than once only where a base's ONBUILD triggers name further images.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from argosy.build.dockerfile.image_config import ImageDraft
from argosy.build.dockerfile.instructions import Arg, Instruction, Onbuild
from argosy.build.dockerfile.parser import Dockerfile, parse_trigger
from argosy.build.dockerfile.plan import (
    BaseImage,
    FromImage,
    FromStage,
    Origin,
    Plan,
    Stage,
)
from argosy.build.dockerfile.source import Fault
from argosy.build.dockerfile.stage_state import PROXY_ARGS, StageState, Surrounding
from argosy.build.dockerfile.stages import (
    FrontendOptions,
    Node,
    StageGraph,
    arrange,
    from_names,
    platform_args,
)
from argosy.errors import BuildError

Bases = Mapping[BaseImage, Mapping[str, Any]]


class Watch(Protocol):
    """Looks on while stages are evaluated; it may not change what they come to."""

    def begins(self, node: Node, state: StageState) -> None:
        """A stage begins, with what its base gave it."""
        ...

    def applied(self, instruction: Instruction, state: StageState) -> None:
        """An instruction was applied."""
        ...


def base_images(
    dockerfile: Dockerfile,
    options: FrontendOptions,
    bases: Bases | None = None,
    *,
    every: bool = False,
) -> tuple[BaseImage, ...]:
    """The images the target needs that `bases` lacks; call it again with their configs added.

    With `every`, those that any stage needs.
    """
    known = bases or {}
    evaluation = Evaluation(arrange(dockerfile, options), known)
    found: dict[BaseImage, None] = {}
    for node in evaluation.graph.nodes if every else evaluation.reachable():
        origins: list[Origin] = [node.base, *(o for _, o in evaluation.origins(node))]
        found |= {o.image: None for o in origins if isinstance(o, FromImage)}
    return tuple(image for image in found if image not in known)


def evaluate(dockerfile: Dockerfile, options: FrontendOptions, bases: Bases) -> Plan:
    """The stages the target needs, resolved; DockerfileError says what cannot be.

    `bases` has the JSON of the image config of every image that base_images named.
    """
    evaluation = Evaluation(arrange(dockerfile, options), bases)
    nodes = evaluation.reachable()
    stages = tuple(evaluation.stage(node) for node in nodes)
    last = stages[-1]
    if options.labels:
        labels = {**last.config.get("Labels", {}), **options.labels}
        stages = (*stages[:-1], _relabelled(last, labels))
    return Plan(
        platform=options.platform,
        stages=stages,
        unused_build_args=_unused(dockerfile, options, evaluation),
    )


def _relabelled(stage: Stage, labels: Mapping[str, str]) -> Stage:
    return Stage(
        index=stage.index,
        name=stage.name,
        platform=stage.platform,
        base=stage.base,
        steps=stage.steps,
        config={**stage.config, "Labels": labels},
        history=stage.history,
        author=stage.author,
        where=stage.where,
    )


def _unused(
    dockerfile: Dockerfile, options: FrontendOptions, evaluation: "Evaluation"
) -> tuple[str, ...]:
    declared = {name for arg in dockerfile.global_args for name, _ in arg.args}
    for stage in dockerfile.stages:
        declared |= {n for i in stage.instructions if isinstance(i, Arg) for n, _ in i.args}
    declared |= evaluation.declared | platform_args(dockerfile, options).keys()
    return tuple(
        name
        for name in options.build_args
        if name not in declared
        and name.upper() not in PROXY_ARGS
        and not name.startswith("BUILDKIT_")
        and name != "SOURCE_DATE_EPOCH"
    )


class Evaluation:
    """One pass over the stages; keeps the states that later stages go on from."""

    def __init__(self, graph: StageGraph, bases: Bases, watch: Watch | None = None) -> None:
        self.graph = graph
        self._watch = watch
        self._bases = bases
        self._states: dict[int, StageState] = {}
        self._written: dict[int, tuple[Instruction, ...]] = {}
        self.declared: set[str] = set()

    def reachable(self) -> list[Node]:
        """The stages the target needs, from the top; the target is the last."""
        nodes = self.graph.nodes
        needed: set[int] = set()
        waiting = [self.graph.target]
        while waiting:
            index = waiting.pop()
            if index in needed:
                continue
            needed.add(index)
            origins: list[Origin] = [nodes[index].base, *(o for _, o in self.origins(nodes[index]))]
            waiting += [o.index for o in origins if isinstance(o, FromStage)]
        return [nodes[index] for index in sorted(needed)]

    def origins(self, node: Node) -> Iterator[tuple[Instruction, Origin]]:
        """Where the instructions of a stage take files from, besides its base."""
        for instruction in self.instructions(node):
            for name in from_names([instruction]):
                try:
                    yield instruction, self.graph.origin(name, node.stage.index)
                except Fault as fault:
                    raise self.graph.located(fault, instruction.where) from fault

    def instructions(self, node: Node) -> tuple[Instruction, ...]:
        """What the stage runs: the base's ONBUILD triggers, then its own instructions."""
        index = node.stage.index
        if index not in self._written:
            self._written[index] = (*self._triggers(node), *node.stage.instructions)
        return self._written[index]

    def _triggers(self, node: Node) -> list[Instruction]:
        where = node.stage.start.where
        if isinstance(node.base, FromStage):
            above = self.graph.nodes[node.base.index].stage.instructions
            texts = [i.trigger for i in above if isinstance(i, Onbuild)]
        elif isinstance(node.base, FromImage) and node.base.image in self._bases:
            texts = ImageDraft.of_image(self._bases[node.base.image]).triggers
        else:
            return []
        try:
            return [parse_trigger(text, where) for text in texts]
        except Fault as fault:
            raise self.graph.located(fault, where) from fault

    def stage(self, node: Node) -> Stage:
        """Evaluate one stage; those it needs must have been evaluated."""
        state = self._begin(node)
        if self._watch:
            self._watch.begins(node, state)
        for instruction in self.instructions(node):
            try:
                state.apply(instruction)
            except Fault as fault:
                raise self.graph.located(fault, instruction.where) from fault
            if self._watch:
                self._watch.applied(instruction, state)
        self._states[node.stage.index] = state
        self.declared |= state.args.keys()
        return Stage(
            index=node.stage.index,
            name=node.stage.name,
            platform=node.platform,
            base=node.base,
            steps=tuple(state.steps),
            config=state.draft.config,
            history=tuple(state.draft.history),
            author=state.draft.author,
            where=node.stage.start.where,
        )

    def _begin(self, node: Node) -> StageState:
        graph, index = self.graph, node.stage.index
        around = Surrounding(
            platform=node.platform,
            escape=graph.dockerfile.escape,
            scope=graph.scope,
            build_args=graph.options.build_args,
            origin=lambda name: graph.origin(name, index),
        )
        if isinstance(node.base, FromStage):
            state = self._states[node.base.index].continued(around)
        elif isinstance(node.base, FromImage):
            state = StageState(ImageDraft.of_image(self._config(node.base.image)), around)
        else:
            state = StageState(ImageDraft.scratch(), around)
            if node.files:
                state.begin_with(node.files, node.stage.start)
        state.draft.put("OnBuild", None)  # triggers run once, in the child
        return state

    def _config(self, image: BaseImage) -> Mapping[str, Any]:
        if image not in self._bases:
            raise BuildError(
                f"the config of base image {image} was not given",
                why="base_images names every image that evaluate needs",
            )
        return self._bases[image]
