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
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from argosy.build.cache import BuildCache
from argosy.build.graph import Snapshot, Snapshotter
from argosy.build.lowering import Target
from argosy.build.ops import key_of
from argosy.concurrency import gather
from argosy.content.copy import copy
from argosy.content.store import Store, put_bytes
from argosy.errors import BuildError, UsageError
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.manifest import dump
from argosy.model.platform import Platform
from argosy.observe import Event, Report, silent
from argosy.values import frozen

# diffID of a tar without entries: what a step that changed nothing comes to.
EMPTY_LAYER = Digest.of(bytes(1024))
_OCI_LAYERS = {
    media.DOCKER_LAYER: media.OCI_LAYER,
    media.DOCKER_LAYER_GZIP: media.OCI_LAYER_GZIP,
    media.DOCKER_LAYER_ZSTD: media.OCI_LAYER_ZSTD,
    media.DOCKER_FOREIGN_LAYER: media.OCI_NONDIST_PREFIX + "v1.tar+gzip",
}

Layer = tuple[Descriptor, Digest]


@frozen(kw_only=True)
class Image:
    """What was made: the manifest or index, and what it is made of, a platform each."""

    descriptor: Descriptor
    manifests: tuple[Descriptor, ...]
    configs: tuple[Descriptor, ...]


@dataclass(slots=True, kw_only=True)
class Assembly:
    """Makes images in the local store."""

    images: Store
    snapshots: Snapshotter
    cache: BuildCache
    epoch: int | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    report: Report = silent
    # What images carry of their own records (type=inline), given what they were born as.
    inline: Callable[[Target, Mapping[Digest, str]], Awaitable[Mapping[str, str]]] | None = None

    async def make(self, targets: Sequence[Target], tops: Sequence[Snapshot | None]) -> Image:
        """The image of some platforms; `tops` are the targets' snapshots, None where there is none."""
        _check_annotations(self.annotations, several=len(targets) > 1)
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
            top = manifests[0] if len(made) == 1 else await self._index(manifests)
        return Image(descriptor=top, manifests=manifests, configs=configs)

    async def packed(self, snapshot: Snapshot) -> Layer:
        """The layer of a snapshot, and its diffID; packed now unless it is known."""
        form = "" if self.epoch is None else f"epoch={self.epoch}"
        known = await self.cache.layer(snapshot, form)
        if known is not None and await self.images.exists(known[0]):
            return known
        layer, diff_id = await self.snapshots.layer(snapshot, self.images)
        await self.cache.keep_layer(snapshot, layer, diff_id, form)
        return layer, diff_id

    async def _manifest(self, target: Target, own: list[Layer]) -> tuple[Descriptor, Descriptor]:
        base = target.base
        if base is not None and not await self.images.exists(base.manifest):
            # What the store has must be whole, so the base's blobs are needed here too.
            await copy(base.source, base.manifest.digest, self.images, "", report=self.report)
        kept = [layer for layer in own if layer[1] != EMPTY_LAYER]
        below = list(zip(base.layers, base.config.diff_ids, strict=True)) if base else []
        layers = [*below, *kept]
        config = await self._config(target, [diff for _, diff in layers], [d for _, d in own])
        manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": media.OCI_MANIFEST,
            "config": config.to_json(),
            "layers": [_as_oci(layer).to_json() for layer, _ in layers],
        }
        if found := _annotations(self.annotations, "manifest"):
            manifest["annotations"] = found
        body = dump(manifest)
        desc = Descriptor.of(media.OCI_MANIFEST, body, platform=target.plan.platform)
        return await put_bytes(self.images, desc, body), config

    async def _config(
        self, target: Target, diff_ids: list[Digest], own: list[Digest]
    ) -> Descriptor:
        stage, platform = target.plan.target, target.plan.platform
        config: dict[str, Any] = {
            **({"author": stage.author} if stage.author else {}),
            **platform.to_json(),
            "config": dict(stage.config),
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": _history(stage.history, own),
        }
        identity = key_of("image", config)
        created = await self._created(identity)
        for entry in config["history"]:
            entry.setdefault("created", created)
        if self.inline is not None:
            births = {identity: created} if self.epoch is None else {}
            config |= await self.inline(target, births)
        body = dump({"created": created, **config})
        return await put_bytes(self.images, Descriptor.of(media.OCI_CONFIG, body), body)

    async def _created(self, identity: Digest) -> str:
        if self.epoch is not None:
            return _time(datetime.fromtimestamp(self.epoch, UTC))
        return await self.cache.born(identity, _time(datetime.now(UTC)))

    async def _index(self, manifests: Sequence[Descriptor]) -> Descriptor:
        index: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": media.OCI_INDEX,
            "manifests": [m.to_json() for m in manifests],
        }
        if found := _annotations(self.annotations, "index"):
            index["annotations"] = found
        body = dump(index)
        return await put_bytes(self.images, Descriptor.of(media.OCI_INDEX, body), body)


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


def _as_oci(layer: Descriptor) -> Descriptor:
    return Descriptor(
        media_type=_OCI_LAYERS.get(layer.media_type, layer.media_type),
        digest=layer.digest,
        size=layer.size,
        annotations=layer.annotations,
        urls=layer.urls,
    )


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


def _annotations(given: Mapping[str, str], where: str) -> dict[str, str]:
    """Those for `manifest` or `index`; no prefix means the manifest, as with buildx."""
    found: dict[str, str] = {}
    for name, value in given.items():
        kind, key = _split(name)
        if where in kind:
            found[key] = value
    return found


def _split(name: str) -> tuple[list[str], str]:
    prefix, colon, key = name.partition(":")
    kinds = prefix.split(",")
    if colon and set(kinds) <= {"manifest", "index"}:
        return kinds, key
    return ["manifest"], name


def _check_annotations(given: Mapping[str, str], *, several: bool) -> None:
    for name in given:
        if "index" in _split(name)[0] and not several:
            raise UsageError(
                f"annotation {name} is for an index, but the result is a single manifest",
                remedy="build for several platforms, or annotate the manifest",
            )


def platform_directory(platform: Platform) -> str:
    """The directory of a platform in a multi-platform local or tar output: `linux_arm_v7`."""
    return str(platform).replace("/", "_")
