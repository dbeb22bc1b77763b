"""The solver: runs what must be run of a build graph, each vertex once, and nothing else.

From the target backwards: a target whose key has a record needs none of its inputs.
First by the fast key (definitions only); when that misses, by the settled key, in
which content takes the place of the definitions that content keys replace. Only what
misses both is run, after its inputs.

One event loop owns the graph; work happens in ops. A slot is held only while an op
works, never while its inputs are awaited.
"""

import asyncio
import codecs
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeGuard, runtime_checkable

from argosy.build.cache import Record
from argosy.build.graph import CacheKey, Op, Snapshot, Work
from argosy.build.rootless.mapping import blame
from argosy.concurrency import first_error
from argosy.errors import ArgosyError, BuildError, NoSpace
from argosy.model.digest import Digest
from argosy.observe import Event, Kind
from argosy.values import frozen

_DISK_FULL = (28, 122)  # ENOSPC, EDQUOT


class StepCache(Protocol):
    """What the solver asks of the cache."""

    async def find(self, key: Digest) -> Record | None:
        """The record of a key whose snapshot is still there."""
        ...

    async def keep(self, key: Digest, snapshot: Snapshot | None, description: str) -> None:
        """Remember what a key came to."""
        ...


@runtime_checkable
class Distrusts(Protocol):
    """A StepCache whose records are promises of others, which may turn out to be empty."""

    def distrust(self, snapshot: Snapshot | None, e: ArgosyError) -> bool:
        """Forget who promised this snapshot, since using it failed; False if nobody did."""
        ...


@frozen(kw_only=True)
class Solved:
    """What a solve knows of one op: its fast key, the settled one if it was asked for, and its result."""

    keys: tuple[Digest, ...]
    snapshot: Snapshot | None
    is_known: bool  # whether there is a result: what nobody needed has none
    ran: bool = False
    is_anew: bool = False  # it was asked for anew, or stands on what was: no record was looked up


@frozen(kw_only=True)
class Solution:
    """The targets' snapshots, and how much work they were.

    Sources (no inputs) are not counted, nor is what has no name.
    """

    snapshots: tuple[Snapshot | None, ...]
    steps: int
    ran: int
    solved: Mapping[int, Solved] = field(default_factory=dict)  # by the op's id


@dataclass(slots=True, eq=False)
class _Vertex:
    """Equal ops of one solve, as one."""

    op: Op
    key: CacheKey
    inputs: "list[_Vertex]"
    is_anew: bool = False  # it, or what it stands on, is to be made anew: no record counts
    is_fed_anew: bool = False  # something it is made from is: only its content can tell
    settled: "asyncio.Task[CacheKey] | None" = None
    result: "asyncio.Task[Snapshot | None] | None" = None

    def solved(self, *, ran: bool) -> Solved:
        """What is known of it when the solve is over."""
        keys = [self.key.fast, *([self.settled.result().fast] if _is_done(self.settled) else [])]
        snapshot = self.result.result() if _is_done(self.result) else None
        is_known = _is_done(self.result)
        unique = tuple(dict.fromkeys(keys))
        return Solved(
            keys=unique, snapshot=snapshot, is_known=is_known, ran=ran, is_anew=self.is_anew
        )


class Solver:
    """Solves graphs against one cache; several solves at once share the work they have in common."""

    def __init__(self, work: Work, cache: StepCache, *, jobs: int = 0) -> None:
        self.work = work
        self.cache = cache
        self.slots = asyncio.Semaphore(jobs or max(2, os.cpu_count() or 1))
        self.running: dict[Digest, asyncio.Future[Snapshot | None]] = {}

    async def solve(
        self, targets: Sequence[Op], *, use_cache: bool = True, anew: Sequence[Op] = ()
    ) -> Solution:
        """Snapshots of the targets, in order. The first failure cancels the rest and is raised bare.

        With `use_cache` off nothing is looked up, but equal vertices still run once. Ops of
        `anew` are made without a look for a record, and so is what stands on them; what only
        takes their files still needs no work when these are what they were.
        """
        vertices = await _vertices(targets)
        _mark(vertices, anew)
        try:
            async with asyncio.TaskGroup() as group:
                solve = _Solve(self, group, use_cache)
                tasks = [solve.result(vertices[id(t)]) for t in targets]
        except BaseExceptionGroup as problems:
            error = first_error(problems)
            raise error from error.__cause__  # the group says nothing more than its first error
        unique = list(dict.fromkeys(vertices.values()))
        ran = {id(v) for v in solve.ran}
        return Solution(
            snapshots=tuple(task.result() for task in tasks),
            steps=sum(1 for v in unique if v.inputs and v.op.name),
            ran=sum(1 for v in unique if id(v) in ran and v.inputs and v.op.name),
            solved={op: v.solved(ran=id(v) in ran) for op, v in vertices.items()},
        )


