"""`--verify-reproducible`: the same thing built twice, and every difference told to the file.

Each build has a home of its own, so that neither knows a step, a snapshot or a time of
birth of the other, and the second begins in another second: tar headers have no finer
time. What differs is told from the outside in: index, manifest, config, layer, file.
"""

import asyncio
import hashlib
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from argosy.build.files.removal import remove_tree
from argosy.build.layers.compression import decompressed
from argosy.build.layers.header import Entry
from argosy.build.layers.reader import TarReader
from argosy.build.options import BuildOptions, BuildResult, Ends, Engine
from argosy.build.pipeline import build
from argosy.concurrency import in_thread
from argosy.content.store import Body, Source, Store
from argosy.content.verify import read, verified
from argosy.errors import UsageError
from argosy.model.descriptor import Descriptor
from argosy.observe import Report, silent
from argosy.settings import Settings
from argosy.values import frozen

_LISTED = 200  # differences; a build that is wrong everywhere need not fill a disk with them
_PIECE = 1 << 20
_FACTS = ("kind", "mode", "uid", "gid", "size", "mtime_ns", "target", "major", "minor", "xattrs")


@frozen(kw_only=True)
class Difference:
    """One thing that came out in two ways. `step` made the layer; `path` is a file in it."""

    platform: str
    where: str  # `config`, `manifest`, `layer 3`
    what: str  # a field; `content`, `mode`, `mtime`, `xattrs`, `order`, `only in the first`
    first: str
    second: str
    step: str = ""
    path: str = ""

    def to_json(self) -> dict[str, str]:
        """Plain values; empty ones are left out."""
        return {k: str(v) for k, v in vars(self).items() if v}

    def __str__(self) -> str:
        file = f" {self.path}:" if self.path else ""
        step = f" ({self.step})" if self.step else ""
        return (
            f"{self.platform} {self.where}{step}:{file} {self.what}: {self.first} / {self.second}"
        )


@frozen(kw_only=True)
class Verdict:
    """Both results, and what differs; nothing if they are one."""

    first: BuildResult
    second: BuildResult
    differences: tuple[Difference, ...]

    @property
    def is_reproducible(self) -> bool:
        """Whether both builds gave one digest."""
        return self.first.digest == self.second.digest

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "reproducible": self.is_reproducible,
            "digests": [str(self.first.digest), str(self.second.digest)],
            "differences": [d.to_json() for d in self.differences],
        }


async def verify_reproducible(
    options: BuildOptions,
    *,
    settings: Settings,
    ends: Ends,
    report: Report = silent,
    engines: Sequence[Engine | None] = (None, None),
) -> Verdict:
    """Build twice from nothing and compare. Nothing is delivered, named or remembered."""
    _check_undelivered(options)
    options = replace(
        options, no_cache=True, load=True, tags=(), metadata_file="", iidfile="", cache_from=()
    )
    async with _scratch(settings.home) as one, _scratch(settings.home) as two:
        results, stores = [], []
        for home, engine in zip((one, two), engines, strict=True):
            await _next_second()
            own = await _store(ends, home)
            result = await build(
                options,
                settings=replace(settings, home=home),
                ends=replace(ends, images=own),
                report=report,
                engine=engine,
            )
            results.append(result)
            stores.append(own)
        first, second = results
        comparing = _Comparing(stores[0], stores[1], one)
        found = await comparing.results(first, second) if first.digest != second.digest else []
    return Verdict(first=first, second=second, differences=tuple(found[:_LISTED]))


def _check_undelivered(options: BuildOptions) -> None:
    goes = options.push or options.engines or options.cache_to
    if goes or any(o.kind != "image" for o in options.outputs):
        raise UsageError(
            "--verify-reproducible delivers nothing",
            remedy="leave --push, --load, --cache-to and --output away; build again to deliver",
        )


async def _next_second() -> None:
    await asyncio.sleep(1.05 - time.time() % 1)


@asynccontextmanager
async def _scratch(home: str) -> AsyncIterator[str]:
    await in_thread(os.makedirs, home, exist_ok=True)
    path = await in_thread(tempfile.mkdtemp, prefix="verify-", dir=home)
    try:
        yield path
    finally:
        await in_thread(remove_tree, path)


async def _store(ends: Ends, home: str) -> "_Over":
    async with ends.archive("oci", os.path.join(home, "images") + "/") as own:
        return _Over(own, ends.images)  # a layout directory is whole at any time


