"""Base images: what a reference in FROM stands for, for one platform.

As docker: an image of this machine is taken as it is, unless `--pull`; else the
registry is asked. Either way the answer is looked up once per build.
"""

import asyncio
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from argosy.build.cache import BuildCache
from argosy.build.dockerfile.plan import BaseImage
from argosy.build.sources.later import Later
from argosy.concurrency import gather, in_thread
from argosy.content.graph import manifest
from argosy.content.store import Source, Store
from argosy.content.verify import read
from argosy.errors import ArgosyError, BuildError, ManifestInvalid, NoMatchingPlatform, NotFound
from argosy.model import media
from argosy.model.config import ImageConfig, parse_config
from argosy.model.descriptor import Descriptor
from argosy.model.manifest import Index, Manifest
from argosy.model.platform import Platform, best_match
from argosy.model.reference import Reference
from argosy.values import frozen

LAYOUT = "oci-layout://"


@frozen(kw_only=True)
class Base:
    """One platform's image: its manifest, layers and config, and where its blobs are."""

    reference: Reference
    manifest: Descriptor
    layers: tuple[Descriptor, ...]
    config: ImageConfig
    config_blob: Descriptor  # with its bytes
    source: Source


@dataclass(slots=True)
class BaseImages:
    """Resolves base images; each (reference, platform) once."""

    images: Store
    repository: Callable[[Reference], Store]
    cache: BuildCache
    pull: bool = False
    layout: Callable[[str], Source] | None = None
    _found: dict[BaseImage, Base] = field(default_factory=dict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def resolve_all(self, wanted: set[BaseImage]) -> dict[BaseImage, Base]:
        """All of them, at the same time."""
        new = [w for w in wanted if w not in self._found]
        found = await gather(self._resolved(w) for w in new)
        self._found.update(zip(new, found, strict=True))
        return {w: self._found[w] for w in wanted}

    async def _resolved(self, wanted: BaseImage) -> Base:
        try:
            return await self._resolve(wanted)
        except ArgosyError as e:
            e.evidence.setdefault("image", wanted.ref)  # for whoever can say where it is asked for
            raise

    async def _resolve(self, wanted: BaseImage) -> Base:
        if wanted.ref.startswith(LAYOUT):
            return await self._of_layout(wanted)
        reference = Reference.parse(wanted.ref)
        if not reference.tag and reference.digest is None:
            reference = reference.with_tag("latest")
        if not self.pull or reference.digest is not None:
            local = await self._local(reference, wanted.platform)
            if local is not None:
                return await _base(reference, local, self.images, wanted.platform)
            if (known := await self._pinned(reference, wanted.platform)) is not None:
                return known
        source = self.repository(reference)
        try:
            found = await _picked(source, await source.resolve(reference.name), wanted.platform)
        except ArgosyError as e:
            await self._check_local(reference, wanted.platform, e)
            raise
        body = await read(source, found)
        base = await _base(reference, replace(found, data=body), source, wanted.platform)
        await self.cache.keep_pin(str(reference), str(wanted.platform), replace(found, data=body))
        await self.cache.keep_pin(found.digest, "config", base.config_blob)
        return base

    async def _of_layout(self, wanted: BaseImage) -> Base:
        """An image of an OCI layout directory: oci-layout://DIR[:TAG][@DIGEST], as in --build-context."""
        path, name = layout_words(wanted.ref)
        if self.layout is None:
            raise BuildError(f"this build has no way to {wanted.ref}")
        if not await in_thread(os.path.isfile, os.path.join(path, "oci-layout")):
            raise NotFound(
                f"{path} is not an OCI layout",
                why="there is no file oci-layout in it",
                remedy="name the directory that --output type=oci,tar=false wrote",
            )
        source = self.layout(path)
        found = await _picked(source, await source.resolve(name), wanted.platform)
        shown = re.sub(r"[^a-z0-9]+", "-", os.path.basename(path).lower()).strip("-") or "image"
        return await _base(
            Reference.parse(f"oci-layout.local/{shown}"), found, source, wanted.platform
        )

    async def _local(self, reference: Reference, platform: Platform) -> Descriptor | None:
        for name in (str(reference), reference.digest or ""):
            try:
                if name:
                    return await _picked(self.images, await self.images.resolve(name), platform)
            except NotFound:  # also: there, but not for this platform
                continue
        return None

    async def _check_local(self, reference: Reference, platform: Platform, e: ArgosyError) -> None:
        """Raise what is wrong with the image of this machine, if there is one by that name.

        It was passed over because it lacks the platform: that says more than `e`, why the
        registry has none either.
        """
        try:
            await _picked(self.images, await self.images.resolve(str(reference)), platform)
        except NoMatchingPlatform as lacking:
            raise NoMatchingPlatform(
                f"the image {reference} of this machine",
                wanted=str(platform),
                available=lacking.available,
            ) from e
        except NotFound:
            return

    async def _pinned(self, reference: Reference, platform: Platform) -> Base | None:
        """What was found at the registry by an earlier build; its blobs may still be only there."""
        desc = await self.cache.pin(str(reference), str(platform))
        config = desc and await self.cache.pin(desc.digest, "config")
        if not desc or desc.data is None or not config or config.data is None:
            return None
        source = Later(self.repository, reference)
        return await _base(reference, desc, source, platform, config)


def layout_words(ref: str) -> tuple[str, str]:
    """The directory, and the name to resolve in it: digest, else tag, else the only image."""
    rest, _, digest = ref.removeprefix(LAYOUT).partition("@")
    head, slash, last = rest.rpartition("/")
    last, _, tag = last.partition(":")
    return os.path.abspath(head + slash + last), digest or tag


async def _picked(source: Source, root: Descriptor, platform: Platform) -> Descriptor:
    """The manifest for a platform below `root`; NoMatchingPlatform if there is none."""
    for _ in range(4):  # indexes may nest, but not for ever
        view = await manifest(source, root) if media.is_index(root.media_type) else None
        if not isinstance(view, Index):
            return root
        have = [(d.platform, d) for d in view.manifests if d.platform and d.platform.is_known]
        found = best_match(platform, have)
        if found is None:
            raise NoMatchingPlatform(
                str(root), wanted=str(platform), available=[str(p) for p, _ in have]
            )
        root = found
    raise ManifestInvalid(f"{root}: indexes nest too deep")


async def _base(
    reference: Reference,
    desc: Descriptor,
    source: Source,
    platform: Platform,
    config_blob: Descriptor | None = None,
) -> Base:
    view = await manifest(source, desc)
    if not isinstance(view, Manifest) or view.config.media_type not in media.CONFIGS:
        raise ManifestInvalid(
            f"{reference} is not a container image",
            why=f"it is {view.kind or view.media_type}",
            remedy="FROM needs an image; check the reference",
        )
    body = await read(source, config_blob or view.config)
    config = parse_config(body)
    if len(config.diff_ids) != len(view.layers):
        raise ManifestInvalid(
            f"{reference} is damaged",
            why=f"{len(view.layers)} layers, but {len(config.diff_ids)} diffIDs",
        )
    if config.platform.is_known and best_match(platform, [(config.platform, True)]) is None:
        raise NoMatchingPlatform(
            str(reference), wanted=str(platform), available=[str(config.platform)]
        )
    return Base(
        reference=reference,
        manifest=replace(desc, data=None),
        layers=view.layers,
        config=config,
        config_blob=replace(view.config, data=body),
        source=source,
    )
