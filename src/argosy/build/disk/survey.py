"""What there is on the disk: looked up in the tables, measured only where that is not enough."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from argosy.build.cache import GIVEN, BuildCache
from argosy.build.disk.items import Item, Kind
from argosy.build.disk.sizes import Sizes
from argosy.concurrency import in_thread
from argosy.content.store import Spare, Spares, Store
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest

SNAPSHOTS, MOUNTS, MIRRORS, DOWNLOADS = "snapshots", "mounts", "git", "downloads"
TRASH = "trash"  # what is being removed
_FOLDERS = (SNAPSHOTS, MOUNTS, MIRRORS, DOWNLOADS)
_OWN = {
    "cache.db": "the records of steps",
    "files.db": "digests of the files of local contexts",
    "history": "the build history",
    "sizes.db": "what was measured of the disk",
    "snapshots/work": "what running builds write, and killed ones have left",
    TRASH: "what is being removed",
}
_SOURCE = "files.db"


@dataclass(slots=True)
class Step:
    """What the records say of one snapshot."""

    parents: set[str] = field(default_factory=set)
    description: str = ""
    created: float = 0.0
    used: float = 0.0


@dataclass(slots=True)
class Survey:
    """Looks at the build state below `state`, and at the blobs of `images` that no image needs."""

    state: str
    cache: BuildCache
    images: Store
    sizes: Sizes

    async def items(self, claimed: frozenset[str]) -> list[Item]:
        """Everything there is; `claimed` is what running processes use."""
        steps = await self._steps()
        layers = await self.cache.layers()
        spare = await self.images.spare(claimed) if isinstance(self.images, Spares) else ()
        return await in_thread(self._items, steps, layers, spare, claimed)

    async def _steps(self) -> dict[str, Step]:
        steps: dict[str, Step] = {}
        for record in await self.cache.records():
            chain = record.snapshot.chain if record.snapshot else ()
            for below, name in zip(("", *chain), chain, strict=False):
                step = steps.setdefault(name, Step())
                step.used = max(step.used, record.used)
                step.parents |= {below} if below else set()
            if chain:
                top = steps[chain[-1]]
                if not top.created or record.created < top.created:
                    top.created, top.description = record.created, record.description
        return steps

    def _items(
        self,
        steps: Mapping[str, Step],
        layers: Sequence[tuple[str, str, Descriptor]],
        spare: Sequence[Spare],
        claimed: frozenset[str],
    ) -> list[Item]:
        known = _Known(self, steps, layers, {blob.digest: blob for blob in spare}, claimed)
        return [*known.snapshots(), *known.blobs(), *self._sources(claimed), *self._own()]

    # What is not a snapshot

    def _sources(self, claimed: frozenset[str]) -> Iterator[Item]:
        for name in self._listed(MOUNTS):
            yield self._mutable(f"{MOUNTS}/{name}", "exec.cachemount", claimed)
        for name in self._listed(MIRRORS):
            yield self._mutable(f"{MIRRORS}/{name}", "source.git.checkout", claimed)
        for name in self._listed(DOWNLOADS):
            yield self._mutable(f"{DOWNLOADS}/{name}", "regular", claimed)

    def _mutable(self, place: str, kind: Kind, claimed: frozenset[str]) -> Item:
        path = os.path.join(self.state, place)
        lock = f"{path}.lock" if kind == "source.git.checkout" else os.path.join(path, "lock")
        used = _stamp(lock) or _stamp(path)
        size = self.sizes.of(place, used, settled=place not in claimed)
        return Item(
            id=os.path.basename(place),
            kind=kind,
            description=_described(path, kind),
            size=size,
            created=min(used, _first(path, kind) or used) / 1e9,
            used=used / 1e9,
            in_use=place in claimed,
            mutable=True,
            place=place,
        )

    def _own(self) -> Iterator[Item]:
        """The engine's own files, and the directories that hold the rest."""
        found: dict[str, list[str]] = {name: [] for name in _OWN}
        rest: list[str] = []
        for name in [*_names(self.state), f"{SNAPSHOTS}/work"]:
            head = next((own for own in _OWN if name.startswith(own)), "")
            if name not in _FOLDERS:
                (found[head] if head else rest).append(name)
        own = sum(_blocks(os.path.join(self.state, name)) for name in ("", *_FOLDERS))
        for folder in (SNAPSHOTS, MIRRORS):  # boot, ids, locks: plain files
            own += sum(_blocks(os.path.join(self.state, folder, n)) for n in self._files(folder))
        yield self._internal("state", "directories, locks and what runs the steps", rest, own)
        for name, places in found.items():
            if places:
                yield self._internal(name.replace("/", "-"), _OWN[name], places)

    def _internal(self, name: str, description: str, places: Iterable[str], more: int = 0) -> Item:
        places = list(places)
        size = more + sum(self.sizes.of(place, settled=False) for place in places)
        times = [_stamp(os.path.join(self.state, place)) / 1e9 for place in places]
        source = name == _SOURCE
        return Item(
            id=name,
            kind="source.local" if source else "internal",
            description=description,
            size=size,
            created=min(times, default=0.0),
            used=max(times, default=0.0),
            mutable=True,
            permanent=not source,
            place=name if source else "",
        )

    def _listed(self, folder: str) -> list[str]:
        """The directories in a folder."""
        top = os.path.join(self.state, folder)
        return [n for n in _names(top) if os.path.isdir(os.path.join(top, n))]

    def _files(self, folder: str) -> list[str]:
        top = os.path.join(self.state, folder)
        return [n for n in _names(top) if not os.path.isdir(os.path.join(top, n))]


