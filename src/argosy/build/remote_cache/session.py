"""The remote caches of one build: opened at its start, looked up, and written at its end."""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

from argosy.build.cache import BuildCache
from argosy.build.graph import Layer, Op, Snapshot, Work
from argosy.build.layers.compression import Compression
from argosy.build.options import Actions, Ends
from argosy.build.origins import Origins
from argosy.build.remote_cache.gathering import Gathering, Known, below
from argosy.build.remote_cache.imports import Patience, SharedSteps, Wanted, importing
from argosy.build.remote_cache.mounts import SCOPE, MountExport, MountImport, mounts_of
from argosy.build.remote_cache.publishing import Place, publish
from argosy.build.remote_cache.recompress import Recompression
from argosy.build.remote_cache.shelf import Part, inline
from argosy.build.remote_cache.words import CacheFrom, CacheTo
from argosy.build.results.export import telling
from argosy.build.solver import Solution
from argosy.build.steps.lowering import Target
from argosy.content.store import Collects, Source, Store
from argosy.errors import (
    ArgosyError,
    ConfigError,
    ContentError,
    CopyError,
    NetworkError,
    NotFound,
    RateLimited,
    RegistryError,
    RegistryUnavailable,
)
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.reference import Reference
from argosy.observe import Event, Report
from argosy.values import frozen

Packed = Callable[[Snapshot], Awaitable[tuple[Descriptor, Digest]]]
PATIENCE = Patience()
_BUSY = (NetworkError, RateLimited, RegistryUnavailable)
_EMPTY_PROMISES = (ContentError, NotFound, NetworkError, RegistryError)


@frozen(kw_only=True)
class Here:
    """This machine's side of the caches."""

    ends: Ends
    cache: BuildCache
    work: Work
    patience: Patience = field(default_factory=lambda: PATIENCE)

    @property
    def report(self) -> Report:
        """Where progress goes."""
        return self.work.report


@dataclass(slots=True)
class RemoteCaches:
    """What a build does with the caches of others."""

    here: Here
    to: Sequence[CacheTo]
    steps: SharedSteps
    origins: Origins

    @property
    def fill(self) -> MountImport | None:
        """What fills cache mounts that are new here; None without mounts=true."""
        if not any(cache.wanted.mounts for cache in self.steps.caches):
            return None
        return MountImport(self.steps.caches, self.steps.loads, self.here.patience.records)

    def over(self, targets: Sequence[Target]) -> SharedSteps:
        """The step cache for these targets: no cache has to hold the layers of their base images."""
        self.steps.stands_on(below(*(t.op for t in targets)))
        return self.steps

    def is_to_blame(self, e: ArgosyError) -> bool:
        """Whether an error may come of what caches promised; if so, they are used no more."""
        if isinstance(e, CopyError):
            return e.side == "source" and self.steps.distrust_all(e)
        return isinstance(e, _EMPTY_PROMISES) and self.steps.distrust_all(e)

    async def inline(
        self, targets: Sequence[Target], solution: Solution, pack: Packed
    ) -> Callable[[Target, Mapping[Digest, str]], Awaitable[Mapping[str, str]]] | None:
        """What puts an image's own records into its config, or None."""
        self.here.cache.births_elsewhere.update(self.steps.births())
        if all(to.kind != "inline" for to in self.to):
            return None
        # What else this machine knows of the steps, such as older keys, must not show.
        known = await self.known(targets, solution)
        plain = {i: replace(one, keys=one.keys[:1]) for i, one in known.items()}

        async def make(target: Target, births: Mapping[Digest, str]) -> Mapping[str, str]:
            gathering = Gathering(plain, _layers(pack), births, timeless=True)
            part = await gathering.part(target.op, "min")
            return dict([inline(part.config)])

        return make

    async def export(self, targets: Sequence[Target], solution: Solution, pack: Packed) -> None:
        """Write every `--cache-to`; ArgosyError of the first that fails and may not."""
        await self.steps.settle()
        for to in self.to:
            if to.kind == "inline":
                continue
            try:
                with telling(self.here.report, f"export {to.name}", f"exporting {to.name}"):
                    await self._export_again(to, targets, solution, pack)
            except ArgosyError as e:
                if not (to.ignore_error or _is_lenient(to, e)):
                    raise
                self._warn(to.name, f"not exported: {e.summary}")

    async def _export_again(
        self, to: CacheTo, targets: Sequence[Target], solution: Solution, pack: Packed
    ) -> None:
        """As `_export`; without what an imported cache has promised, if that is not there."""
        try:
            await self._export(to, targets, solution, pack)
        except CopyError as e:
            if not self.is_to_blame(e):
                raise
            await self._export(to, targets, solution, pack)

    async def _export(
        self, to: CacheTo, targets: Sequence[Target], solution: Solution, pack: Packed
    ) -> None:
        known = await self.known(targets, solution)
        gathering = Gathering(known, _layers(pack), self.here.cache.births)
        parts: dict[str, Part] = {}
        for target in targets:
            part = await gathering.part(target.op, to.mode)
            if (compression := _compression(to)) is not None:
                image = (
                    () if to.force_compression else (await gathering.part(target.op, "min")).blobs
                )
                again = Recompression(compression, keep=image)
                part = await again.of(part, self.origins, self.here.ends.images)
            parts[str(target.plan.platform)] = part
        if to.mounts:
            with tempfile.TemporaryDirectory(prefix="argosy-") as scratch:
                mounts = mounts_of(below(*(t.op for t in targets)))
                export = MountExport(self.here.work, self.here.ends.images, scratch)
                packed = await export.part(mounts)
            parts |= {SCOPE: packed} if packed.config.records else {}
        async with opened_to(to, self.here.ends) as (store, tag):
            place = Place(store=store, tag=tag, name=to.name, oci=to.oci_media_types)
            await publish(parts, self.origins, place, self.here.report)
            if to.reset and isinstance(store, Collects):
                await store.collect()

    async def known(self, targets: Sequence[Target], solution: Solution) -> dict[int, Known]:
        """What this build or an earlier one knows of every op below the targets."""
        found: dict[int, Known] = {}
        for op in below(*(t.op for t in targets)):
            if op.inputs and (known := await self._known_of(op, solution)):
                found[id(op)] = known
        return found

    async def _known_of(self, op: Op, solution: Solution) -> Known | None:
        solved = solution.solved.get(id(op))
        if solved is None:
            return None
        records = self.here.cache if solved.is_known else self.steps
        record = await records.find(solved.keys[0])
        if solved.is_known and not self.steps.is_distrusted(solved.snapshot):
            snapshot = solved.snapshot
        elif record is not None:
            snapshot = record.snapshot
        else:
            return None
        keys = [*solved.keys, *self.steps.keys_of(snapshot)]
        if snapshot is not None:
            keys += await self.here.cache.keys(snapshot)
        return Known(
            op=op,
            keys=tuple(dict.fromkeys(keys)),
            snapshot=snapshot,
            created=record.created if record else 0,
        )

    def _warn(self, name: str, text: str) -> None:
        self.here.report(Event("warning", name, name, text=f"{name}: {text}"))


