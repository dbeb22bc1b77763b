"""The index.json of an OCI layout as a value: which names it has for which manifests.

Source: OCI image-spec, image-layout.md. Names are in the annotation
`org.opencontainers.image.ref.name`; `io.containerd.image.name`, the full name
that docker save and containerd write, is understood as well and goes before it.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

from argosy.content.memory import as_referrer
from argosy.errors import InvalidDigest, InvalidReference, ManifestInvalid, NotFound
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest, is_digest
from argosy.model.manifest import MAX_MANIFEST, Index, dump, parse_manifest
from argosy.model.reference import Reference
from argosy.values import frozen

LARGEST_MANIFEST = 4 * MAX_MANIFEST  # bytes; a larger blob is not looked at as a manifest

_Entry = dict[str, Any]


class LayoutIndex:
    """A view of index.json. Changes give a new value; what is not understood is kept."""

    def __init__(self, value: dict[str, Any], where: str = "the layout") -> None:
        self._value = value
        self._where = where
        self._entries: list[_Entry] = value["manifests"]
        self._by_name = {**_short_names(self._entries), **_names(self._entries)}
        self._by_digest: dict[str, _Entry] = {}
        for entry in self._entries:
            self._by_digest.setdefault(str(entry.get("digest")), entry)

    @classmethod
    def parse(cls, body: bytes, where: str) -> Self:
        """View index.json; ManifestInvalid names the place and the reason."""
        try:
            value = json.loads(body)
            entries = value.get("manifests") or []
            sound = isinstance(entries, list) and all(isinstance(e, dict) for e in entries)
        except (ValueError, AttributeError, RecursionError) as e:
            raise ManifestInvalid(f"index.json of {where} cannot be read", why=str(e)) from e
        if not sound:
            raise ManifestInvalid(
                f"index.json of {where} cannot be read", why="manifests must be a list of objects"
            )
        return cls({**value, "manifests": entries}, where)

    @classmethod
    def empty(cls, where: str) -> Self:
        """An index with nothing in it."""
        return cls({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": []}, where)

    def find(self, ref: str) -> Descriptor | None:
        """What a name or digest stands for; an empty ref is the only image, NotFound if there are more."""
        if not ref:
            return self._only()
        if is_digest(ref):
            entry = self._by_digest.get(ref)
        else:
            entry = self._by_name.get(ref) or self._by_name.get(_full_name(ref))
        return _descriptor(entry) if entry is not None else None

    def _only(self) -> Descriptor:
        # Referrers and other nameless manifests are only looked at when nothing has a name.
        named = {e.get("digest"): e for e in self._by_name.values()}
        images = list((named or self._by_digest).values())
        if len(images) == 1:
            return _descriptor(images[0])
        if not images:
            raise NotFound(f"{self._where} has no image")
        raise NotFound(
            f"{self._where} has {len(images)} images: say which one",
            why="it has: " + ", ".join(self.names()[:10]) if named else "none of them has a name",
            remedy="add :REF or @DIGEST to the location",
            evidence={"names": self.names()},
        )

    def names(self) -> list[str]:
        """Every name, in lexical order; a full name instead of its short form."""
        found = {_name(e) for e in self._entries}
        return sorted(found - {""})

    def listed(self) -> list[Descriptor]:
        """Every manifest listed, named or not, each once."""
        return [_descriptor(entry) for entry in self._by_digest.values()]

    def names_of(self, digest: Digest) -> list[str]:
        """The names a manifest has, in order."""
        found = {_name(e) for e in self._entries if e.get("digest") == digest}
        return sorted(found - {""})

    def named(self, desc: Descriptor, name: str) -> "LayoutIndex":
        """The index with `name` pointing at `desc`; its nameless entry, if any, becomes this one."""
        entry = _entry(desc)
        entry["annotations"] = {**entry.get("annotations", {}), media.REF_NAME: name}
        if self._by_name.get(name) == entry:
            return self
        rest = [
            e
            for e in self._entries
            if _name(e) != name and (e.get("digest") != desc.digest or _name(e))
        ]
        return self._with([*rest, entry])

    def pinned(self, desc: Descriptor) -> "LayoutIndex":
        """The index with `desc` listed, without a name if it has none yet."""
        if desc.digest in self._by_digest:
            return self
        return self._with([*self._entries, _entry(desc)])

    def without(self, ref: str) -> "LayoutIndex":
        """The index without a name, or without every entry of a digest; itself if there is none."""
        if is_digest(ref):
            rest = [e for e in self._entries if e.get("digest") != ref]
        else:
            rest = [e for e in self._entries if _name(e) not in (ref, _full_name(ref))]
        return self if len(rest) == len(self._entries) else self._with(rest)

    def ordered(self) -> "LayoutIndex":
        """The same entries in an order that does not depend on when they came: named first, by name."""
        return self._with(sorted(self._entries, key=_order))

    def with_full_names(self) -> "LayoutIndex":
        """The index as `docker load` reads it: full names, with the tag as the short one."""
        return self._with([_with_full_name(e) if _name(e) else e for e in self._entries])

    def _with(self, entries: Sequence[_Entry]) -> "LayoutIndex":
        return LayoutIndex({**self._value, "manifests": list(entries)}, self._where)

    def dump(self) -> bytes:
        """The bytes of index.json."""
        return dump(self._value)


def _annotation(entry: _Entry, key: str) -> str:
    found = (entry.get("annotations") or {}).get(key)
    return found if isinstance(found, str) else ""


def _name(entry: _Entry) -> str:
    return _annotation(entry, media.IMAGE_NAME) or _annotation(entry, media.REF_NAME)


def _names(entries: Sequence[_Entry]) -> dict[str, _Entry]:
    return {name: entry for entry in entries if (name := _name(entry))}


def _short_names(entries: Sequence[_Entry]) -> dict[str, _Entry]:
    # docker save gives every image its tag as ref.name: often "latest" for each. Only a
    # short name that means one image is a name.
    found: dict[str, dict[str, _Entry]] = {}
    for entry in entries:
        if short := _annotation(entry, media.REF_NAME):
            found.setdefault(short, {})[str(entry.get("digest"))] = entry
    return {short: next(iter(e.values())) for short, e in found.items() if len(e) == 1}


def _order(entry: _Entry) -> tuple[bool, str, str]:
    return (not _name(entry), _name(entry), str(entry.get("digest")))


def _full_name(ref: str) -> str:
    try:
        reference = Reference.parse(ref)
    except InvalidReference:
        return ref
    return f"{reference.locator}:{reference.tag or 'latest'}"


def _with_full_name(entry: _Entry) -> _Entry:
    full = _full_name(_name(entry))
    named = {media.IMAGE_NAME: full, media.REF_NAME: full.rpartition(":")[2]}
    return {**entry, "annotations": {**entry["annotations"], **named}}


def _descriptor(entry: _Entry) -> Descriptor:
    own = {
        k: v
        for k, v in (entry.get("annotations") or {}).items()
        if k not in (media.REF_NAME, media.IMAGE_NAME)
    }
    return Descriptor.from_json({**entry, "annotations": own})


def _entry(desc: Descriptor) -> _Entry:
    value = desc.to_json()
    value.pop("data", None)
    return value


@frozen
class ManifestView:
    """What a layout needs to know of a manifest to answer for referrers."""

    subject: Digest | None
    shown: Descriptor
    below: tuple[Descriptor, ...]


def view_manifest(desc: Descriptor, body: bytes) -> ManifestView | None:
    """The view of a manifest's bytes; None if they are no manifest."""
    try:
        view = parse_manifest(body, desc.media_type)
    except (ManifestInvalid, InvalidDigest):
        return None
    shown = as_referrer(desc, view.kind, dict(view.annotations))
    below = view.manifests if isinstance(view, Index) else ()
    return ManifestView(view.subject.digest if view.subject else None, shown, below)


def describe(digest: Digest, body: bytes) -> Descriptor | None:
    """The descriptor of a manifest of which only digest and bytes are known; None if it is none."""
    try:
        view = parse_manifest(body)
    except (ManifestInvalid, InvalidDigest):
        return None  # it is a blob, but no manifest
    return Descriptor(media_type=view.media_type, digest=digest, size=len(body))


def find_referrers(
    listed: Iterable[Descriptor],
    digest: Digest,
    artifact_type: str,
    look: Callable[[Descriptor], ManifestView | None],
) -> list[Descriptor]:
    """The manifests listed, or below a listed index, whose subject is `digest`; by digest."""
    found: dict[Digest, Descriptor] = {}
    seen: set[Digest] = set()
    pending = list(listed)
    while pending:
        desc = pending.pop()
        if desc.digest in seen or (view := look(desc)) is None:
            continue
        seen.add(desc.digest)
        pending += view.below
        if view.subject == digest and artifact_type in ("", view.shown.artifact_type):
            found[desc.digest] = view.shown
    return [found[key] for key in sorted(found)]
