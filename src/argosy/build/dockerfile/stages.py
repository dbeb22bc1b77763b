"""How stages hang together: global arguments, platforms, bases, and what the target needs.

Stages refer to each other by name or number, always to one further up. Named contexts
(--build-context) take the place of stages and images of that name.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field

from argosy.build.dockerfile.expand import expand
from argosy.build.dockerfile.instructions import Copy, Instruction, Run
from argosy.build.dockerfile.parser import BuildStage, Dockerfile
from argosy.build.dockerfile.plan import (
    Base,
    BaseImage,
    FromContext,
    FromImage,
    FromStage,
    Origin,
    Scratch,
)
from argosy.build.dockerfile.source import Fault, SourceRange, did_you_mean
from argosy.errors import InvalidPlatform, InvalidReference
from argosy.model.platform import Platform
from argosy.model.reference import Reference
from argosy.values import frozen

_VARIABLE = re.compile(r"\$\{?([a-zA-Z_][a-zA-Z0-9_]*)")
_LAYOUT = "oci-layout://"
_TARGET = "target:"
_IMAGE_SCHEMES = ("docker-image://", "docker://")


@frozen(kw_only=True)
class FrontendOptions:
    """What a build is asked for, for one platform.

    `target` is a stage's name or number, `` the last one. `contexts` are named contexts:
    `docker-image://REF` and `oci-layout://DIR[:TAG][@DIGEST]` are images (the latter is a
    BaseImage's `ref` as it stands), anything else a directory that the caller knows.
    """

    platform: Platform = field(default_factory=Platform.host)
    build_platform: Platform = field(default_factory=Platform.host)
    build_args: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)


@frozen(kw_only=True)
class Node:
    """A stage with its base and platform known.

    `files` is a directory that the stage begins with, FROM a named context, on scratch.
    """

    stage: BuildStage
    base: Base
    platform: Platform
    files: FromContext | None = None


@frozen
class StageGraph:
    """All stages, and the scope of the arguments before the first FROM."""

    dockerfile: Dockerfile
    options: FrontendOptions
    scope: Mapping[str, str]
    nodes: tuple[Node, ...]
    target: int

    def origin(self, name: str, user: int) -> Origin:
        """What `--from=name` or `from=name` means in the stage at index `user`; Fault if nothing."""
        name = _stage_meant(self.dockerfile.stages, self.options, name)
        context = _context(self.options, name)
        if context is not None:
            return context
        if name.isascii() and name.isdigit():
            return FromStage(self._numbered(name, user))
        found = _named(self.dockerfile.stages, name, before=user)
        if found is not None:
            return FromStage(found)
        self._refuse_later(name, user)
        if name.lower() == "scratch":
            return Scratch()
        if name.lower() == "context":
            return FromContext()
        return FromImage(_image(name, self.options.platform, self.dockerfile.stages))

    def _numbered(self, name: str, user: int) -> int:
        index, count = int(name[:9]), len(self.nodes)
        if index >= count:
            raise Fault(
                f"there is no stage {name[:20]}",
                at=f"from={name}",
                why="there is only stage 0" if count == 1 else f"they are 0 to {count - 1}",
                remedy="stages can be given names: FROM image AS name",
            )
        if index >= user:
            raise self._later(self.nodes[index].stage, name, user)
        return index

    def _refuse_later(self, name: str, user: int) -> None:
        for node in self.nodes[user:]:
            if node.stage.start.name == name.lower():
                raise self._later(node.stage, name, user)

    def _later(self, stage: BuildStage, name: str, user: int) -> Fault:
        if stage.index == user:
            return Fault(
                f"circular dependency: stage {stage.name} needs itself",
                at=f"from={name}",
                remedy="a stage can take files only from stages further up",
            )
        if self._needs(stage.index, user, set()):
            first = self.nodes[user].stage.name
            return Fault(
                f"circular dependency: stage {first} needs {stage.name}, which needs {first}",
                at=f"from={name}",
                remedy="move what both need into a stage of its own, further up",
            )
        return Fault(
            f"stage {stage.name} comes later (line {stage.start.where.first})",
            at=f"from={name}",
            why="a stage can take files only from stages further up",
            remedy=f"move stage {stage.name} up, before {self.nodes[user].stage.name}",
        )

    def _needs(self, index: int, other: int, seen: set[int]) -> bool:
        """Whether a stage needs another one, directly or not, by what is written."""
        if index in seen:
            return False
        seen.add(index)
        node = self.nodes[index]
        needed = {node.base.index} if isinstance(node.base, FromStage) else set()
        for name in from_names(node.stage.instructions):
            if name.isascii() and name.isdigit():
                needed |= {int(name[:9])} & set(range(len(self.nodes)))
            else:
                needed |= {n.stage.index for n in self.nodes if n.stage.start.name == name.lower()}
        return other in needed or any(self._needs(n, other, seen) for n in needed)

    def located(self, fault: Fault, where: SourceRange) -> Exception:
        """The fault as a DockerfileError."""
        return self.dockerfile.source.error(fault, where)


def from_names(instructions: Iterable[Instruction]) -> list[str]:
    """Every stage, image or context the instructions take files from, as written."""
    names: list[str] = []
    for instruction in instructions:  # triggers of ONBUILD run in another build
        if isinstance(instruction, Copy) and instruction.from_:
            names.append(instruction.from_)
        elif isinstance(instruction, Run):
            names += [m.get("from") for m in instruction.mounts if m.get("from")]
    return names


def arrange(dockerfile: Dockerfile, options: FrontendOptions) -> StageGraph:
    """The stages with bases and platforms; DockerfileError if they do not fit together."""
    scope = global_scope(dockerfile, options)
    nodes: list[Node] = []
    for stage in dockerfile.stages:
        try:
            nodes.append(_node(stage, nodes, scope, (dockerfile, options)))
        except Fault as fault:
            raise dockerfile.source.error(fault, stage.start.where) from fault
    target = _target(dockerfile, options.target)
    return StageGraph(dockerfile, options, scope, tuple(nodes), target)


def platform_args(dockerfile: Dockerfile, options: FrontendOptions) -> dict[str, str]:
    """The arguments that are there unasked: TARGETPLATFORM, BUILDARCH and so on."""
    target = options.target or dockerfile.stages[-1].start.name
    args: dict[str, str] = {}
    for prefix, platform in (("BUILD", options.build_platform), ("TARGET", options.platform)):
        args |= {
            f"{prefix}PLATFORM": str(platform),
            f"{prefix}OS": platform.os,
            f"{prefix}OSVERSION": platform.os_version,
            f"{prefix}ARCH": platform.architecture,
            f"{prefix}VARIANT": platform.variant,
        }
    return {**args, "TARGETSTAGE": target or "default"}


def global_scope(dockerfile: Dockerfile, options: FrontendOptions) -> dict[str, str]:
    """What FROM sees, and what a stage's `ARG name` without a value takes."""
    given = options.build_args
    scope = {
        name: given.get(name, value) for name, value in platform_args(dockerfile, options).items()
    }
    for arg in dockerfile.global_args:
        run = _expanded(dockerfile, scope, arg)  # sees what it sets: ARG A=1 B=$A
        for name, default in arg.args:
            if name in given:
                scope[name] = given[name]
            elif default is not None:
                scope[name] = run(default)
    return scope


def _expanded(
    dockerfile: Dockerfile, scope: Mapping[str, str], at: Instruction
) -> Callable[[str], str]:
    def run(word: str) -> str:
        try:
            return expand(word, scope, dockerfile.escape)
        except Fault as fault:
            raise dockerfile.source.error(fault, at.where) from fault

    return run


def _node(
    stage: BuildStage,
    above: list[Node],
    scope: Mapping[str, str],
    given: tuple[Dockerfile, FrontendOptions],
) -> Node:
    dockerfile, options = given
    start = stage.start
    image = expand(start.image, scope, dockerfile.escape)
    if start.name and _context(options, start.name) is not None:
        # A context of a stage's own name is there instead of all that the stage does.
        stage, image = _replaced(stage), start.name
    platform = _platform(start.platform, expand(start.platform, scope, dockerfile.escape), scope)
    if not image:
        raise Fault(
            f"the base image {start.image} comes to nothing",
            at=start.image,
            why="its variables are not set: FROM sees only ARGs that stand before the first FROM",
            remedy=_meant(start.image, scope)
            or "declare the ARG there with a default, or pass --build-arg",
        )
    base = _base(image, platform, dockerfile.stages[: stage.index], options)
    if isinstance(base, FromContext):
        platform = platform or options.platform
        return Node(stage=stage, base=Scratch(), platform=platform, files=base)
    if isinstance(base, FromStage) and platform is None:
        platform = above[base.index].platform
    return Node(stage=stage, base=base, platform=platform or options.platform)


def _replaced(stage: BuildStage) -> BuildStage:
    return BuildStage(index=stage.index, start=stage.start, instructions=())


def _platform(written: str, text: str, scope: Mapping[str, str]) -> Platform | None:
    if not written:
        return None
    meant = _meant(written, scope)
    if not text:
        raise Fault(
            f"--platform={written[:60]} comes to nothing",
            at=written,
            why="its variables are not set: FROM sees only ARGs that stand before the first FROM",
            remedy=meant or "declare the ARG there with a default, or pass --build-arg",
        )
    try:
        return Platform.parse(text)
    except InvalidPlatform as e:
        remedy = meant or e.remedy
        raise Fault(f"--platform: {e.summary}", at="--platform", why=e.why, remedy=remedy) from e


def _meant(written: str, scope: Mapping[str, str]) -> str:
    """`did you mean X?` for the first variable that is not there, and is like one that is."""
    names = (n for n in _VARIABLE.findall(written) if n not in scope)
    return next(filter(None, (did_you_mean(n, scope) for n in names)), "")


def _base(
    image: str,
    platform: Platform | None,
    above: tuple[BuildStage, ...],
    options: FrontendOptions,
) -> Base | FromContext:
    image = _stage_meant(above, options, image)
    context = _context(options, image, platform)
    if context is not None:
        return context
    found = _named(above, image, before=len(above))
    if found is not None:
        return FromStage(found)
    if image.lower() == "scratch":
        return Scratch()
    return FromImage(_image(image, platform or options.platform, above))


def _image(name: str, platform: Platform, stages: Iterable[BuildStage]) -> BaseImage:
    try:
        Reference.parse(name)
    except InvalidReference as e:
        meant = did_you_mean(name, [s.start.name_written for s in stages if s.start.name])
        raise Fault(e.summary, at=name, why=e.why, remedy=meant or e.remedy) from e
    return BaseImage(name, platform)


def _context(
    options: FrontendOptions, name: str, platform: Platform | None = None
) -> FromContext | FromImage | None:
    """The named context in the place of a stage or an image, if there is one."""
    if name.lower() in ("scratch", "context"):
        return None
    wanted = _known_as(name)
    found = next((n for n in options.contexts if _known_as(n) == wanted), None)
    if found is None or options.contexts[found].startswith(_TARGET):
        return None
    value = options.contexts[found]
    if value.startswith(_LAYOUT):
        return FromImage(BaseImage(value, platform or options.platform))
    for scheme in _IMAGE_SCHEMES:
        if value.startswith(scheme):
            ref = value.removeprefix(scheme)
            return FromImage(_image(ref, platform or options.platform, ()))
    return FromContext(found)


def _stage_meant(stages: tuple[BuildStage, ...], options: FrontendOptions, name: str) -> str:
    """The stage of this file that a named context `target:STAGE` puts in the place of a name."""
    wanted = _known_as(name)
    value = next((v for n, v in options.contexts.items() if _known_as(n) == wanted), "")
    if not value.startswith(_TARGET):
        return name
    target = value.removeprefix(_TARGET)
    if _named(stages, target, before=len(stages)) is None:
        known = [s.start.name_written for s in stages if s.start.name]
        raise Fault(
            f"the build context {name} is {value}, but there is no such stage above",
            at=name,
            why="the stages are: " + (", ".join(known) or "without names"),
            remedy=did_you_mean(target, known),
        )
    return target


def _known_as(name: str) -> str:
    """One spelling for all of a name's: alpine is docker.io/library/alpine:latest."""
    try:
        reference = Reference.parse(name.lower())
    except InvalidReference:
        return name.lower()
    named = reference.tag or reference.digest is not None
    return str(reference if named else reference.with_tag("latest"))


def _named(stages: tuple[BuildStage, ...], name: str, *, before: int) -> int | None:
    """The last stage of that name above stage `before`."""
    wanted = name.lower()
    for stage in reversed(stages[:before]):
        if stage.start.name == wanted:
            return stage.index
    return None


def _target(dockerfile: Dockerfile, target: str) -> int:
    stages = dockerfile.stages
    if not target:
        return len(stages) - 1
    found = _named(stages, target, before=len(stages))
    if found is not None:
        return found
    if target.isascii() and target.isdigit() and int(target[:9]) < len(stages):
        return int(target)
    names = [s.start.name_written for s in stages if s.start.name]
    fault = Fault(
        f"there is no stage {target!r} to build",
        why="the stages are: " + (", ".join(names) or f"0 to {len(stages) - 1}, without names"),
        remedy=did_you_mean(target, names),
    )
    raise dockerfile.source.error(fault, SourceRange(dockerfile.source.file))
