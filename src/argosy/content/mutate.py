"""New indexes out of what is there: merge, append, annotate (what `index create` does)."""

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, Self

from argosy.content.graph import manifest
from argosy.content.select import platform_of
from argosy.content.store import BytesBody, Referrers, Source
from argosy.content.verify import read
from argosy.errors import NotFound, UsageError
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.manifest import dump, parse_manifest
from argosy.model.platform import Platform
from argosy.values import frozen

Part = tuple[Source, Descriptor]  # an image or an index, and where it is

_ANNOTATION = re.compile(
    r"(?:(?P<level>[a-z-]+)(?:\[(?P<platform>[^]]+)])?:)?(?P<key>[^=]+)=(?P<value>.*)", re.DOTALL
)
_LEVELS = ("index", "manifest-descriptor")


@frozen
class Annotation:
    """A note for the index itself or for the descriptors in it (of one platform, or of all)."""

    key: str
    value: str
    level: Literal["index", "manifest-descriptor"] = "index"
    platform: Platform | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `[index:]KEY=VALUE` or `manifest-descriptor[PLATFORM]:KEY=VALUE`, as buildx does."""
        found = _ANNOTATION.fullmatch(text)
        level = (found["level"] or "index") if found else ""
        if found is None or level not in _LEVELS:
            raise UsageError(
                f"{text!r} is not an annotation for an index",
                why=f"{level!r} is not one of {', '.join(_LEVELS)}" if found else "it has no '='",
                remedy="write index:KEY=VALUE or manifest-descriptor[linux/arm64]:KEY=VALUE",
            )
        platform = Platform.parse(found["platform"]) if found["platform"] else None
        if level == "index":
            return cls(found["key"], found["value"], "index", platform)
        return cls(found["key"], found["value"], "manifest-descriptor", platform)


async def combine(
    parts: Sequence[Part], *, annotations: Sequence[Annotation] = (), prefer_index: bool = True
) -> "Combined":
    """An index of all images of the parts, as a Source to copy from; of one platform the last stays.

    Images stay where their platform first came; entries are kept as they are. One
    index without new annotations is kept byte for byte, and with `prefer_index`
    False one image is too. To append to what is there, give that as the first part.
    """
    if not parts:
        raise UsageError("an index needs at least one source", remedy="name an image")
    if len(parts) == 1 and not annotations:
        source, desc = parts[0]
        if media.is_index(desc.media_type) or not prefer_index:
            return Combined(desc, await read(source, desc), {desc.digest: source}, (source,))
    homes: dict[Digest, Source] = {}
    entries: list[dict[str, Any]] = []
    kept: dict[str, Any] = {}
    for source, desc in parts:
        found, fields = await _entries(source, desc)
        kept |= {k: v for k, v in fields.items() if k not in kept}
        homes |= {Digest.parse(entry["digest"]): source for entry in found}
        entries = _merged(entries, found)
    frame = _frame(entries, kept.pop("mediaType", ""))
    body = dump(_annotated({**frame, **kept, "manifests": entries}, annotations))
    media_type = json.loads(body)["mediaType"]
    sources = tuple({id(source): source for source, _ in parts}.values())
    return Combined(Descriptor.of(media_type, body), body, homes, sources)


class Combined:
    """A Source that has one new index and, behind it, everything its parts have."""

    def __init__(
        self,
        root: Descriptor,
        body: bytes,
        homes: Mapping[Digest, Source],
        sources: Sequence[Source],
    ) -> None:
        self.root = root
        self.body = body
        self._homes = dict(homes)
        self._sources = sources

    async def resolve(self, ref: str) -> Descriptor:
        """The index: for an empty ref or its digest."""
        if ref in ("", self.root.digest):
            return self.root
        raise NotFound(f"{ref!r} is not the index that was made", remedy="use an empty ref")

    async def exists(self, desc: Descriptor) -> bool:
        """Whether one of the parts has the bytes."""
        return desc.digest == self.root.digest or await self.origin(desc).exists(desc)

    @asynccontextmanager
    async def open(
        self, desc: Descriptor, *, start: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes, from the part that listed them."""
        home = self.origin(desc)
        if desc.digest == self.root.digest:
            yield BytesBody(self.body).at(start)
        elif media.is_manifest(desc.media_type):
            body = await read(home, desc)
            below = parse_manifest(body, desc.media_type).children
            self._homes |= {child.digest: home for child in below}
            yield BytesBody(body).at(start)
        else:
            async with home.open(desc, start=start) as pieces:
                yield pieces

    async def referrers(self, digest: Digest, artifact_type: str = "") -> Sequence[Descriptor]:
        """As the parts know them, each once."""
        found: dict[Digest, Descriptor] = {}
        for source in self._sources:
            if isinstance(source, Referrers):
                about = await source.referrers(digest, artifact_type)
                self._homes |= {d.digest: source for d in about if d.digest not in self._homes}
                found |= {d.digest: d for d in about}
        return list(found.values())

    def origin(self, desc: Descriptor) -> Source:
        """Where a descriptor's bytes really are."""
        return self._homes.get(desc.digest, self._sources[0])


