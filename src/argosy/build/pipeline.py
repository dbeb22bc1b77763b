"""build: from a Dockerfile and a context to images where they were asked for.

Read the Dockerfile, plan it for each platform, lower the plans to one graph, solve
the graph, make the images, deliver them. Each of these is a module of its own; this
one only holds them together.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from argosy.build.cache import BuildCache
from argosy.build.disk.watch import tidied
from argosy.build.dockerfile.askers import tell_where
from argosy.build.dockerfile.evaluate import base_images, evaluate
from argosy.build.dockerfile.parser import Dockerfile, parse
from argosy.build.dockerfile.plan import BaseImage, Plan
from argosy.build.dockerfile.stages import FrontendOptions
from argosy.build.execute.runtime import OCIRuntime
from argosy.build.explain import Explanations
from argosy.build.files.tree import Tree
from argosy.build.graph import Holds, Reason, Snapshot, Work
from argosy.build.healing import forgot_damage
from argosy.build.history.record import full_ref
from argosy.build.history.recording import Recording, recording
from argosy.build.layers.compression import Compression
from argosy.build.linting import Linting
from argosy.build.options import (
    Archive,
    BuildOptions,
    BuildResult,
    Ends,
    Engine,
    Output,
    Secret,
)
from argosy.build.origins import Origins
from argosy.build.results.export import Assembly
from argosy.build.results.export import Image as Made
from argosy.build.results.forms import Form
from argosy.build.results.metadata import Metadata
from argosy.build.results.outputs import Delivery, check, is_kept, names_of, write_notes
from argosy.build.results.staging import Staging
from argosy.build.results.times import epoch_of, metadata_of, with_time
from argosy.build.results.variants import form_of, forms_of, layer_epoch, outputs_of
from argosy.build.snapshot.overlay import CLAIMS, OverlaySnapshotter
from argosy.build.snapshot.supply import Supply
from argosy.build.solver import Solution, Solver, inputs_first
from argosy.build.sources.added import Additions
from argosy.build.sources.bases import Base, BaseImages
from argosy.build.sources.contexts import Contexts
from argosy.build.sources.local import save_digests
from argosy.build.sources.outside import Outside
from argosy.build.steps.lowering import Lowering, Target
from argosy.build.steps.ops import Image
from argosy.claims import Claims
from argosy.concurrency import in_thread
from argosy.errors import ArgosyError, ConfigError
from argosy.model.platform import Platform
from argosy.observe import Event, Report, silent
from argosy.settings import Settings

if TYPE_CHECKING:
    from argosy.build.remote_cache.session import RemoteCaches

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
    check(options)
    try:
        async with recording(options, settings, report) as record:
            made = await _carried_out(options, settings, ends, record, engine)
            record.result = made = replace(made, ref=record.ref)
    except ArgosyError:
        await tidied(settings, ends.images, report)  # also for want of space
        raise
    await tidied(settings, ends.images, report)
    return made


async def _carried_out(
    options: BuildOptions, settings: Settings, ends: Ends, record: Recording, engine: Engine | None
) -> BuildResult:
    state, report = os.path.join(settings.home, "build"), record.report
    async with AsyncExitStack() as stack:
        claims = stack.enter_context(Claims(os.path.join(state, CLAIMS)))
        outside = outside_of(options, ends, state, report, claims)
        contexts = await stack.enter_async_context(Contexts(options, outside, ends.stdin))
        main = await contexts.main()
        options = await in_thread(with_time, options, main.directory)
        metadata = await in_thread(metadata_of, options, main.directory, report)
        record.git = metadata.git
        dockerfile = parse(main.text, main.shown)
        trees = {"": main.tree, **await contexts.named()}
        engine = engine or await _engine(options, ends, outside, stack)
        snapshots = engine.snapshots
        exists = snapshots.exists if isinstance(snapshots, Holds) else _trusting
        cache = BuildCache(os.path.join(state, "cache.db"), exists)
        work = Work(
            snapshots=snapshots,
            execute=engine.execute,
            images=ends.images,
            origins=engine.origins,
            report=report,
            cache_mounts=os.path.join(state, "mounts"),
            secrets=outside.secrets,
            agents=outside.agents,
            shell=ends.shell if options.debug_shell else None,
            claims=claims,
        )
        records = await stack.enter_async_context(cache)
        remote = await _remote_caches(options, work, ends, records, stack)
        if remote is not None:
            work = replace(work, fill=remote.fill)
        staging = Staging(ends.images, engine.origins)
        shape = _Shape(staging, engine.compression, metadata, record.ref)
        linting = Linting(report)
        this = _Build(options, settings, ends, work, records, linting, shape, outside, remote)
        return await this.run(dockerfile, trees)


@dataclass(frozen=True, slots=True)
class _Shape:
    """Where images are put together, and how the engine writes layers by itself."""

    staging: Staging
    native: Compression
    metadata: Metadata
    ref: str = ""  # of this build


@dataclass(frozen=True, slots=True)
class _Build:
    """One build, with everything it needs open."""

    options: BuildOptions
    settings: Settings
    ends: Ends
    work: Work
    cache: BuildCache
    linting: Linting
    shape: _Shape
    outside: Outside
    remote: "RemoteCaches | None" = None

    async def run(self, dockerfile: Dockerfile, trees: Mapping[str, Tree]) -> BuildResult:
        """From the parsed Dockerfile to delivered images."""
        targets = await self._targets(dockerfile, trees)
        try:
            return await self._built(targets, trees)
        except ArgosyError as e:
            # A layer that a remote cache promised, or one that is damaged here, may turn out
            # bad as late as in a push.
            healed = await forgot_damage(e, self.ends.images, self.work.report)
            if not healed and (self.remote is None or not self.remote.is_to_blame(e)):
                raise
            return await self._built(targets, trees)

    async def _built(self, targets: tuple[Target, ...], trees: Mapping[str, Tree]) -> BuildResult:
        tops, solution = await self._solve(targets)
        reasons = await in_thread(self._explained, targets, solution)
        for tree in trees.values():
            await in_thread(save_digests, tree)
        images = {}
        for form in forms_of(self.options, epoch_of(self.options)):
            images[form] = await self._assembled(targets, tops, solution, form)
        image = next(iter(images.values()))
        names = await self._delivered(targets, tops, images)
        if self.remote is not None:
            await self.remote.export(targets, solution, self._assembly().packed)
        return BuildResult(
            descriptor=image.descriptor,
            names=names,
            platforms=tuple(t.plan.platform for t in targets),
            manifests=image.manifests,
            steps=solution.steps,
            cached=solution.steps - solution.ran,
            warnings=tuple(f.to_json() for f in self.linting.findings or ()),
            reasons=reasons,
        )

    def _explained(self, targets: Sequence[Target], solution: Solution) -> tuple[Reason, ...]:
        project = f"{os.path.abspath(self.options.context)}\0{self.options.dockerfile}"
        path = os.path.join(self.settings.home, "build", "reasons.db")
        explanations = Explanations(path, project, cached=not self.options.no_cache)
        return explanations.told([t.op for t in targets], solution)

    async def _targets(
        self, dockerfile: Dockerfile, trees: Mapping[str, Tree]
    ) -> tuple[Target, ...]:
        platforms = tuple(dict.fromkeys(self.options.platforms)) or (Platform.host(),)
        resolver = BaseImages(
            self.ends.images,
            self.ends.repository,
            self.cache,
            pull=self.options.pull,
            layout=self.ends.layout,
        )
        additions = Additions(self.outside)
        targets = []
        for platform in platforms:
            bases, plan = await self._planned(dockerfile, platform, resolver, trees[""])
            lowering = Lowering(
                plan,
                bases,
                trees,
                added=await additions.resolve_all(plan),
                conditions=self.options.conditions,
                several=len(platforms) > 1,
                no_cache=frozenset(n.lower() for n in self.options.no_cache_filter),
            )
            targets.append(lowering.target())
        self._warn(targets[0].plan, dockerfile)
        return tuple(targets)

    async def _planned(
        self, dockerfile: Dockerfile, platform: Platform, resolver: BaseImages, context: Tree
    ) -> tuple[dict[BaseImage, Base], Plan]:
        options = FrontendOptions(
            platform=platform,
            build_args=self.options.build_args,
            target=self.options.target,
            labels=self.options.labels,
            contexts=self.options.build_contexts,
        )
        bases: dict[BaseImage, Base] = {}
        # A base's ONBUILD triggers may name more images, so ask until nothing is new.
        while new := base_images(dockerfile, options, _configs(bases)):
            bases |= await self._resolved(dockerfile, resolver, set(new))
        self.linting.check(dockerfile, options, _configs(bases), context.ignore)
        return bases, evaluate(dockerfile, options, _configs(bases))

    async def _resolved(
        self, dockerfile: Dockerfile, resolver: BaseImages, wanted: set[BaseImage]
    ) -> dict[BaseImage, Base]:
        try:
            return await resolver.resolve_all(wanted)
        except ArgosyError as e:
            if image := e.evidence.get("image"):
                tell_where(e, dockerfile, image)
            raise

    async def _solve(
        self, targets: Sequence[Target]
    ) -> tuple[tuple[Snapshot | None, ...], Solution]:
        """The targets' snapshots."""
        steps = self.remote.over(targets) if self.remote else self.cache
        for op in inputs_first([t.op for t in targets]):
            if isinstance(op, Image):
                op.stated(self.work)  # a record may stand on it, and then it is not run
        solver = Solver(self.work, steps, jobs=self.options.jobs)
        wanted = [t.op for t in targets]
        solution = await solver.solve(
            wanted,
            use_cache=not self.options.no_cache,
            anew=[op for t in targets for op in t.anew],
        )
        return solution.snapshots, solution

    async def _assembled(
        self,
        targets: Sequence[Target],
        tops: Sequence[Snapshot | None],
        solution: Solution,
        form: Form,
    ) -> Made:
        assembly = self._assembly(form)
        if self.remote is not None:
            assembly.inline = await self.remote.inline(targets, solution, assembly.packed)
        return await assembly.make(targets, tops)

    def _assembly(self, form: Form | None = None) -> Assembly:
        return Assembly(
            images=self.shape.staging,
            snapshots=self.work.snapshots,
            cache=self.cache,
            form=form or form_of(self.options, epoch_of(self.options)),
            native=self.shape.native,
            metadata=self.shape.metadata,
            report=self.work.report,
        )

    async def _delivered(
        self,
        targets: Sequence[Target],
        tops: Sequence[Snapshot | None],
        images: Mapping[Form, Made],
    ) -> tuple[str, ...]:
        image = next(iter(images.values()))
        delivery = Delivery(
            image=image,
            made=self.shape.staging,
            platforms=tuple(t.plan.platform for t in targets),
            files=tops,
            ends=self.ends,
            snapshots=self.work.snapshots,
            report=self.work.report,
            epoch=layer_epoch(self.options, epoch_of(self.options)),
        )
        everywhere = names_of([*self.options.tags, *self._more_names()])
        if is_kept(self.options):
            await delivery.keep(everywhere)
        for output in outputs_of(self.options):
            form = form_of(self.options, epoch_of(self.options), output)
            this = replace(delivery, image=images.get(form, image))
            await this.deliver(output, names_of([*self.options.tags, *output.names]))
        for engine in self.options.engines:
            await delivery.load(str(engine), everywhere, self.ends.images)
        more: dict[str, object] = {"buildx.build.ref": full_ref(self.shape.ref)}
        if self.options.metadata_warnings:
            more["buildx.build.warnings"] = self.linting.notes()
        if trace := self.options.telling.trace:
            more["argosy.trace"] = trace
        await in_thread(write_notes, self.options, image, everywhere, more)
        return tuple(str(n) for n in everywhere)

    def _more_names(self) -> list[str]:
        outputs = [o for o in self.options.outputs if not o.wish.by_digest]
        return [name for output in outputs for name in output.names]

    def _warn(self, plan: Plan, dockerfile: Dockerfile) -> None:
        stages = {stage.name.lower() for stage in dockerfile.stages}
        for name in self.options.no_cache_filter:
            if name.lower() not in stages:
                text = f"--no-cache-filter {name}: the Dockerfile has no such stage"
                self.work.report(Event("warning", "no-cache-filter", "stages", text=text))
        for name in plan.unused_build_args:
            text = f"build argument {name} was given, but the Dockerfile declares no ARG {name}"
            self.work.report(Event("warning", "build-args", "build arguments", text=text))