@dataclass(slots=True)
class _Solve:
    """One solve under way: a task per vertex, made when it is first wanted."""

    solver: Solver
    group: asyncio.TaskGroup
    use_cache: bool
    ran: list[_Vertex] = field(default_factory=list)
    told: set[Digest] = field(default_factory=set)  # vertices that something was reported of

    def result(self, vertex: _Vertex) -> "asyncio.Task[Snapshot | None]":
        """The task that comes to the vertex's snapshot."""
        if vertex.result is None:
            vertex.result = self.group.create_task(self._result(vertex))
        return vertex.result

    def settled(self, vertex: _Vertex) -> "asyncio.Task[CacheKey]":
        """The task that comes to the vertex's settled key: content instead of definitions."""
        if vertex.settled is None:
            vertex.settled = self.group.create_task(self._settled(vertex))
        return vertex.settled

    async def _result(self, vertex: _Vertex) -> Snapshot | None:
        fast = vertex.key.fast
        if not vertex.is_fed_anew and (found := await self._find(vertex, fast)) is not None:
            return found.snapshot
        # Everything below is wanted now, all at once: what has a record costs a look, and
        # what has none is needed, since no record stands on a snapshot that is not there.
        for below in vertex.inputs:
            self.result(below)
        settled = (await self.settled(vertex)).fast
        if settled == fast:
            return await self._once(vertex, fast)
        if (found := await self._find(vertex, settled)) is not None:
            snapshot = found.snapshot
        else:
            snapshot = await self._once(vertex, settled)
        await self.solver.cache.keep(fast, snapshot, vertex.op.name)
        return snapshot

    async def _settled(self, vertex: _Vertex) -> CacheKey:
        inputs = [await self.settled(v) for v in vertex.inputs]
        key = vertex.key
        if any(i.fast != v.key.fast for i, v in zip(inputs, vertex.inputs, strict=True)):
            key = await vertex.op.cache_key(inputs)
        if key.slow is None:
            return key
        content = [vertex.inputs[i] for i in key.content]
        if await self._has_record(vertex) and not all([await self._has_record(v) for v in content]):
            # It came from a cache without what it was made from: that is not made only
            # to find out what might have been found above it.
            return CacheKey(vertex.key.fast)
        while True:
            wanted = [self.result(v) for v in content]
            snapshots = [await task for task in wanted]
            try:
                async with self.solver.slots:
                    with _translated(vertex.op.name):
                        return CacheKey(await key.slow(snapshots, self.solver.work))
            except ArgosyError as e:
                if not self._distrusted(content, wanted, e):
                    raise

    async def _has_record(self, vertex: _Vertex) -> bool:
        if not self.use_cache or vertex.is_anew or vertex.is_fed_anew:
            return False
        return await self.solver.cache.find(vertex.key.fast) is not None

    async def _find(self, vertex: _Vertex, key: Digest) -> Record | None:
        looks = self.use_cache and not vertex.is_anew
        found = await self.solver.cache.find(key) if looks else None
        if found is not None:
            self._tell_cached(vertex)
        return found

    async def _once(self, vertex: _Vertex, key: Digest) -> Snapshot | None:
        """Run the vertex, unless another solve is just doing so: then wait for that."""
        running = self.solver.running
        while (ahead := running.get(key)) is not None:
            await asyncio.wait([ahead])
            if not ahead.cancelled():  # else that solve was given up: the work is ours
                self._tell_cached(vertex)
                return ahead.result()
        done = running[key] = asyncio.get_running_loop().create_future()
        try:
            snapshot = await self._run(vertex)
            await self.solver.cache.keep(key, snapshot, vertex.op.name)
        except asyncio.CancelledError:
            done.cancel()
            raise
        except BaseException as e:
            done.set_exception(e)
            done.exception()  # the waiters, if any, raise it; otherwise nobody has to
            raise
        finally:
            del running[key]
        done.set_result(snapshot)
        return snapshot

    async def _run(self, vertex: _Vertex) -> Snapshot | None:
        while True:
            wanted = [self.result(v) for v in vertex.inputs]
            inputs = [await task for task in wanted]
            try:
                snapshot = await self._run_on(vertex, inputs)
            except ArgosyError as e:
                if self._distrusted(vertex.inputs, wanted, e):
                    continue
                self._tell("failed", vertex, str(e) or type(e).__name__)
                raise
            break
        self.ran.append(vertex)
        self._tell("done", vertex)
        return snapshot

    async def _run_on(self, vertex: _Vertex, inputs: Sequence[Snapshot | None]) -> Snapshot | None:
        async with self.solver.slots:
            self._tell("started", vertex)
            try:
                with _translated(vertex.op.name):
                    return await vertex.op.run(inputs, self._work(vertex))
            except asyncio.CancelledError:
                self._tell("failed", vertex, "cancelled")
                raise
            except Exception as e:
                if not isinstance(e, ArgosyError):
                    self._tell("failed", vertex, str(e) or type(e).__name__)
                raise

    def _distrusted(
        self,
        inputs: Sequence[_Vertex],
        used: "Sequence[asyncio.Task[Snapshot | None]]",
        e: ArgosyError,
    ) -> bool:
        """Whether inputs were only promised, and that was in vain: they are made anew now."""
        again = False
        for vertex, task in zip(inputs, used, strict=True):
            if vertex.result is not task:
                again = True  # another step found out before this one
            elif isinstance(cache := self.solver.cache, Distrusts) and cache.distrust(
                task.result(), e
            ):
                vertex.result = None
                again = True
        return again

    def _work(self, vertex: _Vertex) -> Work:
        # Pieces of output end anywhere, also inside a character.
        decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode

        def log(text: bytes) -> None:
            self._tell("log", vertex, decode(text))

        return replace(self.solver.work, log=log)

    def _tell_cached(self, vertex: _Vertex) -> None:
        """Report a vertex that needs no work, after those below it that nobody has asked for."""
        if vertex.key.fast in self.told:
            return
        self.told.add(vertex.key.fast)
        for below in vertex.inputs:
            if below.result is None:
                self._tell_cached(below)
        self._tell("cached", vertex)

    def _tell(self, kind: Kind, vertex: _Vertex, text: str = "") -> None:
        self.told.add(vertex.key.fast)
        if vertex.op.name:
            self.solver.work.report(Event(kind, vertex.key.fast, vertex.op.name, text=text))


