"""The steps of a build as ops of the graph: how each is keyed, and how it runs.

A key is the digest of a JSON list: the op's kind with a version, its definition, its
inputs' keys. Names shown to people, places in the Dockerfile, proxies and secrets are
never part of it. Changing what an op does means raising its version.
"""

import json
import os
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import field, replace
from typing import Any, Protocol

from argosy.build.dockerfile.ignore import Matcher, patterns
from argosy.build.dockerfile.plan import CopyStep, RunStep, WorkdirStep
from argosy.build.dockerfile.source import SourceRange
from argosy.build.files.owners import mode, owner
from argosy.build.files.placement import Manner, Placement
from argosy.build.files.tree import Choice, Stop, Tree
from argosy.build.graph import CacheKey, Layer, Op, Part, Process, Shell, Snapshot, Work
from argosy.build.layers.archive import extract, is_archive
from argosy.build.limits import Conditions
from argosy.build.steps.mounts import Attached, mounted
from argosy.concurrency import in_thread_to_end
from argosy.content.store import Source
from argosy.errors import ArgosyError, BuildError, StepFailed
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.values import frozen

_TAIL_LINES = 40
_TAIL_BYTES = 16 << 10
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def key_of(*parts: Any) -> Digest:
    """The digest of some JSON values: equal parts, equal keys."""
    return Digest.of(json.dumps(parts, separators=(",", ":"), sort_keys=True).encode())


@frozen(eq=False)
class Scratch:
    """The empty file system."""

    name: str = ""  # nothing to show
    inputs: tuple[Op, ...] = ()

    async def cache_key(self, _inputs: Sequence[CacheKey]) -> CacheKey:
        """The same for everyone."""
        return CacheKey(key_of("scratch"))

    async def run(self, _inputs: Sequence[Snapshot | None], _work: Work) -> Snapshot | None:
        """Nothing to do."""
        return None


@frozen(kw_only=True, eq=False)
class Image:
    """The file system of an image from outside; its layers are fetched only when something must see them."""

    name: str
    manifest: Descriptor
    layers: tuple[Descriptor, ...]
    diff_ids: tuple[Digest, ...]
    source: Source
    inputs: tuple[Op, ...] = ()

    async def cache_key(self, _inputs: Sequence[CacheKey]) -> CacheKey:
        """By what it unpacks to, however it was compressed or named; unpacking proves it."""
        return CacheKey(key_of("image/2", self.diff_ids))

    async def run(self, _inputs: Sequence[Snapshot | None], work: Work) -> Snapshot | None:
        """State its layers, and where they are; nothing is fetched."""
        return self.stated(work)

    def stated(self, work: Work) -> Snapshot | None:
        """Its chain of layers; from now on `work` knows where they can be had."""
        work.origins.add(self.layers, self.source)
        snapshot: Snapshot | None = None
        for layer, diff_id in zip(self.layers, self.diff_ids, strict=True):
            snapshot = work.snapshots.apply(snapshot, Layer(layer, diff_id))
        return snapshot


@frozen(kw_only=True, eq=False)
class Workdir:
    """A directory that is made, with its parents, if it is missing."""

    name: str
    parent: Op
    step: WorkdirStep

    @property
    def inputs(self) -> tuple[Op, ...]:
        """What it stands on."""
        return (self.parent,)

    async def cache_key(self, inputs: Sequence[CacheKey]) -> CacheKey:
        """By path and owner."""
        return CacheKey(key_of("workdir/1", self.step.path, self.step.user, inputs[0].fast))

    async def run(self, inputs: Sequence[Snapshot | None], work: Work) -> Snapshot | None:
        """Make it."""
        async with work.snapshots.edit(inputs[0]) as workspace:

            def make() -> None:
                chosen = owner(workspace.root, self.step.user) if self.step.user else None
                placement = Placement(workspace.root, self.step.path, Manner(owner=chosen))
                with placement.directory(placement.target):
                    pass

            with _told_at(self.step.where):
                await in_thread_to_end(make)
            return await work.snapshots.commit(workspace)