@dataclass(slots=True)
class _Known:
    """Snapshots and blobs, told apart by who owns which."""

    survey: Survey
    steps: Mapping[str, Step]
    layers: Sequence[tuple[str, str, Descriptor]]
    spare: Mapping[Digest, Spare]
    claimed: frozenset[str]
    _shared: list[Item] = field(default_factory=list)

    def snapshots(self) -> list[Item]:
        """Each with the blobs that only it needs; those that have nothing on the disk are left out."""
        here = [n for n in self.survey._listed(SNAPSHOTS) if n != "work"]  # noqa: SLF001 - one thing, in two
        owners: dict[Digest, set[str]] = {}
        in_images: set[str] = set()
        given: dict[str, Digest] = {}
        alive = {*here, *self.steps}
        for snapshot, form, layer in self.layers:
            if snapshot in alive:
                if layer.digest in self.spare:
                    owners.setdefault(layer.digest, set()).add(snapshot)
                else:
                    in_images.add(snapshot)
                if form == GIVEN:
                    given[snapshot] = layer.digest
        blobs: dict[str, list[Digest]] = {}
        for digest, names in owners.items():
            if len(names) == 1:
                blobs.setdefault(min(names), []).append(digest)
        several = {digest: names for digest, names in owners.items() if len(names) > 1}
        self._shared = [self._shared_blob(digest, names) for digest, names in several.items()]
        stands_on: dict[str, tuple[str, ...]] = {}
        for digest, names in several.items():
            for name in names:
                stands_on[name] = (*stands_on.get(name, ()), digest)
        found = []
        for name in dict.fromkeys([*here, *blobs, *stands_on]):
            place = f"{SNAPSHOTS}/{name}" if name in here else ""
            own = tuple(blobs.get(name, ()))
            item = self._snapshot(name, place, own, given.get(name))
            parents = (*item.parents, *stands_on.get(name, ()))
            found.append(replace(item, parents=parents, shared=name in in_images))
        return found

    def blobs(self) -> Iterator[Item]:
        """The spare blobs that no snapshot, or more than one, has for its layer."""
        yield from self._shared
        layers = {layer.digest for name, _, layer in self.layers if name in self._alive()}
        for digest, blob in self.spare.items():
            if digest not in layers:
                yield self._blob(blob, "a blob that no image and no step needs", ())

    def _alive(self) -> set[str]:
        return {*self.steps, *self.survey._listed(SNAPSHOTS)}  # noqa: SLF001

    def _snapshot(
        self, name: str, place: str, blobs: tuple[Digest, ...], given: Digest | None
    ) -> Item:
        step = self.steps.get(name, Step())
        size = self.survey.sizes.of(place) if place else 0
        born = _stamp(os.path.join(self.survey.state, place)) / 1e9 if place else step.used
        kept = f"layer {given}" if given else "a step that no record leads to"
        return Item(
            id=name,
            kind="regular",
            description=step.description or kept,
            size=size + sum(self.spare[digest].size for digest in blobs),
            created=step.created or born,
            used=step.used or step.created or born,
            parents=tuple(sorted(step.parents)),
            in_use=name in self.claimed or not self.claimed.isdisjoint(blobs),
            place=place,
            blobs=blobs,
        )

    def _shared_blob(self, digest: Digest, owners: set[str]) -> Item:
        # It stands on nothing, and all that came as it stand on it.
        return self._blob(self.spare[digest], "a layer of more than one step", tuple(owners))

    def _blob(self, blob: Spare, description: str, owners: tuple[str, ...]) -> Item:
        used = max((self.steps[o].used for o in owners if o in self.steps), default=blob.created)
        return Item(
            id=blob.digest,
            kind="regular",
            description=description,
            size=blob.size,
            created=blob.created,
            used=used,
            in_use=blob.digest in self.claimed,
            blobs=(blob.digest,),
        )


def _described(path: str, kind: Kind) -> str:
    if kind == "exec.cachemount":
        return f"cache mount {_text(os.path.join(path, 'id')) or os.path.basename(path)}"
    if kind == "source.git.checkout":
        return f"git repository {_text(os.path.join(path, 'description'))}".rstrip()
    for name in _names(path):
        inside = os.path.join(path, name)
        if os.path.isdir(inside) and ":" not in name and "-" in name:
            return f"download {' '.join(_names(inside))}"
    return "download"


def _first(path: str, kind: Kind) -> int:
    return _stamp(os.path.join(path, "id" if kind == "exec.cachemount" else "HEAD"))


def _text(path: str) -> str:
    with suppress(OSError), open(path, "rb") as file:
        return file.read(4096).decode(errors="replace").strip()
    return ""


def _names(folder: str) -> list[str]:
    with suppress(OSError):
        return sorted(os.listdir(folder))
    return []


def _stamp(path: str) -> int:
    """When it was changed, in nanoseconds since 1970; 0 if it is not there."""
    with suppress(OSError):
        return os.lstat(path).st_mtime_ns
    return 0


def _blocks(path: str) -> int:
    with suppress(OSError):
        return os.lstat(path).st_blocks * 512
    return 0