async def _entries(source: Source, desc: Descriptor) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The raw entries a part adds, and the fields of its index that are taken over."""
    if media.is_index(desc.media_type):
        value = json.loads(await read(source, desc))
        await manifest(source, desc)  # it is sound
        fields = {k: value[k] for k in ("annotations", "artifactType", "subject") if k in value}
        return list(value["manifests"]), {"mediaType": desc.media_type, **fields}
    platform = desc.platform or await platform_of(source, desc)
    entry = Descriptor(
        media_type=desc.media_type,
        digest=desc.digest,
        size=desc.size,
        platform=platform if platform.is_known else None,
        artifact_type=desc.artifact_type,
    )
    return [entry.to_json()], {}


def _merged(have: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    merged = list(have)
    for entry in new:
        place = next((i for i, old in enumerate(merged) if _replaces(entry, old)), None)
        if place is None:
            merged.append(entry)
        else:
            gone = merged[place]["digest"]
            merged[place] = entry
            if gone != entry["digest"]:  # what was said of the old image is not true of the new
                merged = [e for e in merged if _about(e) != gone]
    return merged


def _replaces(entry: dict[str, Any], old: dict[str, Any]) -> bool:
    if entry["digest"] == old["digest"]:
        return True
    if not entry.get("platform") or not old.get("platform") or _about(entry) or _about(old):
        return False
    new, had = Platform.from_json(entry["platform"]), Platform.from_json(old["platform"])
    return new.is_known and new == had


def _about(entry: Mapping[str, Any]) -> str:
    return str((entry.get("annotations") or {}).get(media.ATTESTATION_SUBJECT, ""))


def _frame(entries: Sequence[Mapping[str, Any]], kind: str) -> dict[str, Any]:
    # A Docker list can only have Docker's manifests, an OCI index both.
    docker = all(e.get("mediaType") == media.DOCKER_MANIFEST for e in entries)
    docker = docker and bool(entries) and kind != media.OCI_INDEX
    return {"schemaVersion": 2, "mediaType": media.DOCKER_LIST if docker else media.OCI_INDEX}


def _annotated(value: dict[str, Any], annotations: Sequence[Annotation]) -> dict[str, Any]:
    for note in annotations:
        targets = [value] if note.level == "index" else _of_platform(value, note.platform)
        for target in targets:
            target["annotations"] = {**target.get("annotations", {}), note.key: note.value}
    if "annotations" in value and value["mediaType"] == media.DOCKER_LIST:
        value["mediaType"] = media.OCI_INDEX  # Docker's lists know no annotations
    return value


def _of_platform(value: dict[str, Any], platform: Platform | None) -> list[dict[str, Any]]:
    value["manifests"] = [dict(entry) for entry in value["manifests"]]
    found = [
        entry
        for entry in value["manifests"]
        if not _about(entry)
        and (
            platform is None
            or (entry.get("platform") and platform.matches(Platform.from_json(entry["platform"])))
        )
    ]
    if not found:
        raise UsageError(
            f"no image for {platform} to annotate", remedy="name a platform the index has"
        )
    return found
