"""From plans to ops: the frontend's values become the build graph.

Plans of several platforms are lowered alike; what they have in common comes out with
equal keys and is one vertex for the solver.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from argosy.build.dockerfile.plan import (
    BaseImage,
    BindMount,
    CacheMount,
    CopyStep,
    Download,
    FromContext,
    FromImage,
    FromStage,
    Origin,
    Plan,
    RunMount,
    RunStep,
    Scratch,
    Stage,
    Step,
)
from argosy.build.files.tree import Tree
from argosy.build.graph import Op
from argosy.build.limits import Conditions
from argosy.build.sources.bases import Base
from argosy.build.steps.mounts import Attached
from argosy.build.steps.ops import Copy, Fetched, Image, Linked, Run, Workdir
from argosy.build.steps.ops import Scratch as Empty
from argosy.errors import UsageError
from argosy.model.platform import Platform
from argosy.values import frozen


@frozen(kw_only=True)
class Target:
    """One platform's result before it is built: the op that makes its files, and what they stand on."""

    plan: Plan
    op: Op
    base: Base | None  # None: scratch
    steps: int  # on top of the base, those of stages it is built from included
    anew: tuple[Op, ...] = ()  # of the stages that are built without cache (--no-cache-filter)


@dataclass(slots=True)
class Lowering:
    """One plan being lowered."""

    plan: Plan
    bases: Mapping[BaseImage, Base]
    contexts: Mapping[str, Tree]
    added: Mapping[Download, Fetched] = field(default_factory=dict)  # what ADD takes from outside
    conditions: Conditions = field(default_factory=Conditions)
    several: bool = False  # several platforms: steps say which one they are for
    no_cache: frozenset[str] = frozenset()  # stages to build without cache, in lower case
    _anew: list[Op] = field(default_factory=list)
    _tops: dict[int, Target] = field(default_factory=dict)
    _images: dict[BaseImage, Image] = field(default_factory=dict)

    def target(self) -> Target:
        """The target's op, with the ops of all it needs; BuildError for what cannot be done."""
        for stage in self.plan.stages:
            self._tops[stage.index] = self._stage(stage)
        return replace(self._tops[self.plan.target.index], anew=tuple(self._anew))

    def _stage(self, stage: Stage) -> Target:
        labels = _Labels(stage, self.plan.platform, several=self.several)
        if isinstance(stage.base, FromStage):
            below = self._tops[stage.base.index]
            op, base, steps = below.op, below.base, below.steps
        elif isinstance(stage.base, FromImage):
            base, steps = self.bases[stage.base.image], 0
            op = self._image(stage.base.image, labels)
        else:
            op, base, steps = Empty(), None, 0
        for number, step in enumerate(stage.steps):
            op = self._step(step, op, labels.step(number, step))
            if stage.name.lower() in self.no_cache:
                self._anew.append(op.layer if isinstance(op, Linked) else op)
        return Target(plan=self.plan, op=op, base=base, steps=steps + len(stage.steps))

    def _image(self, image: BaseImage, labels: "_Labels | None" = None) -> Op:
        if image not in self._images:
            base = self.bases[image]
            name = f"FROM {base.reference.locator}"
            name += f":{base.reference.tag}" if base.reference.tag else ""
            name += f"@{base.manifest.digest}"
            self._images[image] = Image(
                name=labels.base(name) if labels else f"[{image.platform}] {name}",
                manifest=base.manifest,
                layers=base.layers,
                diff_ids=base.config.diff_ids,
                source=base.source,
            )
        return self._images[image]

    def _step(self, step: Step, parent: Op, name: str) -> Op:
        if isinstance(step, CopyStep):
            origin = self._origin(step.origin) or Empty()
            fetched = tuple(self.added[d] for d in step.downloads)
            if (linked := _linked(step)) is None:
                return Copy(name=name, parent=parent, origin=origin, step=step, fetched=fetched)
            copy = Copy(name=name, parent=Empty(), origin=origin, step=linked, fetched=fetched)
            return Linked(parent=parent, layer=copy)
        if isinstance(step, RunStep):
            return self._run(step, parent, name)
        return Workdir(name=name, parent=parent, step=step)

    def _run(self, step: RunStep, parent: Op, name: str) -> Run:
        conditions = self.conditions
        if step.security == "insecure" and "security.insecure" not in conditions.allow:
            raise _forbidden(step)
        if step.network == "default":
            step = replace(step, network=conditions.network)
        attached = tuple(self._attached(m) for m in step.mounts)
        return Run(name=name, parent=parent, step=step, attached=attached, conditions=conditions)

    def _attached(self, mount: RunMount) -> Attached:
        if isinstance(mount, BindMount | CacheMount):
            return Attached(mount, self._origin(mount.origin))
        return Attached(mount)

    def _origin(self, origin: Origin) -> Op | Tree | None:
        match origin:
            case Scratch():
                return None
            case FromStage():
                return self._tops[origin.index].op
            case FromImage():
                return self._image(origin.image)
            case FromContext():
                return self.contexts[origin.name]


@frozen
class _Labels:
    """How a stage's steps are shown: `[linux/arm64 build 2/5] RUN make`."""

    stage: Stage
    target: Platform
    several: bool

    def base(self, name: str) -> str:
        """The first one: its image."""
        return self._label(1, name)

    def step(self, number: int, step: Step) -> str:
        """Step `number`, from 0."""
        crosses = isinstance(step, RunStep) and any(n.startswith("TARGET") for n, _ in step.env)
        return self._label(number + self._total - len(self.stage.steps) + 1, step.name, crosses)

    @property
    def _total(self) -> int:
        return len(self.stage.steps) + isinstance(self.stage.base, FromImage)

    def _label(self, number: int, name: str, crosses: bool = False) -> str:
        platform = f"{self.stage.platform}" if self.several else ""
        if platform and crosses and self.stage.platform != self.target:
            platform += f"->{self.target}"  # a step that knows what it builds for is not shared
        return (
            f"[{platform + ' ' if platform else ''}{self.stage.name} {number}/{self._total}] {name}"
        )


def _linked(step: CopyStep) -> CopyStep | None:
    """The step as a layer of its own (--link), or None if it is no such one.

    Names in --chown are those of the image, so such a copy has to look at its parent;
    root needs no looking up. (BuildKit refuses other names with --link.)
    """
    owners = ["0" if part == "root" else part for part in step.chown.split(":")]
    if not step.link or not all(part.isdecimal() or not part for part in owners):
        return None
    return replace(step, chown=":".join(owners))


def _forbidden(step: RunStep) -> UsageError:
    return UsageError(
        f"{step.where.file}:{step.where.first}: RUN --security=insecure is not allowed",
        why="the step would have every capability of this machine's root",
        remedy="if you trust the Dockerfile, build with --allow security.insecure",
    )