async def _vertices(targets: Sequence[Op]) -> dict[int, _Vertex]:
    """The vertex of every op that the targets need, by the op's id; equal ops share one."""
    found: dict[int, _Vertex] = {}
    equal: dict[Digest, _Vertex] = {}
    for op in inputs_first(targets):
        inputs = [found[id(i)] for i in op.inputs]
        with _translated(op.name):
            key = await op.cache_key([v.key for v in inputs])
        found[id(op)] = equal.setdefault(key.fast, _Vertex(op, key, inputs))
    return found


def _mark(vertices: Mapping[int, _Vertex], anew: Sequence[Op]) -> None:
    """Mark what is made anew, and what that reaches; `vertices` has inputs first."""
    for op in anew:
        if id(op) in vertices:
            vertices[id(op)].is_anew = True
    for vertex in vertices.values() if anew else ():
        content = vertex.key.content if vertex.key.slow else ()
        for number, below in enumerate(vertex.inputs):
            if below.is_anew or below.is_fed_anew:
                vertex.is_fed_anew = True
                vertex.is_anew |= below.is_anew and number not in content


def inputs_first(targets: Sequence[Op]) -> list[Op]:
    """The targets and all they are made from, each once, what an op needs before it."""
    done: dict[int, Op] = {}
    pending = [(op, False) for op in reversed(targets)]
    while pending:
        op, ready = pending.pop()
        if id(op) in done:
            continue
        if ready:
            done[id(op)] = op
        else:
            pending.append((op, True))
            pending += [(i, False) for i in reversed(op.inputs)]
    return list(done.values())


def _is_done(task: "asyncio.Task[Any] | None") -> TypeGuard["asyncio.Task[Any]"]:
    return task is not None and task.done() and not task.cancelled()


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """The boundary where what an op raises becomes one of ours, with the step's name."""
    try:
        yield
    except ArgosyError as e:
        e.evidence.setdefault("step", name)
        raise
    except OSError as e:
        if e.errno in _DISK_FULL:
            raise NoSpace(
                f"{name}: the disk is full",
                why=str(e),
                remedy="free some space, then build again: finished steps are cached",
                evidence={"step": name},
            ) from e
        why, remedy = blame(e)
        raise BuildError(
            f"{name}: {e.strerror or e}",
            why=why or str(e),
            remedy=remedy,
            evidence={"step": name},
        ) from e
