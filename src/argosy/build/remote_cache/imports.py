"""Looking up steps in the caches of other machines: `--cache-from`.

Every cache is read in the background, its records only; layers stay where they are
until something must see their files. A cache that is slow, gone, damaged or hostile
costs a warning and a bounded time, never the build.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from argosy.build.cache import Record
from argosy.build.graph import Layer, Op, Snapshot
from argosy.build.layers.compression import Compression
from argosy.build.origins import Origins
from argosy.build.remote_cache.format import CacheRecord
from argosy.build.remote_cache.shelf import Part, read_shelf
from argosy.build.results.export import EMPTY_LAYER
from argosy.build.solver import StepCache
from argosy.build.steps.ops import Image
from argosy.concurrency import gather
from argosy.content.memory import MemoryStore
from argosy.content.store import Source, put_bytes
from argosy.errors import ArgosyError, NetworkTimeout, NotFound
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.observe import Event, Report, silent
from argosy.values import frozen

_LOOKS = 8
State = Callable[[Snapshot | None, Layer], Snapshot]  # says that a layer lies on a snapshot


@frozen(kw_only=True)
class Patience:
    """How long the caches may keep a build waiting, in seconds."""

    records: float = 10.0  # from the start of the build, until they are all read
    look: float = 5.0  # whether the layers of a record are still there
    stall: float = 30.0  # without a byte of a layer


@frozen(kw_only=True)
class Wanted:
    """One `--cache-from`, opened: where its index is."""

    name: str  # for people
    source: Source
    refs: tuple[str, ...]
    mounts: bool = False  # fill new cache mounts from it too


@dataclass(slots=True)
class Imported:
    """The records of one cache, as soon as they are here."""

    wanted: Wanted
    report: Report
    patience: Patience
    given_up: bool = False
    births: dict[Digest, str] = field(default_factory=dict)
    layers: "_Watched" = field(init=False)
    _found: dict[Digest, tuple[Part, CacheRecord]] = field(default_factory=dict)
    _there: dict[Digest, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.layers = _Watched(self, self.patience.stall)

    async def load(self) -> None:
        """Read the records; whatever is wrong with the cache becomes a warning."""
        name = self.wanted.name
        self.report(Event("started", name, f"importing {name}"))
        try:
            note = await self._load()
        except ArgosyError as e:
            self.warn("it is not used", e)
            note = "not used"
        self.report(Event("done", name, f"importing {name}", text=note))

    async def _load(self) -> str:
        found = 0
        for ref in self.wanted.refs:
            try:
                root = await self.wanted.source.resolve(ref)
            except NotFound:
                continue
            found += 1
            shelf = await read_shelf(self.wanted.source, root)
            for damage in shelf.damage:
                self.warn("some of its records are not used", damage)
            if not shelf.parts and not shelf.damage:
                self.warn("it holds no records that Argosy can use", None)
            for part in shelf.parts.values():
                self._add(part)
        return f"{len(self._found)} keys" if found else "nothing there yet"

    def _add(self, part: Part) -> None:
        self.births.update(part.config.births)
        for record in sorted(part.config.records, key=lambda r: -r.used):
            for key in record.keys:
                self._found.setdefault(key, (part, record))

    async def look_up(self, key: Digest, bases: Mapping[Digest, Descriptor]) -> "Hit | None":
        """What a key came to, if all its layers can be had."""
        if self.given_up or key not in self._found:
            return None
        part, record = self._found[key]
        chain: list[Layer] = []
        own: list[Descriptor] = []
        for layer in part.config.chain(record.top):
            if (held := bases.get(layer.diff_id)) is not None:
                chain.append(Layer(held, layer.diff_id))
            elif layer.blob is not None:
                chain.append(Layer(part.blobs[layer.blob], layer.diff_id))
                own.append(part.blobs[layer.blob])
            else:
                return None  # of a base image that this build does not have
        if not await self._all_there(own):
            return None
        return Hit(cache=self, record=record, chain=tuple(chain), own=tuple(own))

    async def _all_there(self, blobs: Iterable[Descriptor]) -> bool:
        """Whether the registry still has them: it may have collected them."""
        slots = asyncio.Semaphore(_LOOKS)

        async def look(desc: Descriptor) -> None:
            async with slots:
                self._there[desc.digest] = await self.wanted.source.exists(desc)

        wanted = {b.digest: b for b in blobs}
        try:
            async with asyncio.timeout(self.patience.look):
                await gather(look(b) for d, b in wanted.items() if d not in self._there)
        except TimeoutError:
            self.give_up("it does not answer")
            return False
        except ArgosyError as e:
            self.give_up(e.summary)
            return False
        if gone := next((d for d in wanted if not self._there[d]), None):
            text = f"it has lost the layer {gone}; steps that need it are run"
            self.report(Event("warning", self.wanted.name, self.wanted.name, text=self._said(text)))
        return gone is None

    def give_up(self, why: str) -> None:
        """Use it no more in this build."""
        if not self.given_up:
            self.given_up = True
            text = self._said(f"it is not used any more: {why}")
            self.report(Event("warning", self.wanted.name, self.wanted.name, text=text))

    def forget(self, record: CacheRecord) -> None:
        """Never answer with this record again."""
        for key in record.keys:
            self._found.pop(key, None)

    def warn(self, what: str, e: ArgosyError | None) -> None:
        """Tell people about it; the build goes on."""
        why = f" ({e.summary}{': ' + e.why if e.why else ''})" if e else ""
        text = self._said(f"{what}{why}")
        self.report(Event("warning", self.wanted.name, self.wanted.name, text=text))

    def _said(self, text: str) -> str:
        return f"{self.wanted.name}: {text}"


@frozen(kw_only=True)
class Hit:
    """A record of a cache that a key was found in, and the layers it came to."""

    cache: Imported
    record: CacheRecord
    chain: tuple[Layer, ...]
    own: tuple[Descriptor, ...]  # blobs that the cache itself has


@dataclass(slots=True)
class SharedSteps:
    """The step cache of this machine with those of others behind it."""

    local: StepCache
    caches: Sequence[Imported]
    loads: Sequence["asyncio.Task[None]"]
    origins: Origins
    state: State
    patience: Patience
    began: float = field(default_factory=time.monotonic)
    hits: dict[Digest, tuple[Hit, Snapshot | None]] = field(default_factory=dict)
    _bases: dict[Digest, Descriptor] = field(default_factory=dict)
    _distrusted: set[str] = field(default_factory=set)

    def stands_on(self, ops: Iterable[Op]) -> None:
        """Tell the layers of base images: no cache has to have those."""
        for op in ops:
            if isinstance(op, Image):
                self._bases.update(zip(op.diff_ids, op.layers, strict=True))
                self.origins.add(op.layers, op.source)

    async def find(self, key: Digest) -> Record | None:
        """The record of a key: of this machine, else of the first cache that has it."""
        if (found := await self.local.find(key)) is not None:
            return found
        if (hit := await self._remote(key)) is None:
            return None
        snapshot: Snapshot | None = None
        for layer in hit.chain:
            snapshot = self.state(snapshot, layer)
        self.origins.add(hit.own, hit.cache.layers)
        self.hits[key] = (hit, snapshot)
        return Record(
            key=key,
            snapshot=snapshot,
            description=hit.record.step,
            created=hit.record.created,
            used=time.time(),
        )

    async def keep(self, key: Digest, snapshot: Snapshot | None, description: str) -> None:
        """Remember what a key came to, on this machine."""
        self.hits.pop(key, None)
        await self.local.keep(key, snapshot, description)

    def keys_of(self, snapshot: Snapshot | None) -> list[Digest]:
        """Every key that the caches of others promised this snapshot for."""
        found = [hit.record.keys for hit, promised in self.hits.values() if promised == snapshot]
        return [key for keys in found for key in keys]

    def births(self) -> dict[Digest, str]:
        """When images were first made, as the caches say."""
        found: dict[Digest, str] = {}
        for cache in self.caches:
            found |= cache.births
        return found

    async def settle(self) -> None:
        """Remember on this machine what was found elsewhere and proved good; call it after the build."""
        for key, (hit, snapshot) in self.hits.items():
            await self.local.keep(key, snapshot, hit.record.step)

    def is_distrusted(self, snapshot: Snapshot | None) -> bool:
        """Whether it was promised in vain."""
        return snapshot is not None and snapshot.id in self._distrusted

    def distrust(self, snapshot: Snapshot | None, e: ArgosyError) -> bool:
        """Drop the records that promised this snapshot; False if none did, and the error is real."""
        # Several keys may have been promised the same: who comes second is right as well.
        accused = self._distrust(lambda _hit, promised: promised == snapshot, e)
        return accused or self.is_distrusted(snapshot)

    def distrust_all(self, e: ArgosyError) -> bool:
        """Drop every record that was used, and the caches they came from; False if there is none."""
        for cache in {id(hit.cache): hit.cache for hit, _ in self.hits.values()}.values():
            cache.give_up(e.summary)
        return self._distrust(lambda _hit, _promised: True, e)

    def _distrust(self, accused: Callable[[Hit, Snapshot | None], bool], e: ArgosyError) -> bool:
        keys = [key for key, (hit, promised) in self.hits.items() if accused(hit, promised)]
        for key in keys:
            hit, promised = self.hits.pop(key)
            if promised is not None:
                self._distrusted.add(promised.id)
            hit.cache.forget(hit.record)
            self.origins.drop(hit.own, hit.cache.layers)
            hit.cache.warn(f"what it says of {hit.record.step!r} is not used, the step is run", e)
        return bool(keys)

    async def _remote(self, key: Digest) -> Hit | None:
        while True:
            for cache in self.caches:
                if (hit := await cache.look_up(key, self._bases)) is not None:
                    return hit
            pending = [load for load in self.loads if not load.done()]
            left = self.began + self.patience.records - time.monotonic()
            if not pending or left <= 0:
                self._tell_late()
                return None
            await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)

    def _tell_late(self) -> None:
        for cache, load in zip(self.caches, self.loads, strict=True):
            if not load.done():
                cache.give_up(f"no answer within {self.patience.records:g} s")


@frozen(eq=False)
class _Watched:
    """A cache as a source of layers that does not wait for ever."""

    cache: Imported
    stall: float

    @property
    def _source(self) -> Source:
        return self.cache.wanted.source

    async def resolve(self, ref: str) -> Descriptor:
        return await self._source.resolve(ref)

    async def exists(self, desc: Descriptor) -> bool:
        return await self._source.exists(desc)

    @asynccontextmanager
    async def open(
        self, desc: Descriptor, *, start: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        async with self._source.open(desc, start=start) as body:
            yield self._pieces(desc, body)

    async def _pieces(self, desc: Descriptor, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        while True:
            try:
                async with asyncio.timeout(self.stall):
                    piece = await anext(body, None)
            except TimeoutError as e:
                name = self.cache.wanted.name
                raise NetworkTimeout(
                    f"{name}: no byte of {desc.digest} within {self.stall:g} s"
                ) from e
            if piece is None:
                return
            yield piece

    def origin(self, desc: Descriptor) -> Source:
        del desc
        return self._source


async def _empty_layer(origins: Origins) -> dict[Digest, Descriptor]:
    """The layer of steps that changed nothing: no cache carries it."""
    compressor = Compression().start()
    body = compressor.compress(bytes(1024)) + compressor.flush()
    desc = Descriptor.of(Compression().media_type, body)
    memory = MemoryStore()
    await put_bytes(memory, desc, body)
    origins.add([desc], memory)
    return {EMPTY_LAYER: desc}


@asynccontextmanager
async def importing(
    wanted: Sequence[Wanted],
    local: StepCache,
    origins: Origins,
    state: State,
    *,
    report: Report = silent,
    patience: Patience | None = None,
) -> AsyncIterator[SharedSteps]:
    """The step cache with `wanted` behind it, read in the background for as long as the block lasts."""
    patience = patience or Patience()
    caches = [Imported(one, report, patience) for one in wanted]
    error: BaseException | None = None
    async with asyncio.TaskGroup() as group:
        loads = [group.create_task(cache.load()) for cache in caches]
        steps = SharedSteps(local, caches, loads, origins, state, patience)
        if wanted:
            steps._bases.update(await _empty_layer(origins))  # noqa: SLF001 - its maker
        try:
            yield steps
        except BaseException as e:  # noqa: BLE001 - raised below: the group would wrap it
            error = e
        finally:
            for load in loads:
                load.cancel()
    if error is not None:
        raise error
