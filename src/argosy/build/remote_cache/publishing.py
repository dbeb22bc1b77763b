"""Putting caches under a tag beside those that other builders put there.

The tag is moved only if it still stands for what was read (`Swaps`). A store that
cannot promise that is looked at again after a while: who was overtaken goes again.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import field, replace

from argosy.build.remote_cache.format import Bounds, merged, says_more
from argosy.build.remote_cache.shelf import SCOPE, Part, Shelf, Writing, read_shelf
from argosy.concurrency import between
from argosy.content.copy import copy
from argosy.content.graph import manifest
from argosy.content.store import Deletes, Pins, ResolvesHere, Source, Store, Swapped, Swaps
from argosy.errors import (
    ArgosyError,
    BuildError,
    ContentError,
    CopyError,
    NotFound,
    RegistryError,
)
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.manifest import Manifest
from argosy.observe import Event, Report, silent
from argosy.values import frozen

_ATTEMPTS = 12
_PAUSE = 0.3  # seconds at most before the second attempt; grows
_FRESH = 3600  # seconds for which an export that says nothing new is not repeated


@frozen(kw_only=True)
class Place:
    """A tag in a store that caches are put under."""

    store: Store
    tag: str
    name: str  # for people
    oci: bool = True
    settle: float = 1.0  # seconds after which a store that promises nothing is looked at again
    bounds: Bounds = field(default_factory=Bounds)


async def publish(
    parts: Mapping[str, Part], source: Source, place: Place, report: Report = silent
) -> Descriptor:
    """Put the caches of some platforms there; what the tag stands for now. CopyError, BuildError.

    `source` has the blobs that `place` lacks. Other platforms' caches stay, and so do
    younger records of these.
    """
    publishing = _Publishing(parts, source, place, report)
    for attempt in range(_ATTEMPTS):
        if attempt:
            await asyncio.sleep(between(0.2, 1) * _PAUSE * attempt)
        if (done := await publishing.attempt()) is not None:
            return done
    raise BuildError(
        f"{place.name} could not be written",
        why=f"{_ATTEMPTS} times somebody else wrote it at the same moment",
        remedy="build again, or give each builder a cache of its own",
    )


@frozen
class _Publishing:
    parts: Mapping[str, Part]
    source: Source
    place: Place
    report: Report

    async def attempt(self) -> Descriptor | None:
        """Merge, copy, and move the tag; None if somebody was faster."""
        began = time.monotonic()
        standing = await self._standing()
        shelf = await self._shelf(standing)
        if standing is not None and self._is_known(shelf):
            return standing
        index = await self._delivered(shelf)
        match await self._swap(index, standing):
            case "done":
                return index
            case "changed":
                return await self._overtaken(index)
            case "unsure":
                return await self._settled(index, time.monotonic() - began)

    async def _delivered(self, shelf: Shelf) -> Descriptor:
        """As `_copied`; earlier records that name blobs which a registry has collected are given up."""
        for rest in (replace(shelf, parts={}), Shelf()):
            try:
                return await self._copied(shelf)
            except CopyError as e:
                if shelf == rest or (e.side != "source" and not isinstance(e.cause, RegistryError)):
                    raise
                self._warn("earlier records are dropped", e)
                shelf = rest
        return await self._copied(shelf)

    async def _overtaken(self, index: Descriptor) -> Descriptor | None:
        standing = await self._standing()
        if standing is not None and standing.digest == index.digest:
            return index  # it was our own move, whose answer got lost
        store = self.place.store
        if isinstance(store, Pins) and isinstance(store, Deletes):
            await store.delete(index.digest)  # listed by the copy; the next attempt has another
        return None

    async def _settled(self, index: Descriptor, took: float) -> Descriptor | None:
        """The index, if nobody who had not seen it moved the tag after us."""
        await asyncio.sleep(self.place.settle + 4 * min(took, 2 * self.place.settle))
        standing = await self._standing()
        if standing is None or standing.digest == index.digest:
            return index
        shelf = await self._shelf(standing)
        return standing if self._is_known(shelf) else None

    async def _standing(self) -> Descriptor | None:
        store, tag = self.place.store, self.place.tag
        try:
            if isinstance(store, ResolvesHere):
                return await store.resolve_here(tag)
            return await store.resolve(tag)
        except NotFound:
            return None

    async def _shelf(self, standing: Descriptor | None) -> Shelf:
        if standing is None:
            return Shelf()
        await self._refuse_image(standing)
        try:
            shelf = await read_shelf(self.place.store, standing, frozenset(self.parts))
        except (ContentError, NotFound) as e:
            self._warn("what is there cannot be read and is replaced", e)
            return Shelf()
        for damage in shelf.damage:
            self._warn("some of its records cannot be read and are replaced", damage)
        entries = {s: d for s, d in shelf.entries.items() if d.annotations.get(SCOPE) == s}
        return replace(shelf, entries=entries)

    async def _refuse_image(self, standing: Descriptor) -> None:
        """BuildError if the tag is an image: writing a cache there would take it from its users."""
        try:
            view = await manifest(self.place.store, standing)
        except (ContentError, NotFound):
            return
        if isinstance(view, Manifest):
            is_image = view.config.media_type in media.CONFIGS
        else:
            is_image = any(
                d.platform is not None and SCOPE not in d.annotations for d in view.manifests
            )
        if is_image:
            raise BuildError(
                f"{self.place.name} is not written",
                why="an image stands under that name",
                remedy="name the cache otherwise, for example with the tag :buildcache;"
                " type=inline keeps records inside the image",
            )

    def _is_known(self, shelf: Shelf) -> bool:
        """Whether everything is there already, and was exported not long ago."""
        for scope, part in self.parts.items():
            old = shelf.parts.get(scope)
            if old is None or says_more(part.config, old.config):
                return False
            newest = max((r.used for r in old.config.records), default=0)
            if max((r.used for r in part.config.records), default=0) - newest > _FRESH:
                return False
        return True

    async def _copied(self, shelf: Shelf) -> Descriptor:
        """Everything but the tag, at the destination."""
        writing = Writing(oci=self.place.oci)
        entries = dict(shelf.entries)
        for scope, part in self.parts.items():
            entries[scope] = await writing.part(scope, self._merged(part, shelf.parts.get(scope)))
        index = await writing.index(entries)
        held = _Held(writing.staged, self.source)
        return await copy(held, index.digest, self.place.store, "", report=self.report)

    def _merged(self, part: Part, old: Part | None) -> Part:
        if old is None:
            return part
        config = merged(part.config, old.config, self.place.bounds)
        return Part(config=config, blobs={**old.blobs, **part.blobs})

    async def _swap(self, index: Descriptor, standing: Descriptor | None) -> Swapped:
        store, tag = self.place.store, self.place.tag
        if isinstance(store, Swaps):
            return await store.swap(index, tag, standing.digest if standing else None)
        await store.tag(index, tag)
        return "unsure"

    def _warn(self, what: str, e: ArgosyError) -> None:
        text = f"{self.place.name}: {what} ({e.summary}{': ' + e.why if e.why else ''})"
        self.report(Event("warning", self.place.name, self.place.name, text=text))


@frozen
class _Held:
    """Manifests in memory, blobs from where they are."""

    staged: Source
    blobs: Source

    async def resolve(self, ref: str) -> Descriptor:
        return await self.staged.resolve(ref)

    async def exists(self, desc: Descriptor) -> bool:
        return await self.staged.exists(desc) or await self.blobs.exists(desc)

    @asynccontextmanager
    async def open(
        self, desc: Descriptor, *, start: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        source = self.staged if await self.staged.exists(desc) else self.blobs
        async with source.open(desc, start=start) as body:
            yield body

    def origin(self, desc: Descriptor) -> Source:
        del desc
        return self.blobs
