"""Choosing by platform: one image of an index, or an index with fewer images that is still valid."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from argosy.content.graph import manifest
from argosy.content.store import BytesBody, Referrers, Source
from argosy.content.verify import read
from argosy.errors import NoMatchingPlatform
from argosy.model import media
from argosy.model.config import parse_config
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.manifest import Index, Manifest, dump
from argosy.model.platform import Platform, best_match


async def pick(source: Source, desc: Descriptor, platform: Platform) -> Descriptor:
    """The one image below `desc` that a machine of `platform` runs best; NoMatchingPlatform lists them."""
    images = await platforms(source, desc)
    found = best_match(platform, images)
    if found is None and not (len(images) == 1 and not images[0][0].is_known):
        raise _no_match(desc, [platform], [p for p, _ in images])
    return found or images[0][1]


async def platforms(source: Source, desc: Descriptor) -> list[tuple[Platform, Descriptor]]:
    """Every image at or below `desc` with its platform, in the index's order.

    A nested index is walked; attestations are left out. A platform the index does
    not state is read from the image's config; what has none is `unknown/unknown`.
    """
    if not media.is_index(desc.media_type):
        return [(await platform_of(source, desc), desc)]
    found: list[tuple[Platform, Descriptor]] = []
    for entry in (await manifest(source, desc)).children:
        if media.is_index(entry.media_type):
            found += await platforms(source, entry)
        elif media.is_manifest(entry.media_type) and not _is_attestation(entry):
            found.append((entry.platform or await platform_of(source, entry), entry))
    return found


async def platform_of(source: Source, desc: Descriptor) -> Platform:
    """The platform an image's config states; `unknown/unknown` for an artifact."""
    view = await manifest(source, desc)
    unknown = Platform("unknown", "unknown")
    if not isinstance(view, Manifest) or view.config.media_type not in media.CONFIGS:
        return unknown
    found = parse_config(await read(source, view.config)).platform
    return found if found.is_known else unknown


async def narrowed(source: Source, ref: str, wanted: Sequence[Platform]) -> tuple["Narrowed", str]:
    """The source as if what `ref` names had only the wanted platforms; and the ref, for `copy`.

    One platform gives that platform's image; several give the index with fewer
    entries (and the attestations about those that stay), its other fields as they
    were. NoMatchingPlatform lists what is there.
    """
    root = await source.resolve(ref)
    narrow = _Narrowing(source, wanted)
    if len(wanted) == 1:
        return Narrowed(source, ref, await pick(source, root, wanted[0])), ref
    if not media.is_index(root.media_type):
        await narrow.check_image(root)
        return Narrowed(source, ref, root), ref
    images = await platforms(source, root)
    keep = narrow.chosen(root, images)
    new = await narrow.index(root, keep)
    assert new is not None
    return Narrowed(source, ref, new, narrow.made), ref


@dataclass(slots=True)
class Narrowed:
    """A Source in which one ref stands for a selection; made by `narrowed`."""

    source: Source
    ref: str
    root: Descriptor
    made: dict[Digest, bytes] = field(default_factory=dict)

    async def resolve(self, ref: str) -> Descriptor:
        """The selection, for its ref; anything else as in the source."""
        return self.root if ref == self.ref else await self.source.resolve(ref)

    async def exists(self, desc: Descriptor) -> bool:
        """Whether the bytes are here."""
        return desc.digest in self.made or await self.source.exists(desc)

    @asynccontextmanager
    async def open(
        self, desc: Descriptor, *, start: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes, of a rewritten index from memory."""
        if (body := self.made.get(desc.digest)) is not None:
            yield BytesBody(body).at(start)
            return
        async with self.source.open(desc, start=start) as pieces:
            yield pieces

    async def referrers(self, digest: Digest, artifact_type: str = "") -> Sequence[Descriptor]:
        """As the source knows them; nothing refers to an index that was just made."""
        if digest in self.made or not isinstance(self.source, Referrers):
            return ()
        return await self.source.referrers(digest, artifact_type)

    def origin(self, desc: Descriptor) -> Source:
        """Where a descriptor's bytes really are."""
        return self if desc.digest in self.made else self.source


@dataclass(slots=True)
class _Narrowing:
    """Indexes being rewritten, innermost first."""

    source: Source
    wanted: Sequence[Platform]
    made: dict[Digest, bytes] = field(default_factory=dict)

    def chosen(self, root: Descriptor, images: list[tuple[Platform, Descriptor]]) -> set[Digest]:
        """Digests of the images wanted: every strict match of a platform, else its best match."""
        keep: set[Digest] = set()
        for platform in self.wanted:
            strict = {d.digest for have, d in images if platform.matches(have)}
            if not strict and (best := best_match(platform, images)) is not None:
                strict = {best.digest}
            if not strict:
                raise _no_match(root, [platform], [p for p, _ in images])
            keep |= strict
        return keep

    async def check_image(self, root: Descriptor) -> None:
        """NoMatchingPlatform unless the image suits one of the wanted platforms (or has none)."""
        have = await platform_of(self.source, root)
        if have.is_known and not any(best_match(p, [(have, root)]) for p in self.wanted):
            raise _no_match(root, self.wanted, [have])

    async def index(self, desc: Descriptor, keep: set[Digest]) -> Descriptor | None:
        """The index with only what is kept, as it was if that is all; None if nothing is."""
        body = await read(self.source, desc)
        view = await manifest(self.source, desc)
        assert isinstance(view, Index)
        value = json.loads(body)
        entries = []
        for raw, entry in zip(value["manifests"], view.manifests, strict=True):
            if media.is_index(entry.media_type):
                inner = await self.index(entry, keep)
                entries += [_pointing(raw, inner)] if inner is not None else []
            elif entry.digest in keep or _about(entry) in keep:
                entries.append(raw)
        if not entries:
            return None
        if entries == value["manifests"]:
            return desc
        new = dump({**value, "manifests": entries})
        made = Descriptor.of(desc.media_type, new)
        self.made[made.digest] = new
        return replace(desc, digest=made.digest, size=made.size, data=None)


def _pointing(raw: dict[str, Any], desc: Descriptor) -> dict[str, Any]:
    kept = {k: v for k, v in raw.items() if k != "data"} if raw["digest"] != desc.digest else raw
    return {**kept, "digest": str(desc.digest), "size": desc.size}


def _is_attestation(entry: Descriptor) -> bool:
    return media.ATTESTATION_TYPE in entry.annotations


def _about(entry: Descriptor) -> str:
    return entry.annotations.get(media.ATTESTATION_SUBJECT, "")


def _no_match(
    root: Descriptor, wanted: Sequence[Platform], have: Sequence[Platform]
) -> NoMatchingPlatform:
    words = list(dict.fromkeys(str(p) for p in have if p.is_known))
    return NoMatchingPlatform(str(root.digest), wanted=", ".join(map(str, wanted)), available=words)