def _is_lenient(to: CacheTo, e: ArgosyError) -> bool:
    """GitHub's service limits everybody now and then; no job is to fail of that."""
    cause = e.cause if isinstance(e, CopyError) else e
    return to.kind == "gha" and isinstance(cause, _BUSY)


def _compression(to: CacheTo) -> Compression | None:
    """UsageError for a level that there is not."""
    if not to.compression:
        return None
    return Compression(name=to.compression, level=to.compression_level)


def _layers(packed: Packed) -> Callable[[Snapshot], Awaitable[Layer]]:
    async def layer(snapshot: Snapshot) -> Layer:
        return Layer(*await packed(snapshot))

    return layer


@asynccontextmanager
async def remote_caches(
    sources: Sequence[CacheFrom], to: Sequence[CacheTo], here: Here
) -> AsyncIterator[RemoteCaches]:
    """The caches of a build for as long as the block lasts; they are read in the background at once."""
    async with AsyncExitStack() as stack:
        wanted: list[Wanted] = []
        for one_to in to:
            _compression(one_to)
        for one in sources:
            try:
                source, refs = await stack.enter_async_context(opened_from(one, here.ends))
            except ConfigError as e:  # outside of GitHub's actions there is no such cache
                text = f"{one.name}: not used: {e.summary}"
                here.report(Event("warning", one.name, one.name, text=text))
                continue
            wanted.append(Wanted(name=one.name, source=source, refs=refs, mounts=one.mounts))
        origins = here.work.origins
        steps = importing(
            wanted,
            here.cache,
            origins,
            here.work.snapshots.apply,
            report=here.report,
            patience=here.patience,
        )
        yield RemoteCaches(here, to, await stack.enter_async_context(steps), origins)


@asynccontextmanager
async def opened_to(to: CacheTo, ends: Ends) -> AsyncIterator[tuple[Store, str]]:
    """Where a cache is written: a store, and the tag in it."""
    if to.kind == "registry":
        reference = Reference.parse(to.ref)
        yield ends.repository(reference), reference.tag or "latest"
        return
    if to.kind == "local":
        async with ends.archive("oci", to.dest.rstrip("/") + "/") as store:
            yield store, to.ref
        return
    async with _actions(ends)(to.actions) as service:
        yield service, service.refs[0]


@asynccontextmanager
async def opened_from(one: CacheFrom, ends: Ends) -> AsyncIterator[tuple[Source, tuple[str, ...]]]:
    """Where a cache is read: a source, and the refs in it."""
    if one.kind == "registry":
        reference = Reference.parse(one.ref)
        yield ends.repository(reference), (reference.digest or reference.tag or "latest",)
        return
    if one.kind == "local":
        async with ends.archive("oci", one.src.rstrip("/") + "/") as store:
            yield store, (one.ref,)
        return
    async with _actions(ends)(one.actions) as service:
        yield service, service.refs


def _actions(ends: Ends) -> Actions:
    if ends.actions is None:
        raise ConfigError("GitHub's cache service cannot be reached from here")
    return ends.actions
