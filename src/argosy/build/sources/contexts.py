"""The build contexts of one build: what PATH and --build-context name, opened as trees.

A directory is read in place. A git repository, an archive (by URL or on standard
input) and a lone Dockerfile become a directory for as long as the build lasts.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import chain
from types import TracebackType
from typing import TYPE_CHECKING, Self

from argosy.build.dockerfile.git_reference import GitReference, parse_git, shown
from argosy.build.files.tree import Tree, resolve
from argosy.build.layers.archive import is_archive, starts_archive
from argosy.build.layers.unpack import UnpackOptions, unpack
from argosy.build.options import BuildOptions, ReadInput
from argosy.build.sources.local import local_directory, open_context, read_dockerfile
from argosy.build.sources.outside import Outside
from argosy.concurrency import gather, in_thread, in_thread_to_end
from argosy.errors import BuildError, UsageError
from argosy.values import frozen

if TYPE_CHECKING:
    from argosy.build.sources.web import Kept

_URLS = ("http://", "https://")
_ELSEWHERE = ("docker-image://", "docker://", "oci-layout://", "target:")  # not files
_LARGEST = 16 << 20  # bytes of a Dockerfile
_HEAD = 1024  # bytes that tell an archive from a Dockerfile
_PIECE = 1 << 20


@frozen(kw_only=True)
class Main:
    """The main context, and the Dockerfile that is built in it."""

    tree: Tree
    text: bytes
    shown: str  # how the Dockerfile is called in messages
    directory: str = ""  # of the user's own; `` if the context came from elsewhere


@frozen
class _Place:
    """A directory with a context; or no context, but a Dockerfile."""

    path: str = ""
    text: bytes | None = None
    ours: bool = False  # we made it: links in it are not to be trusted

    @property
    def own(self) -> str:
        """The user's own directory, if it is one."""
        return "" if self.ours else self.path