def _configs(bases: Mapping[BaseImage, Base]) -> dict[BaseImage, Mapping[str, object]]:
    return {image: base.config.raw for image, base in bases.items()}


async def _remote_caches(
    options: BuildOptions, work: Work, ends: Ends, cache: BuildCache, stack: AsyncExitStack
) -> "RemoteCaches | None":
    if not options.cache_from and not options.cache_to:
        return None
    # Most builds have none: their start does not pay for it.
    from argosy.build.remote_cache.session import Here, remote_caches  # noqa: PLC0415

    here = Here(ends=ends, cache=cache, work=work)
    sources = () if options.no_cache else options.cache_from
    return await stack.enter_async_context(remote_caches(sources, options.cache_to, here))


async def _trusting(_snapshot: Snapshot) -> bool:
    return True


def outside_of(
    options: BuildOptions,
    ends: Ends,
    state: str,
    report: Report = silent,
    claims: Claims | None = None,
) -> Outside:
    """The way to what a build reads from elsewhere than local directories."""
    return Outside(
        state=state,
        fetch=ends.fetch,
        report=report,
        secrets={s.id: partial(_secret, s) for s in options.secrets},
        agents={a.id: a for a in options.agents},
        claims=claims,
    )


async def _engine(
    options: BuildOptions, ends: Ends, outside: Outside, stack: AsyncExitStack
) -> Engine:
    place = os.path.join(outside.state, "snapshots")
    form = form_of(options, epoch_of(options)).layers
    origins = Origins(ends.images)
    supply = Supply(source=origins, keep=ends.images, report=outside.report)
    snapshots = await in_thread(
        OverlaySnapshotter,
        place,
        compression=form.compression,
        epoch=form.epoch,
        supply=supply,
        claims=outside.claims,
    )
    execute = await in_thread(OCIRuntime, os.path.join(outside.state, "runtime"))
    return Engine(
        snapshots=await stack.enter_async_context(snapshots),
        execute=await stack.enter_async_context(execute),
        compression=form.compression,
        origins=origins,
    )


def _secret(secret: Secret) -> bytes:
    """Read when a step uses it, never earlier and never kept."""
    if secret.env:
        if secret.env not in os.environ:
            raise ConfigError(
                f"secret {secret.id}: there is no variable {secret.env}",
                remedy=f"export it, or write --secret id={secret.id},src=FILE",
            )
        return os.environb[os.fsencode(secret.env)]
    try:
        with open(secret.file, "rb") as file:
            return file.read()
    except OSError as e:
        raise ConfigError(
            f"secret {secret.id}: cannot read {secret.file}", why=e.strerror or str(e)
        ) from e
