"""From snapshots to an image: layers, config and manifest per platform, an index for several.

A layer of the base is taken as it is, never packed again. Each snapshot is packed
once and remembered. A step that changed nothing makes no layer. The time of creation
is SOURCE_DATE_EPOCH, else the time at which this very image was first made, so that a
build that is all cache has the same digest again.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from argosy.build.cache import BuildCache
from argosy.build.graph import Snapshot, Snapshotter
from argosy.build.layers.compression import Compression
from argosy.build.results.forms import Form, LayerForm, is_already
from argosy.build.results.metadata import Metadata
from argosy.build.sources.bases import Base
from argosy.build.steps.lowering import Target
from argosy.build.steps.ops import key_of
from argosy.concurrency import gather
from argosy.content.store import Store, put_bytes
from argosy.errors import BuildError
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.manifest import dump
from argosy.model.platform import Platform
from argosy.observe import Event, Report, silent
from argosy.values import frozen

# diffID of a tar without entries: what a step that changed nothing comes to.
EMPTY_LAYER = Digest.of(bytes(1024))
Layer = tuple[Descriptor, Digest]


@frozen(kw_only=True)
class Image:
    """What was made: the manifest or index, and what it is made of, a platform each."""

    descriptor: Descriptor
    manifests: tuple[Descriptor, ...]
    configs: tuple[Descriptor, ...]


@dataclass(slots=True, kw_only=True)
class Assembly:
    """Makes images in `images`; the layers of a base need only be known there."""

    images: Store
    snapshots: Snapshotter
    cache: BuildCache
    form: Form = field(default_factory=Form)
    native: Compression = field(default_factory=Compression)  # of the snapshotter
    metadata: Metadata = field(default_factory=Metadata)  # what is told of where it comes from
    report: Report = silent
    # What images carry of their own records (type=inline), given what they were born as.
    inline: Callable[[Target, Mapping[Digest, str]], Awaitable[Mapping[str, str]]] | None = None

    async def make(self, targets: Sequence[Target], tops: Sequence[Snapshot | None]) -> Image:
        """The image of some platforms; `tops` are the targets' snapshots, None where there is none."""
        self.form.annotations.check([target.plan.platform for target in targets])
        with telling(self.report, "export", "exporting layers and manifests"):
            pairs = list(zip(targets, tops, strict=True))
            chains = [_own_snapshots(target, top) for target, top in pairs]
            unique = {s.id: s for chain in chains for s in chain}
            slots = asyncio.Semaphore(max(2, os.cpu_count() or 1))

            async def packing(snapshot: Snapshot) -> Layer:
                async with slots:
                    return await self.packed(snapshot)

            packed = await gather(packing(s) for s in unique.values())
            layers = dict(zip(unique, packed, strict=True))
            made = await gather(
                self._manifest(target, [layers[s.id] for s in chain])
                for target, chain in zip(targets, chains, strict=True)
            )
            manifests, configs = tuple(m for m, _ in made), tuple(c for _, c in made)
            single = len(made) == 1 and not self.form.always_index
            top = manifests[0] if single else await self._index(manifests, targets[0])
        return Image(descriptor=top, manifests=manifests, configs=configs)

    async def packed(self, snapshot: Snapshot) -> Layer:
        """The layer of a snapshot, and its diffID; packed now unless it is known."""
        if snapshot.layer is not None:  # it came as one, and stays the same everywhere
            return snapshot.layer.descriptor, snapshot.layer.diff_id
        return await self._packed(snapshot, self.form.layers)

    async def _packed(self, snapshot: Snapshot, form: LayerForm) -> Layer:
        known = await self.cache.layer(snapshot, str(form))
        if known is not None and await self.images.exists(known[0]):
            return known
        if form.compression == self.native:
            made = await self.snapshots.layer(snapshot, self.images)
        else:
            other = await self._packed(snapshot, replace(form, compression=self.native))
            made = await self._recompressed(other, form.compression)
        await self.cache.keep_layer(snapshot, *made, str(form))
        return made

    async def _recompressed(self, layer: Layer, wanted: Compression) -> Layer:
        from argosy.build.layers.blob import recompressed  # noqa: PLC0415 - rarely

        return await recompressed(layer, self.images, self.images, wanted)

    async def _base_layers(self, base: Base) -> list[Layer]:
        """The base's layers as they are, unless force-compression wants them all alike."""
        layers = list(zip(base.layers, base.config.diff_ids, strict=True))
        if not self.form.recompresses_bases:
            return layers
        wanted = self.form.layers.compression
        return [
            layer if is_already(layer[0], wanted) else await self._recompressed(layer, wanted)
            for layer in layers
        ]

    async def _manifest(self, target: Target, own: list[Layer]) -> tuple[Descriptor, Descriptor]:
        base = target.base
        kept = [layer for layer in own if layer[1] != EMPTY_LAYER]
        below = await self._base_layers(base) if base else []
        layers = [*below, *kept]
        config, created = await self._config(
            target, [diff for _, diff in layers], [d for _, d in own]
        )
        platform = target.plan.platform
        manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": self.form.manifest_type,
            "config": config.to_json(),
            "layers": [self.form.layer(layer).to_json() for layer, _ in layers],
        }
        described = {} if self.form.docker_types else self.metadata.for_manifest(target, created)
        if found := described | self.form.annotations.at("manifest", platform):
            manifest["annotations"] = dict(sorted(found.items()))
        body = dump(manifest)
        desc = Descriptor.of(
            self.form.manifest_type,
            body,
            platform=platform,
            annotations=self.form.annotations.at("manifest-descriptor", platform),
        )
        return await put_bytes(self.images, desc, body), config

    async def _config(
        self, target: Target, diff_ids: list[Digest], own: list[Digest]
    ) -> tuple[Descriptor, str]:
        stage, platform = target.plan.target, target.plan.platform
        config: dict[str, Any] = {
            **({"author": stage.author} if stage.author else {}),
            **platform.to_json(),
            "config": self._run_config(target),
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": _history(stage.history, own),
        }
        identity = key_of("image", config)
        created = await self._created(identity)
        for entry in config["history"]:
            entry.setdefault("created", created)
        if self.inline is not None:
            births = {identity: created} if self.form.epoch is None else {}
            config |= await self.inline(target, births)
        body = dump({"created": created, **config})
        desc = Descriptor.of(self.form.config_type, body)
        return await put_bytes(self.images, desc, body), created

    def _run_config(self, target: Target) -> dict[str, Any]:
        config = dict(target.plan.target.config)
        labels = self.metadata.labels(target)
        return {**config, "Labels": labels} if labels else config

    async def _created(self, identity: Digest) -> str:
        if self.form.epoch is not None:
            return _time(datetime.fromtimestamp(self.form.epoch, UTC))
        return await self.cache.born(identity, _time(datetime.now(UTC)))

    async def _index(self, manifests: Sequence[Descriptor], first: Target) -> Descriptor:
        index: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": self.form.index_type,
            "manifests": [m.to_json() for m in manifests],
        }
        told = {} if self.form.docker_types else self.metadata.for_index(first)
        if found := told | self.form.annotations.at("index"):
            index["annotations"] = dict(sorted(found.items()))
        body = dump(index)
        notes = self.form.annotations.at("index-descriptor")
        desc = Descriptor.of(self.form.index_type, body, annotations=notes)
        return await put_bytes(self.images, desc, body)


