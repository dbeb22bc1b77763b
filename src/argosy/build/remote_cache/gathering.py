"""What a build knows, as a cache: the records of its steps and the layers they came to.

One pass over the graph, inputs first; every vertex and every snapshot is looked at once.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import field

from argosy.build.graph import Layer, Op, Snapshot
from argosy.build.remote_cache.format import CacheRecord, CacheWriter
from argosy.build.remote_cache.shelf import Part
from argosy.build.remote_cache.words import Mode
from argosy.build.results.export import EMPTY_LAYER
from argosy.build.steps.ops import Image, Linked
from argosy.concurrency import gather
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.values import frozen


@frozen(kw_only=True)
class Known:
    """What is known of one step: its keys, and the snapshot they came to."""

    op: Op
    keys: tuple[Digest, ...]
    snapshot: Snapshot | None
    created: float


Pack = Callable[[Snapshot], Awaitable[Layer]]


@frozen
class Gathering:
    """Makes the caches of a build's platforms; `pack` gives the layer of a snapshot."""

    known: Mapping[int, Known]  # by the op's id; those without a record are not there
    pack: Pack
    births: Mapping[Digest, str] = field(default_factory=dict)
    timeless: bool = False  # for what is to have the same bytes whenever it is made

    async def part(self, target: Op, mode: Mode) -> Part:
        """The cache of one platform: `min` is the path from the target to its base, `max` all below it."""
        ops = [op for op in (below(target) if mode == "max" else _own(target)) if op.inputs]
        known = [self.known[id(op)] for op in ops if id(op) in self.known]
        layers = await self._packed(known)
        writer, now = CacheWriter(), 0 if self.timeless else int(time.time())
        blobs: dict[Digest, Descriptor] = {}
        for one in known:
            chain = self._chain(one, layers)
            blobs |= {layer.descriptor.digest: layer.descriptor for _, layer in chain if layer}
            record = CacheRecord(
                keys=one.keys,
                top=None,
                step=one.op.name,
                created=min(now, int(one.created)),
                used=now,
            )
            writer.add(
                record, [(d, layer.descriptor.digest if layer else None) for d, layer in chain]
            )
        writer.born(self.births)
        return Part(config=writer.config(), blobs=blobs)

    async def _packed(self, known: Iterable[Known]) -> dict[str, Layer]:
        """The layers of all snapshots above the bases, each packed once."""
        snapshots: dict[str, Snapshot] = {}
        for one in known:
            snapshot, depth = one.snapshot, _depth(one.snapshot) - len(_base(one.op))
            # To the bottom each time: a linked layer lies on several parents under one id.
            while snapshot is not None and depth > 0:
                snapshots.setdefault(snapshot.id, snapshot)
                snapshot, depth = snapshot.parent, depth - 1
        slots = asyncio.Semaphore(max(2, os.cpu_count() or 1))

        async def packed(snapshot: Snapshot) -> Layer:
            async with slots:
                return snapshot.layer or await self.pack(snapshot)

        found = await gather(packed(s) for s in snapshots.values())
        return dict(zip(snapshots, found, strict=True))

    def _chain(self, one: Known, layers: Mapping[str, Layer]) -> list[tuple[Digest, Layer | None]]:
        """DiffIDs from the bottom, with the layer where the cache is to carry it."""
        base = _base(one.op)
        ids = one.snapshot.chain if one.snapshot else ()
        own = [layers[i] for i in ids[len(base) :]]
        return [
            *((diff_id, None) for diff_id in base),
            *((o.diff_id, None if o.diff_id == EMPTY_LAYER else o) for o in own),
        ]


def path(target: Op) -> list[Op]:
    """The ops from the base to the target, each the parent of the next."""
    found = [target]
    while found[-1].inputs:
        found.append(found[-1].inputs[0])
    return found[::-1]


def _own(target: Op) -> list[Op]:
    """The ops whose layers the target's image has: COPY --link made its layer apart from the path."""
    ops = path(target)
    return [*(op.layer for op in ops if isinstance(op, Linked)), *ops]


def below(*targets: Op) -> list[Op]:
    """Everything the targets are made from, and they, inputs first."""
    done: dict[int, Op] = {}
    pending = [(op, False) for op in reversed(targets)]
    while pending:
        op, ready = pending.pop()
        if id(op) in done:
            continue
        if ready:
            done[id(op)] = op
        else:
            pending.append((op, True))
            pending += [(i, False) for i in reversed(op.inputs)]
    return list(done.values())


def _base(op: Op) -> Sequence[Digest]:
    """The diffIDs of the image that an op stands on."""
    bottom = path(op)[0]
    return bottom.diff_ids if isinstance(bottom, Image) else ()


def _depth(snapshot: Snapshot | None) -> int:
    return len(snapshot.chain) if snapshot else 0