class Fetched(Protocol):
    """Something from outside the build that ADD takes: a file of the web, a git repository."""

    @property
    def key(self) -> list[Any]:
        """Its content, named without having it."""
        ...

    @property
    def pattern(self) -> str:
        """What is taken of the tree."""
        ...

    def opened(self) -> AbstractAsyncContextManager[Tree]:
        """Have it here, and open it."""
        ...


@frozen(kw_only=True, eq=False)
class Copy:
    """Files of the context, or of another file system, put on top of `parent` (COPY, ADD)."""

    name: str
    parent: Op
    origin: Op | Tree
    step: CopyStep
    fetched: tuple[Fetched, ...] = ()

    @property
    def inputs(self) -> tuple[Op, ...]:
        """What it stands on, and what it takes from."""
        return (self.parent,) if isinstance(self.origin, Tree) else (self.parent, self.origin)

    async def cache_key(self, inputs: Sequence[CacheKey]) -> CacheKey:
        """By definition and content; content of another stage is named only if its key will not do."""
        if isinstance(self.origin, Tree):
            with _told_at(self.step.where):
                content = await self._content(self.origin)
            return CacheKey(key_of("copy/1", self._definition(), inputs[0].fast, content))
        if not self.step.sources:
            return CacheKey(key_of("copy/1", self._definition(), inputs[0].fast))
        fast = key_of("copy/1", self._definition(), inputs[0].fast, inputs[1].fast)

        async def slow(snapshots: Sequence[Snapshot | None], work: Work) -> Digest:
            async with work.snapshots.edit(snapshots[0]) as view:
                with _told_at(self.step.where):
                    content = await self._content(Tree(view.root, what="that file system"))
            return key_of("copy/1 content", self._definition(), inputs[0].fast, content)

        return CacheKey(fast, slow, (1,))

    async def run(self, inputs: Sequence[Snapshot | None], work: Work) -> Snapshot | None:
        """Copy, and keep what came of it."""
        async with AsyncExitStack() as stack:
            workspace = await stack.enter_async_context(work.snapshots.edit(inputs[0]))
            tree = self.origin
            if not isinstance(tree, Tree):
                view = await stack.enter_async_context(work.snapshots.edit(inputs[1]))
                tree = Tree(view.root, what=f"the file system after {tree.name}")
            stop = Stop()
            with _told_at(self.step.where):
                more = [(await stack.enter_async_context(f.opened()), f) for f in self.fetched]
                trees = [(tree, self._choices())]
                trees += [(t, [self._choice(f.pattern)]) for t, f in more]
                await in_thread_to_end(lambda: self._place(trees, workspace.root, stop), stop.set)
            return await work.snapshots.commit(workspace, timeless=isinstance(self.origin, Tree))

    def parts(self) -> Iterator[Part]:
        """Its definition, and each file it takes from a context (see `explain`)."""
        yield "flags", json.dumps(self._definition(), sort_keys=True, default=str)
        if isinstance(self.origin, Tree):
            for choice in self._choices():
                for path, what in self.origin.listing(choice):
                    yield f"file {path}", what

    def _choices(self) -> list[Choice]:
        return [self._choice(p) for p in self.step.sources]

    def _choice(self, pattern: str) -> Choice:
        exclude = Matcher(patterns(self.step.exclude)) if self.step.exclude else None
        # What comes from a context belongs to root, so whose it is there does not matter.
        owners = not isinstance(self.origin, Tree) and not self.step.chown
        return Choice(pattern=pattern, exclude=exclude, owners=owners)

    async def _content(self, tree: Tree) -> list[Digest]:
        stop, choices = Stop(), self._choices()
        return await in_thread_to_end(lambda: [tree.digest(c, stop) for c in choices], stop.set)

    def _definition(self) -> list[Any]:
        step = self.step
        files = [[f.name, Digest.of(f.data)] for f in step.files]
        flags = [step.chown, step.chmod, step.parents, step.unpack, list(step.exclude)]
        found = [list(step.sources), files, step.dest, flags, isinstance(self.origin, Tree)]
        return [*found, [f.key for f in self.fetched]] if self.fetched else found

    def _place(self, trees: Sequence[tuple[Tree, Sequence[Choice]]], root: str, stop: Stop) -> None:
        step = self.step
        chosen = owner(root, step.chown) if step.chown or isinstance(self.origin, Tree) else None
        manner = Manner(owner=chosen, mode=mode(step.chmod), parents=step.parents)
        several = len(step.sources) + len(step.files) + len(self.fetched) > 1
        placement = Placement(root, step.dest, manner, several=several, stop=stop)
        for number, (tree, choices) in enumerate(trees):
            # `local`: what is fetched stays packed.
            unpacks = step.unpack == "always" or (step.unpack == "local" and number == 0)
            for choice in choices:
                if not unpacks or not self._unpack(tree, choice, placement):
                    placement.place(tree, choice)
        for file in step.files:
            placement.write(file.name, file.data)

    def _unpack(self, tree: Tree, choice: Choice, placement: Placement) -> bool:
        """Unpack the sources of a choice if all of them are archives; the destination is a directory."""
        found = [os.path.join(tree.root, f.real) for f in tree.find(choice.pattern)]
        if not found or not all(os.path.isfile(path) and is_archive(path) for path in found):
            return False
        chosen = owner(placement.root, self.step.chown) if self.step.chown else None
        with placement.directory(placement.target) as top:
            for path in found:
                extract(path, top, owner=(chosen.uid, chosen.gid) if chosen else None)
        return True