class Contexts:
    """Opens contexts; what was made for them is gone when the block ends."""

    def __init__(
        self, options: BuildOptions, outside: Outside, stdin: ReadInput | None = None
    ) -> None:
        self._options = options
        self._outside = outside
        self._stdin = stdin
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await in_thread(os.makedirs, self._outside.state, exist_ok=True)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def main(self) -> Main:
        """The main context. UsageError, BuildError: it or the Dockerfile cannot be had."""
        options = self._options
        place = await self._place(options.context)
        text = options.dockerfile_text if place.text is None else place.text
        if text is not None:
            context = place if place.path else _Place(await self._empty(), ours=True)
            tree = await self._tree(context)
            return Main(tree=tree, text=text, shown="Dockerfile", directory=place.own)
        if options.dockerfile.startswith(_URLS):
            text = await self._downloaded_dockerfile()
            tree = await self._tree(place)
            called = shown(options.dockerfile)
            return Main(tree=tree, text=text, shown=called, directory=place.own)
        return await in_thread(self._opened, place)

    async def named(self) -> dict[str, Tree]:
        """The contexts of --build-context that are files, by name."""
        wanted = {
            name: where
            for name, where in self._options.build_contexts.items()
            if not where.startswith(_ELSEWHERE)
        }
        trees = await gather(self._named(where) for where in wanted.values())
        return dict(zip(wanted, trees, strict=True))

    async def _named(self, where: str) -> Tree:
        place = await self._place(where)
        if place.text is not None:
            raise UsageError(
                f"{shown(where)} cannot be a build context",
                why="it is a single file, neither a directory nor an archive",
                remedy="ADD takes single files of the web",
            )
        return await self._tree(place)

    async def _tree(self, place: _Place, file: str = "") -> Tree:
        return await in_thread(
            open_context, place.path, file, self._outside.state, foreign=place.ours
        )

    def _opened(self, place: _Place) -> Main:
        wanted = self._options.dockerfile
        if place.ours:
            # A link in a context from outside must not lead to a file of this machine.
            inside = resolve(place.path, wanted or "Dockerfile")
            wanted = os.path.join(place.path, inside)
        text, file = read_dockerfile(place.path, wanted)
        tree = open_context(place.path, file, self._outside.state, foreign=place.ours)
        name = os.path.relpath(file, place.path) if place.ours else os.path.relpath(file)
        return Main(tree=tree, text=text, shown=name, directory=place.own)

    async def _place(self, where: str) -> _Place:
        if where == "-":
            return await self._from_stdin()
        if not where and self._options.dockerfile_text is not None:
            return _Place(text=self._options.dockerfile_text)
        there = await in_thread(lambda: os.path.isdir(where))
        reference = None if there else parse_git(where, context=True)
        if reference is not None:
            return await self._from_git(reference)
        if where.startswith(_URLS):
            return await self._from_web(where)
        return _Place(await in_thread(local_directory, where))

    async def _from_git(self, reference: GitReference) -> _Place:
        from argosy.build.sources.mirror import GitTree  # noqa: PLC0415 - few contexts are

        keep = self._options.build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR", "")
        if keep.lower() in ("1", "true"):
            reference = replace(reference, keep_git_dir=True)
        source = GitTree(reference, self._outside, default_agent=True)
        await source.resolve()
        tree = await self._stack.enter_async_context(source.opened())
        return _Place(tree.root, ours=True)

    async def _from_stdin(self) -> _Place:
        if self._options.dockerfile_text is not None:
            return _Place(text=self._options.dockerfile_text)
        if self._stdin is None:
            raise UsageError("there is no standard input to read the context from")
        return await self._unpacked_or_text(_pieces(self._stdin), "standard input")

    async def _from_web(self, url: str) -> _Place:
        kept = await self._downloaded(url)
        if not await in_thread(is_archive, kept.path):
            return _Place(text=await in_thread(_read_text, kept.path, shown(url)))
        with await in_thread(open, kept.path, "rb") as file:
            return await self._unpacked_or_text(_pieces(file.read), shown(url))

    async def _downloaded_dockerfile(self) -> bytes:
        url = self._options.dockerfile
        return await in_thread(_read_text, (await self._downloaded(url)).path, shown(url))

    async def _downloaded(self, url: str) -> "Kept":
        from argosy.build.sources.web import WebFile  # noqa: PLC0415 - few contexts are

        source = WebFile(url, self._outside)
        await source.resolve()
        return await source.file()

    async def _unpacked_or_text(self, pieces: Iterator[bytes], what: str) -> _Place:
        head = await in_thread(_first, pieces)
        if not head.strip():
            raise UsageError(
                f"{what} is empty",
                why="it must be a Dockerfile, or a tar archive of the context",
                remedy="write for example: argosy build - < context.tar.gz",
            )
        if not starts_archive(head):
            return _Place(text=await in_thread(_whole, chain([head], pieces), what))
        place = await self._empty()
        # What comes from a context belongs to root anyway; here it is ours.
        options = UnpackOptions(owner=(os.geteuid(), os.getegid()))
        await in_thread_to_end(lambda: unpack(chain([head], pieces), place, options))
        return _Place(place, ours=True)

    async def _empty(self) -> str:
        scratch = await self._stack.enter_async_context(self._outside.scratch())
        place = os.path.join(scratch, "tree")
        await in_thread(os.mkdir, place, 0o755)
        return place


def _pieces(read: ReadInput) -> Iterator[bytes]:
    while piece := read(_PIECE):
        yield piece


def _first(pieces: Iterator[bytes]) -> bytes:
    head = b""
    while len(head) < _HEAD and (piece := next(pieces, b"")):
        head += piece
    return head


def _whole(pieces: Iterable[bytes], what: str) -> bytes:
    held = bytearray()
    for piece in pieces:
        held += piece
        if len(held) > _LARGEST:
            raise _too_large(what)
    return bytes(held)


def _read_text(path: str, what: str) -> bytes:
    if os.path.getsize(path) > _LARGEST:
        raise _too_large(what)
    with open(path, "rb") as file:
        return file.read()


def _too_large(what: str) -> BuildError:
    return BuildError(
        f"{what} is neither an archive nor a Dockerfile",
        why=f"Dockerfiles are smaller than {_LARGEST >> 20} MiB",
        remedy="archives are tar, plain or compressed by gzip, bzip2, xz or zstd",
    )