class _Over:
    """A store of its own on top of the local images, which give bases and take nothing."""

    def __init__(self, own: Store, below: Source) -> None:
        self._own = own
        self._below = below

    async def resolve(self, ref: str) -> Descriptor:
        """A local image."""
        return await self._below.resolve(ref)

    async def exists(self, desc: Descriptor) -> bool:
        """In either."""
        return await self._own.exists(desc) or await self._below.exists(desc)

    @asynccontextmanager
    async def open(
        self, desc: Descriptor, *, start: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """From the own one, if it is there."""
        there: Source = self._own if await self._own.exists(desc) else self._below
        async with there.open(desc, start=start) as body:
            yield body

    async def put(self, desc: Descriptor, body: Body) -> None:
        """Into the own one."""
        await self._own.put(desc, body)

    async def tag(self, desc: Descriptor, ref: str) -> None:
        """In the own one."""
        await self._own.tag(desc, ref)


@frozen
class _Comparing:
    first: Source
    second: Source
    scratch: str

    async def results(self, first: BuildResult, second: BuildResult) -> list[Difference]:
        """Everything that differs, platform by platform."""
        found: list[Difference] = []
        pairs = zip(first.platforms, first.manifests, second.manifests, strict=True)
        for platform, one, two in pairs:
            if one.digest != two.digest:
                found += await self._images(str(platform), one, two)
        if not found:  # then only the index itself can differ
            found += await self._documents("all", "index", first.descriptor, second.descriptor)
        return found

    async def _images(self, platform: str, one: Descriptor, two: Descriptor) -> list[Difference]:
        manifests = await self._json(one, two)
        configs = await self._json(*(Descriptor.from_json(m["config"]) for m in manifests))
        found = _fields(platform, "config", *map(_told, configs))
        found += _fields(platform, "manifest", *(_annotations(m) for m in manifests))
        steps = [_steps(config) for config in configs]
        layers = zip_longest(manifests[0]["layers"], manifests[1]["layers"])
        for number, (a, b) in enumerate(layers, 1):
            step = steps[0 if a else 1][number - 1] if number <= len(steps[0 if a else 1]) else ""
            place = {"platform": platform, "where": f"layer {number}", "step": step}
            if a is None or b is None:
                found.append(
                    Difference(**place, what="there", first=str(bool(a)), second=str(bool(b)))
                )
            elif a["digest"] != b["digest"]:
                found += await self._layers(place, Descriptor.from_json(a), Descriptor.from_json(b))
        return found

    async def _layers(
        self, place: Mapping[str, str], one: Descriptor, two: Descriptor
    ) -> list[Difference]:
        a, b = await self._entries(self.first, one), await self._entries(self.second, two)
        found = [Difference(**place, path=p, **d) for p, d in _files(a, b)]
        if not found:
            first, second = _first_apart(list(a), list(b))
            what = "order" if first != second else "compression"
            found.append(
                Difference(**place, what=what, first=first or str(one), second=second or str(two))
            )
        return found

    async def _entries(self, source: Source, layer: Descriptor) -> dict[str, dict[str, str]]:
        path = os.path.join(self.scratch, "compared")
        file = await in_thread(open, path, "wb")
        try:
            async with source.open(layer) as body:
                async for piece in verified(layer, body):
                    await in_thread(file.write, piece)
        finally:
            await in_thread(file.close)
        return await in_thread(_read_entries, path)

    async def _documents(
        self, platform: str, where: str, one: Descriptor, two: Descriptor
    ) -> list[Difference]:
        return _fields(platform, where, *map(_annotations, await self._json(one, two)))

    async def _json(self, one: Descriptor, two: Descriptor) -> list[dict[str, Any]]:
        return [json.loads(await read(s, d)) for s, d in ((self.first, one), (self.second, two))]


def _told(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without what only repeats a difference of the layers or of the time."""
    history = [{k: v for k, v in h.items() if k != "created"} for h in config.get("history", [])]
    return {k: v for k, v in config.items() if k != "rootfs"} | {"history": history}


def _annotations(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return dict(manifest.get("annotations") or {})


def _fields(
    platform: str, where: str, one: Mapping[str, Any], two: Mapping[str, Any]
) -> list[Difference]:
    return [
        Difference(
            platform=platform,
            where=where,
            what=name,
            first=json.dumps(one.get(name)),
            second=json.dumps(two.get(name)),
        )
        for name in sorted({*one, *two})
        if one.get(name) != two.get(name)
    ]


def _steps(config: Mapping[str, Any]) -> list[str]:
    history = config.get("history", [])
    return [str(h.get("created_by", "")) for h in history if not h.get("empty_layer")]


def _read_entries(path: str) -> dict[str, dict[str, str]]:
    def pieces() -> Iterator[bytes]:
        with open(path, "rb") as file:
            while piece := file.read(_PIECE):
                yield piece

    found = {}
    reader = TarReader(decompressed(pieces()))
    for entry in reader:
        content = hashlib.sha256()
        for piece in reader.data():
            content.update(piece)
        found["/" + os.fsdecode(entry.name)] = _facts(entry, content.hexdigest())
    return found


def _facts(entry: Entry, content: str) -> dict[str, str]:
    facts = {name: str(getattr(entry, name)) for name in _FACTS}
    facts["mode"] = f"{entry.mode:04o}"
    facts["owner"] = f"{facts.pop('uid')}:{facts.pop('gid')}"
    seconds = time.gmtime(entry.mtime_ns // 1_000_000_000)
    facts["mtime"] = time.strftime("%Y-%m-%dT%H:%M:%S", seconds) + f".{entry.mtime_ns % 10**9:09}Z"
    del facts["mtime_ns"]
    return facts | {"content": f"sha256:{content}" if entry.kind == "file" else ""}


def _files(
    one: Mapping[str, Mapping[str, str]], two: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, dict[str, str]]]:
    for path in sorted({*one, *two}):
        a, b = one.get(path), two.get(path)
        if a is None or b is None:
            yield path, {"what": "there", "first": str(a is not None), "second": str(b is not None)}
            continue
        for name in a:
            if a[name] != b[name]:
                yield path, {"what": name, "first": a[name], "second": b[name]}


def _first_apart(one: Sequence[str], two: Sequence[str]) -> tuple[str, str]:
    return next(((a, b) for a, b in zip(one, two, strict=False) if a != b), ("", ""))