@frozen(kw_only=True, eq=False)
class Linked:
    """The layer of a COPY --link on top of `parent`; it was made without looking at that.

    So it is the very same layer on every parent, and nothing of a parent need be here.
    """

    parent: Op
    layer: Op  # the copy, on the empty file system
    name: str = ""  # the copy is what people see

    @property
    def inputs(self) -> tuple[Op, ...]:
        """What it stands on, and what is put there."""
        return (self.parent, self.layer)

    async def cache_key(self, inputs: Sequence[CacheKey]) -> CacheKey:
        """By the two of them."""
        return CacheKey(key_of("linked/1", inputs[0].fast, inputs[1].fast))

    async def run(self, inputs: Sequence[Snapshot | None], _work: Work) -> Snapshot | None:
        """State it: a snapshot is a layer directory on a parent."""
        below, layer = inputs
        if layer is None or layer.parent is not None:
            raise BuildError(
                "a linked layer is more than one layer",
                remedy="build with --no-cache, and report this as a defect of Argosy",
            )
        return replace(layer, parent=below)


@frozen(kw_only=True, eq=False)
class Run:
    """A command on top of `parent`."""

    name: str
    parent: Op
    step: RunStep
    attached: tuple[Attached, ...] = ()
    conditions: Conditions = field(default_factory=Conditions)

    @property
    def inputs(self) -> tuple[Op, ...]:
        """What it stands on, and what is mounted of other file systems."""
        return (self.parent, *(a.op for a in self.attached if a.op))

    async def cache_key(self, inputs: Sequence[CacheKey]) -> CacheKey:
        """By all that the command can see, but for secrets, proxies and what cache mounts hold."""
        seen = [await a.seen() for a in self.attached]
        definition = ["run/2", self._definition(), seen, inputs[0].fast]
        fast = key_of(*definition, [i.fast for i in inputs[1:]])
        binds = [a for a in self.attached if a.op]
        if not binds:
            return CacheKey(fast)

        async def slow(snapshots: Sequence[Snapshot | None], work: Work) -> Digest:
            content = [await a.content(s, work) for a, s in zip(binds, snapshots, strict=True)]
            return key_of("content", *definition, content)

        return CacheKey(fast, slow, tuple(range(1, len(inputs))))

    async def run(self, inputs: Sequence[Snapshot | None], work: Work) -> Snapshot | None:
        """Run the command; StepFailed with its last lines if it fails."""
        async with work.snapshots.edit(inputs[0]) as workspace:
            tail = _Tail(work)
            with _told_at(self.step.where):
                async with self._process(inputs, work) as process:
                    status = await work.execute(process, workspace.root, tail)
                    if status != 0 and work.shell:
                        await self._look_into(process, workspace.root, work.shell, work)
                if status != 0:
                    raise self._failed(status, tail.text)
            return await work.snapshots.commit(workspace)

    def parts(self) -> Iterator[Part]:
        """Its variables, where it runs, and what is mounted (see `explain`)."""
        step = self.step
        for name, value in step.env:
            yield f"variable {name}", value
        yield "working directory", step.cwd
        yield "user", step.user or "root"
        yield "network", step.network
        yield "added hosts", " ".join(name for name, _ in self.conditions.hosts)
        for attached in self.attached:
            yield f"mount {attached.mount.target}", repr(attached.mount)
            for path, what in attached.listing():
                yield f"file {path}", what

    def _definition(self) -> list[Any]:
        s = self.step
        where = [s.cwd, s.user, str(s.platform), s.network, s.security]
        # Of added hosts only the names count: addresses change from machine to machine.
        more = [[name for name, _ in self.conditions.hosts], self.conditions.hostname]
        return [list(s.args), [list(pair) for pair in s.env], where, more]

    @asynccontextmanager
    async def _process(
        self, inputs: Sequence[Snapshot | None], work: Work
    ) -> AsyncIterator[Process]:
        step = self.step
        async with mounted(self.attached, inputs[1:], work) as held:
            env = {"PATH": _PATH, **dict(step.proxy), **dict(step.env), **held.env}
            yield Process(
                args=step.args,
                env=env,
                cwd=step.cwd,
                user=step.user,
                platform=step.platform,
                network=step.network,
                hostname=self.conditions.hostname,
                hosts=self.conditions.hosts,
                mounts=tuple(held.mounts),
                insecure=step.security == "insecure",
                limits=self.conditions.limits,
            )

    async def _look_into(self, process: Process, root: str, shell: Shell, work: Work) -> None:
        """Hand the failed step's file system, mounts and variables to a shell of the user's."""
        with shell(self.name):
            await work.execute(
                replace(process, args=("/bin/sh",), interactive=True), root, lambda _text: None
            )

    def _failed(self, status: int, output: str) -> StepFailed:
        killed = "it was killed; often the machine had no memory left" if status == 137 else ""
        missing = "the command was not found" if status == 127 else ""
        return StepFailed(
            self.name,
            status=status,
            output=output,
            why=killed or missing,
            remedy="build with --debug-shell to look around where it failed; the steps before it"
            " are cached",
        )


@contextmanager
def _told_at(where: SourceRange) -> Iterator[None]:
    """An error inside carries the place in the Dockerfile, so that people find the step."""
    try:
        yield
    except ArgosyError as e:
        e.evidence.setdefault("file", where.file)
        e.evidence.setdefault("line", where.first)
        raise


class _Tail:
    """Passes output on, and remembers its end."""

    def __init__(self, work: Work) -> None:
        self._log = work.log
        self._held: deque[bytes] = deque()
        self._size = 0

    def __call__(self, text: bytes) -> None:
        self._log(text)
        self._held.append(text)
        self._size += len(text)
        while self._size > _TAIL_BYTES and len(self._held) > 1:
            self._size -= len(self._held.popleft())

    @property
    def text(self) -> str:
        """The last lines."""
        text = b"".join(self._held)[-_TAIL_BYTES:].decode(errors="replace")
        return "\n".join(text.splitlines()[-_TAIL_LINES:])
