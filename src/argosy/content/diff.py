"""What is different between two images, as a value."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from argosy.content.graph import manifest
from argosy.content.mutate import Part
from argosy.content.select import platforms
from argosy.content.store import Source
from argosy.content.verify import read
from argosy.model import media
from argosy.model.config import ImageConfig, parse_config
from argosy.model.descriptor import Descriptor
from argosy.model.manifest import Manifest
from argosy.values import frozen

_FACTS = ("author", "created", "os.version")  # of a config, beside its `config` object


@frozen
class Change:
    """One field: None on a side means that it is not there."""

    field: str
    before: Any
    after: Any

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"field": self.field, "before": self.before, "after": self.after}


@frozen(kw_only=True)
class PlatformDiff:
    """The image of one platform on both sides. Sizes are bytes as transferred."""

    platform: str
    before: Descriptor
    after: Descriptor
    shared: tuple[Descriptor, ...]
    removed: tuple[Descriptor, ...]
    added: tuple[Descriptor, ...]
    size_before: int
    size_after: int
    config: tuple[Change, ...]
    annotations: tuple[Change, ...]

    @property
    def is_same(self) -> bool:
        """Whether it is one image."""
        return self.before == self.after

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "platform": self.platform,
            "same": self.is_same,
            "before": str(self.before.digest),
            "after": str(self.after.digest),
            "sizeBefore": self.size_before,
            "sizeAfter": self.size_after,
            "layers": {
                "shared": [layer.to_json() for layer in self.shared],
                "removed": [layer.to_json() for layer in self.removed],
                "added": [layer.to_json() for layer in self.added],
            },
            "config": [change.to_json() for change in self.config],
            "annotations": [change.to_json() for change in self.annotations],
        }


@frozen(kw_only=True)
class ImageDiff:
    """The difference of two images or indexes."""

    before: Descriptor
    after: Descriptor
    removed: tuple[str, ...]  # platforms
    added: tuple[str, ...]
    both: tuple[PlatformDiff, ...]
    annotations: tuple[Change, ...] = field(default=())

    @property
    def is_same(self) -> bool:
        """Whether both are the same bytes."""
        return self.before == self.after

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "same": self.is_same,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "platforms": {"removed": list(self.removed), "added": list(self.added)},
            "images": [image.to_json() for image in self.both],
            "annotations": [change.to_json() for change in self.annotations],
        }


async def diff(before: Part, after: Part) -> ImageDiff:
    """Compare two images platform by platform. Two single images are compared whatever they are for."""
    old, new = await _by_platform(*before), await _by_platform(*after)
    if len(old) == len(new) == 1 and not old.keys() & new.keys():
        name = f"{next(iter(old))} → {next(iter(new))}"
        old, new = {name: next(iter(old.values()))}, {name: next(iter(new.values()))}
    both = [
        await _compare(name, (before[0], old[name]), (after[0], new[name]))
        for name in old
        if name in new
    ]
    return ImageDiff(
        before=before[1],
        after=after[1],
        removed=tuple(name for name in old if name not in new),
        added=tuple(name for name in new if name not in old),
        both=tuple(both),
        annotations=tuple(_changes(await _index_notes(*before), await _index_notes(*after))),
    )


async def _by_platform(source: Source, desc: Descriptor) -> dict[str, Descriptor]:
    return {str(platform): image for platform, image in await platforms(source, desc)}


async def _index_notes(source: Source, desc: Descriptor) -> Mapping[str, str]:
    if not media.is_index(desc.media_type):
        return {}  # an image's own are compared with the image
    return (await manifest(source, desc)).annotations


async def _compare(name: str, before: Part, after: Part) -> PlatformDiff:
    old, old_config = await _image(*before)
    new, new_config = await _image(*after)
    had = {layer.digest for layer in old.layers}
    has = {layer.digest for layer in new.layers}
    return PlatformDiff(
        platform=name,
        before=before[1],
        after=after[1],
        shared=tuple(layer for layer in new.layers if layer.digest in had),
        removed=tuple(layer for layer in old.layers if layer.digest not in has),
        added=tuple(layer for layer in new.layers if layer.digest not in had),
        size_before=_size(old),
        size_after=_size(new),
        config=tuple(_changes(_facts(old_config), _facts(new_config))),
        annotations=tuple(_changes(old.annotations, new.annotations)),
    )


async def _image(source: Source, desc: Descriptor) -> tuple[Manifest, ImageConfig | None]:
    view = await manifest(source, desc)
    assert isinstance(view, Manifest)
    if view.config.media_type not in media.CONFIGS:
        return view, None
    return view, parse_config(await read(source, view.config))


def _size(view: Manifest) -> int:
    return sum(desc.size for desc in view.children)


def _facts(config: ImageConfig | None) -> dict[str, Any]:
    """The config as flat fields: `Env.PATH`, `Labels.x`, `Cmd`, …"""
    if config is None:
        return {}
    found = {name: config.raw[name] for name in _FACTS if config.raw.get(name)}
    found["platform"] = str(config.platform)
    for name, value in config.run.items():
        if name == "Env" and isinstance(value, list):
            found |= {f"Env.{k}": v for k, _, v in (str(item).partition("=") for item in value)}
        elif isinstance(value, dict):
            found |= {f"{name}.{key}": item for key, item in value.items()}
        elif value not in (None, "", [], False):
            found[name] = value
    return found


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Sequence[Change]:
    return [
        Change(name, before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