@contextmanager
def telling(report: Report, key: str, name: str) -> Iterator[None]:
    """Report one piece of work that is no step."""
    report(Event("started", key, name))
    try:
        yield
    except BaseException as e:
        report(Event("failed", key, name, text=str(e) or type(e).__name__))
        raise
    report(Event("done", key, name))


def _own_snapshots(target: Target, top: Snapshot | None) -> list[Snapshot]:
    """The snapshots of the target's steps, from the bottom; those of the base left out."""
    found: list[Snapshot] = []
    while top is not None and len(found) < target.steps:
        found.append(top)
        top = top.parent
    if len(found) != target.steps:
        raise BuildError(
            "the build came to fewer snapshots than steps",
            why=f"{len(found)} of {target.steps}",
            remedy="build with --no-cache, and report this as a defect of Argosy",
        )
    return found[::-1]


def _history(history: Sequence[Mapping[str, Any]], own: list[Digest]) -> list[dict[str, Any]]:
    """Copies of the entries; those of steps that made no layer say so.

    The steps' entries are the last ones that have a layer: a base may lack history.
    """
    entries = [dict(entry) for entry in history]
    with_layer = [e for e in entries if not e.get("empty_layer")]
    for entry, diff_id in zip(with_layer[-len(own) :] if own else [], own, strict=False):
        if diff_id == EMPTY_LAYER:
            entry["empty_layer"] = True
    return entries


def _time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def platform_directory(platform: Platform) -> str:
    """The directory of a platform in a multi-platform local or tar output: `linux_arm_v7`."""
    return str(platform).replace("/", "_")
