"""Where a result goes: registries, archives, plain files, and the notes about it."""

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from functools import partial
from typing import Any, BinaryIO, Self

from argosy.build.files.owners import Owner
from argosy.build.files.placement import Manner, Placement
from argosy.build.files.tree import Choice, Stop, Tree
from argosy.build.graph import Snapshot, Snapshotter
from argosy.build.layers.header import END
from argosy.build.layers.pack import PackOptions, pack
from argosy.build.options import BuildOptions, Ends, Output
from argosy.build.results.export import Image, platform_directory, telling
from argosy.build.results.mirroring import remove_others
from argosy.build.results.variants import check_together
from argosy.concurrency import in_thread, in_thread_to_end
from argosy.content.copy import copy
from argosy.content.store import Pins, Source, Store
from argosy.errors import StorageError, UsageError
from argosy.model.digest import Digest
from argosy.model.platform import Platform
from argosy.model.reference import Reference
from argosy.observe import Report, silent
from argosy.values import frozen


def names_of(tags: Sequence[str]) -> tuple[Reference, ...]:
    """Tags as full references, each once; `latest` where there is no tag. InvalidReference, UsageError."""
    found: dict[Reference, None] = {}
    for text in tags:
        reference = Reference.parse(text)
        if reference.digest is not None:
            raise UsageError(
                f"a result cannot be named {text}",
                why="a digest follows from the content",
                remedy="use a tag",
            )
        found[reference if reference.tag else reference.with_tag("latest")] = None
    return tuple(found)


def check(options: BuildOptions) -> None:
    """UsageError for outputs that cannot come to anything; asked before anything is built."""
    check_together(options)
    pushes = options.push or any(o.kind == "registry" for o in options.outputs)
    named = options.tags or any(o.names for o in options.outputs)
    if pushes and not named:
        raise UsageError("nothing says where to push to", remedy="name the image with --tag")
    for output in options.outputs:
        if output.kind == "docker" and output.dest and len(options.platforms) > 1:
            raise UsageError(
                "an archive of type docker holds one platform",
                remedy="use type=oci, or one --platform",
            )
        if output.kind == "local" and output.dest == "-":
            raise UsageError("type=local needs a directory", remedy="use type=tar,dest=-")
    names_of([*options.tags, *(n for o in options.outputs for n in o.names)])


def is_kept(options: BuildOptions) -> bool:
    """Whether the result is kept in the local images: always, unless it goes elsewhere only."""
    elsewhere = options.push or any(o.kind != "image" for o in options.outputs)
    asked = any(o.kind == "image" or o.wish.store for o in options.outputs)
    return options.load or bool(options.engines) or not elsewhere or asked


def wants_files(options: BuildOptions) -> bool:
    """Whether an output needs the file systems themselves, not only their layers."""
    return any(o.kind in ("local", "tar") for o in options.outputs)


@frozen(kw_only=True)
class Delivery:
    """Brings one result to its outputs."""

    image: Image
    made: Source  # that has the image, or knows where its parts are
    platforms: tuple[Platform, ...]
    files: Sequence[Snapshot | None]  # the platforms' file systems, if an output wants files
    ends: Ends
    snapshots: Snapshotter
    report: Report = silent
    epoch: int | None = None
    pushed: set[tuple[Reference, Digest]] = field(default_factory=set)

    async def keep(self, names: Sequence[Reference]) -> None:
        """Name it in the local store; without a name it is only listed there."""
        await copy(
            self.made, self.image.descriptor.digest, self.ends.images, "", report=self.report
        )
        for name in names:
            await self.ends.images.tag(self.image.descriptor, str(name))

    async def deliver(self, output: Output, names: Sequence[Reference]) -> None:
        """Bring it to one output."""
        match output.kind:
            case "registry":
                await self.push(names, by_digest=output.wish.by_digest)
            case "docker" if not output.dest:
                await self.load("docker", names, self.made)
            case "oci" | "docker":
                await self._archive(output, names)
            case "local":
                with telling(self.report, f"local {output.dest}", f"exporting to {output.dest}"):
                    await self._local(output)
            case "tar":
                with telling(self.report, f"tar {output.dest}", f"exporting to {output.dest}"):
                    await self._tar(output)
            case "image":
                await self._more_names(output, names)
            case "cacheonly":
                pass  # the steps are remembered anyway

    async def _more_names(self, output: Output, names: Sequence[Reference]) -> None:
        """The names by digest that `name-canonical` and `dangling-name-prefix` ask for."""
        prefix = output.wish.dangling_prefix
        heads = [n.locator for n in names if output.wish.canonical]
        for head in heads or ([prefix] if prefix and not names else []):
            named = f"{head}@{self.image.descriptor.digest}"
            await self.ends.images.tag(self.image.descriptor, named)

    async def push(self, names: Sequence[Reference], *, by_digest: bool = False) -> None:
        """Copy it to the registries of its names; a tag is set when everything is there."""
        digest = self.image.descriptor.digest
        for name in names:
            if (name, digest) in self.pushed:
                continue
            with telling(self.report, f"push {name}", f"pushing {name}"):
                there = self.ends.repository(name)
                tag = "" if by_digest else name.tag
                await copy(self.made, digest, there, tag, report=self.report)
            self.pushed.add((name, digest))

    async def load(self, engine: str, names: Sequence[Reference], source: Source) -> None:
        """Bring it into a container engine of this machine."""
        from argosy.build.engines.loading import EngineName, Loading  # noqa: PLC0415 - few builds do

        with telling(self.report, f"load {engine}", f"loading into {engine}"):
            image, environ = self.image.descriptor, os.environ
            loading = Loading(image=image, names=names, images=source, environ=environ)
            await loading.into(EngineName.parse(engine))

    async def _archive(self, output: Output, names: Sequence[Reference]) -> None:
        kind = "docker" if output.kind == "docker" else "oci"
        with telling(self.report, f"{kind} {output.dest}", f"exporting to {output.dest}"):
            async with self.ends.archive(
                "docker" if kind == "docker" else "oci", output.dest
            ) as store:
                await copy(self.made, self.image.descriptor.digest, store, "", report=self.report)
                for name in names:
                    await store.tag(self.image.descriptor, str(name))
                if not names:
                    await _list(store, self.image)

    async def _local(self, output: Output) -> None:
        tops = self._directories(output)
        for (top, _), snapshot in zip(tops, self.files, strict=True):
            await in_thread(_directory, top)
            async with self.snapshots.edit(snapshot) as view:
                await self._place(view.root, top, output)

    async def _place(self, root: str, top: str, output: Output) -> None:
        owner, stop = Owner(os.getuid(), os.getgid()), Stop()
        if output.wish.mode == "delete":
            await in_thread(remove_others, root, top)
        placement = Placement(top, "/", Manner(owner=owner, devices=False), stop=stop)
        tree, all_of_it = Tree(root, what="the result"), Choice(pattern=".")
        await in_thread_to_end(partial(placement.place, tree, all_of_it), stop.set)

    async def _tar(self, output: Output) -> None:
        tops = self._directories(output)
        async with _Written(output.dest) as file:
            for (_, under), snapshot in zip(tops, self.files, strict=True):
                async with self.snapshots.edit(snapshot) as view:
                    inside = f"{under}/".encode() if under else b""
                    await file.pack(view.root, PackOptions(epoch=self.epoch, under=inside))

    def _directories(self, output: Output) -> list[tuple[str, str]]:
        """For each platform where its files go, whole and below the output (platform-split)."""
        several = len(self.platforms) > 1
        splits = several if output.wish.splits is None else output.wish.splits
        under = [platform_directory(p) if splits else "" for p in self.platforms]
        return [(os.path.join(output.dest, u) if u else output.dest, u) for u in under]


async def _list(store: Store, image: Image) -> None:
    if isinstance(store, Pins):
        await store.pin(image.descriptor)


def _directory(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as e:
        raise StorageError(f"cannot make {path}", why=e.strerror or str(e)) from e


class _Written:
    """A tar on its way to a file, kept only if the block ends well, or to standard output."""

    def __init__(self, dest: str) -> None:
        self._dest = dest
        self._temporary = ""
        self._held = b""  # the end of the archive so far: more may follow
        self._file: BinaryIO = sys.stdout.buffer

    async def __aenter__(self) -> Self:
        if self._dest != "-":
            await in_thread(self._open)
        return self

    def _open(self) -> None:
        directory = os.path.dirname(os.path.abspath(self._dest))
        try:
            fd, self._temporary = tempfile.mkstemp(prefix=".argosy-", dir=directory)
            os.fchmod(fd, 0o644)
        except OSError as e:
            raise StorageError(f"cannot write {self._dest}", why=e.strerror or str(e)) from e
        self._file = open(fd, "wb", buffering=0)  # noqa: SIM115 - closed at exit

    async def pack(self, top: str, options: PackOptions) -> None:
        """Add the files below a directory."""
        self._held = b""  # two zero blocks in the middle would end the archive
        stop = Stop()

        def write(piece: bytes) -> None:
            stop.check()
            self._write(piece)

        await in_thread_to_end(lambda: pack(top, write, options), stop.set)

    def _write(self, piece: bytes) -> None:
        whole = self._held + piece
        cut = max(0, len(whole) - len(END))
        self._held = whole[cut:]
        view = memoryview(whole)[:cut]
        while view:
            view = view[self._file.write(view) :]

    async def __aexit__(self, kind: object, *_error: object) -> None:
        await in_thread(self._close, kind is None)

    def _close(self, well: bool) -> None:
        try:
            if well:
                self._file.write(self._held)
                self._file.flush()
            if self._temporary:
                self._file.close()
                if well:
                    os.replace(self._temporary, self._dest)
                    self._temporary = ""
        except OSError as e:
            raise StorageError(f"cannot write {self._dest}", why=e.strerror or str(e)) from e
        finally:
            if self._temporary:
                self._file.close()
                with suppress(OSError):
                    os.unlink(self._temporary)


def write_notes(
    options: BuildOptions,
    image: Image,
    names: Sequence[Reference],
    more: Mapping[str, Any] | None = None,
) -> None:
    """The metadata file and the id file (blocking), with buildx's keys."""
    if options.metadata_file:
        notes: dict[str, Any] = {
            "containerimage.descriptor": image.descriptor.to_json(),
            "containerimage.digest": image.descriptor.digest,
            **(more or {}),
        }
        if len(image.configs) == 1:
            notes["containerimage.config.digest"] = image.configs[0].digest
        if names:
            notes["image.name"] = ",".join(str(n) for n in names)
        _replace(options.metadata_file, json.dumps(notes, indent=2, sort_keys=True) + "\n")
    if options.iidfile:
        # As buildx: an image's id is its config's digest; only an index has none.
        single = len(image.configs) == 1
        _replace(options.iidfile, image.configs[0].digest if single else image.descriptor.digest)


def _replace(path: str, text: str) -> None:
    directory = os.path.dirname(os.path.abspath(path))
    temporary = ""
    try:
        fd, temporary = tempfile.mkstemp(prefix=".argosy-", dir=directory)
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(fd, 0o644)
        os.replace(temporary, path)
    except OSError as e:
        with suppress(OSError):
            os.unlink(temporary)
        raise StorageError(f"cannot write {path}", why=e.strerror or str(e)) from e
