"""The solver, with ops that only count: no container, no mount."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from argosy.build.cache import BuildCache
from argosy.build.graph import CacheKey, Op, Snapshot, Work
from argosy.build.solver import Solver
from argosy.errors import BuildError, NoSpace, StepFailed
from argosy.model.digest import Digest
from argosy.observe import Event


@dataclass(eq=False)
class Fake:
    """An op whose key is its seed and its inputs' keys; counts how often it was run."""

    seed: str
    inputs: tuple[Op, ...] = ()
    content: str | None = None  # when given, there is a slow key: of this content
    uses: tuple[int, ...] = (0,)
    output: str = ""
    error: BaseException | None = None
    gate: asyncio.Event | None = None
    pause: float = 0.0
    runs: int = 0
    slow_keys: int = 0
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: bool = False

    @property
    def name(self) -> str:
        return self.seed

    async def cache_key(self, inputs: Sequence[CacheKey]) -> CacheKey:
        fast = Digest.of("|".join([self.seed, *[i.fast for i in inputs]]).encode())
        if self.content is None:
            return CacheKey(fast)
        rest = [k.fast for n, k in enumerate(inputs) if n not in self.uses]

        async def slow(_snapshots: Sequence[Snapshot | None], _work: Work) -> Digest:
            self.slow_keys += 1
            return Digest.of("|".join([self.seed, str(self.content), *rest]).encode())

        return CacheKey(fast, slow, self.uses)

    async def run(self, inputs: Sequence[Snapshot | None], work: Work) -> Snapshot | None:
        self.runs += 1
        self.entered.set()
        try:
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(self.pause)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self.error is not None:
            raise self.error
        work.log(b"ran\n")
        return Snapshot(self.output or self.seed, inputs[0] if inputs else None)


class World:
    """A cache on disk, a list of events, and the snapshots that were lost."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.events: list[Event] = []
        self.lost: set[str] = set()

    def solver(self, cache: BuildCache, jobs: int = 4) -> Solver:
        work = Work(snapshots=None, execute=None, images=None, report=self.events.append)
        return Solver(work, cache, jobs=jobs)

    def cache(self) -> BuildCache:
        return BuildCache(self.path, self.exists)

    async def exists(self, snapshot):
        return not self.lost.intersection(snapshot.chain)

    def kinds(self, name: str) -> list[str]:
        return [e.kind for e in self.events if e.name == name]


@pytest.fixture
def world(tmp_path):
    return World(str(tmp_path / "build" / "cache.db"))


async def solve(world, *targets, use_cache=True, jobs=4):
    async with world.cache() as cache:
        return await world.solver(cache, jobs).solve(targets, use_cache=use_cache)


def diamond():
    base = Fake("base")
    left, right = Fake("left", (base,)), Fake("right", (base,))
    return base, left, right, Fake("top", (left, right))


async def test_every_vertex_of_a_diamond_runs_exactly_once(world):
    ops = diamond()
    solution = await solve(world, ops[-1])
    assert [op.runs for op in ops] == [1, 1, 1, 1]
    assert solution.snapshots == (Snapshot("top", Snapshot("left", Snapshot("base"))),)
    assert (solution.steps, solution.ran) == (3, 3)


def filtered(out="same"):
    """A stage of two steps, a step on it, and a copy from it into another stage with a step."""
    first = Fake("first")
    second = Fake("second", (first,))
    above = Fake("above", (second,))
    copy = Fake("copy", (Fake("other"), second), content=out, uses=(1,))
    return first, second, above, copy, Fake("after", (copy,))


async def test_ops_asked_for_anew_run_and_so_does_what_stands_on_them_but_equal_content_hits(world):
    ops = filtered()
    await solve(world, ops[2], ops[4])
    again = filtered()
    async with world.cache() as cache:
        solution = await world.solver(cache).solve([again[2], again[4]], anew=[again[1]])
    assert [op.runs for op in again] == [0, 1, 1, 0, 0]
    assert [solution.solved[id(op)].is_anew for op in again] == [False, True, True, False, False]


async def test_content_that_is_other_when_made_anew_reaches_what_copies_it(world):
    ops = filtered()
    await solve(world, ops[2], ops[4])
    other = filtered(out="other")
    async with world.cache() as cache:
        await world.solver(cache).solve([other[2], other[4]], anew=[other[0]])
    assert [op.runs for op in other] == [1, 1, 1, 1, 1]
    warm = filtered(out="other")  # what was made anew is what counts from now on
    await solve(world, warm[2], warm[4])
    assert [op.runs for op in warm] == [0, 0, 0, 0, 0]


async def test_equal_ops_that_are_different_objects_run_once(world):
    one, two = Fake("same"), Fake("same")
    tops = Fake("amd64", (one,)), Fake("arm64", (two,))
    await solve(world, *tops)
    assert one.runs + two.runs == 1
    assert [t.runs for t in tops] == [1, 1]


async def test_a_warm_solve_runs_nothing_and_looks_up_only_the_target(world):
    await solve(world, diamond()[-1])
    world.events.clear()
    ops = diamond()
    looked_up = []
    async with world.cache() as cache:
        find = cache.find

        async def counting(key):
            looked_up.append(key)
            return await find(key)

        cache.find = counting
        solution = await world.solver(cache).solve([ops[-1]])
    assert [op.runs for op in ops] == [0, 0, 0, 0]
    assert len(looked_up) == 1
    assert solution.ran == 0
    assert solution.snapshots[0].chain == ("base", "left", "top")
    assert {e.kind for e in world.events} == {"cached"}
    assert len(world.events) == 4


async def test_what_no_target_needs_is_never_run(world):
    base, left, right, _top = diamond()
    await solve(world, left)
    assert [base.runs, left.runs, right.runs] == [1, 1, 0]


async def test_a_changed_op_runs_with_its_dependents_only(world):
    base = Fake("base")
    await solve(world, Fake("top", (Fake("left", (base,)), Fake("right", (base,)))))
    again = Fake("base")
    left, right = Fake("left", (again,)), Fake("changed", (again,))
    top = Fake("top", (left, right))
    await solve(world, top)
    assert [again.runs, left.runs, right.runs, top.runs] == [0, 0, 1, 1]


async def test_unchanged_output_hits_although_its_producer_ran_again(world):
    def graph(source, content):
        stage = Fake(source)
        parent = Fake("parent")
        copied = Fake("copy", (parent, stage), content=content, uses=(1,))
        return stage, parent, copied, Fake("after", (copied,))

    await solve(world, graph("make 1", "same bytes")[-1])
    stage, parent, copied, after = graph("make 2", "same bytes")
    solution = await solve(world, after)
    assert [stage.runs, parent.runs, copied.runs, after.runs] == [1, 0, 0, 0]
    assert copied.slow_keys == 1
    assert solution.snapshots[0].chain == ("parent", "copy", "after")
    stage, parent, copied, after = graph("make 2", "same bytes")
    await solve(world, after)
    assert [stage.runs, copied.slow_keys] == [0, 0], "the fast key now has its own record"
    stage, parent, copied, after = graph("make 3", "other bytes")
    await solve(world, after)
    assert [stage.runs, parent.runs, copied.runs, after.runs] == [1, 0, 1, 1]


async def test_a_record_whose_snapshot_is_gone_is_a_miss(world):
    await solve(world, diamond()[-1])
    world.lost.add("right")
    ops = diamond()
    await solve(world, ops[-1])
    assert [op.runs for op in ops] == [0, 0, 0, 0], "top does not stand on right"
    world.lost.add("top")
    ops = diamond()
    await solve(world, ops[-1])
    assert [op.runs for op in ops] == [0, 0, 1, 1]


async def test_without_cache_everything_runs_again_but_once(world):
    await solve(world, diamond()[-1])
    ops = diamond()
    await solve(world, ops[-1], use_cache=False)
    assert [op.runs for op in ops] == [1, 1, 1, 1]


async def test_independent_stages_run_at_the_same_time(world):
    one, two = Fake("one", gate=asyncio.Event()), Fake("two", gate=asyncio.Event())

    async def conduct():
        await one.entered.wait()
        await two.entered.wait()
        one.gate.set()
        two.gate.set()

    async with asyncio.timeout(5):
        await asyncio.gather(solve(world, Fake("top", (one, two))), conduct())


async def test_stages_that_are_copied_from_one_after_another_still_run_at_the_same_time(world):
    first, second, own = (Fake(n, gate=asyncio.Event()) for n in ("first", "second", "own"))
    lower = Fake("copy 1", (own, first), content="1", uses=(1,))
    upper = Fake("copy 2", (lower, second), content="2", uses=(1,))

    async def conduct():
        for op in (first, second, own):
            await op.entered.wait()
        for op in (first, second, own):
            op.gate.set()

    async with asyncio.timeout(5):
        await asyncio.gather(solve(world, Fake("top", (upper,))), conduct())


async def test_no_more_ops_work_at_once_than_allowed(world):
    active, most = 0, 0

    @dataclass(eq=False)
    class Counting(Fake):
        async def run(self, inputs, work):
            nonlocal active, most
            active += 1
            most = max(most, active)
            await asyncio.sleep(0.002)
            active -= 1
            return await super().run(inputs, work)

    await solve(world, Fake("top", tuple(Counting(f"n{i}") for i in range(9))), jobs=2)
    assert most == 2


async def test_a_deep_graph_does_not_deadlock_on_one_slot(world):
    op: Fake = Fake("0")
    for n in range(1, 150):
        op = Fake(str(n), (op,))
    async with asyncio.timeout(20):
        solution = await solve(world, op, jobs=1)
    assert len(solution.snapshots[0].chain) == 150


async def test_a_failure_cancels_siblings_and_comes_out_as_one_error(world):
    slow = Fake("slow", gate=asyncio.Event())

    @dataclass(eq=False)
    class Failing(Fake):
        async def run(self, inputs, work):
            await slow.entered.wait()
            raise StepFailed("RUN false", status=1, output="no such thing")

    failing = Failing("failing")
    users = Fake("a", (failing, slow)), Fake("b", (slow, failing))
    with pytest.raises(StepFailed) as caught:
        await solve(world, *users)
    assert caught.value.output == "no such thing"
    assert slow.cancelled
    assert [u.runs for u in users] == [0, 0]
    assert world.kinds("failing") == ["started", "failed"]


async def test_a_failed_step_leaves_no_record_and_the_others_stay(world):
    good = Fake("good")
    with pytest.raises(StepFailed):
        await solve(world, Fake("bad", (good,), error=StepFailed("RUN", status=2)))
    good, bad = Fake("good"), Fake("bad", ())
    bad.inputs = (good,)
    await solve(world, bad)
    assert [good.runs, bad.runs] == [0, 1]


@pytest.mark.parametrize(
    ("error", "kind"),
    [(OSError(28, "No space left on device"), NoSpace), (OSError(13, "denied"), BuildError)],
)
async def test_what_the_system_raises_names_the_step(world, error, kind):
    with pytest.raises(kind, match="RUN make") as caught:
        await solve(world, Fake("RUN make", error=error))
    assert caught.value.__cause__ is error


async def test_two_builds_in_one_process_share_a_running_vertex(world):
    async with world.cache() as cache:
        solver = world.solver(cache)
        first, second = Fake("same", gate=asyncio.Event()), Fake("same")
        one = asyncio.ensure_future(solver.solve([first]))
        await first.entered.wait()
        two = asyncio.ensure_future(solver.solve([second]))
        await asyncio.sleep(0.05)
        assert not two.done()
        first.gate.set()
        assert (await one).snapshots == (await two).snapshots
        assert [first.runs, second.runs] == [1, 0]


async def test_a_build_takes_over_what_a_cancelled_build_was_running(world):
    async with world.cache() as cache:
        solver = world.solver(cache)
        first, second = Fake("same", gate=asyncio.Event()), Fake("same")
        one = asyncio.ensure_future(solver.solve([first]))
        await first.entered.wait()
        two = asyncio.ensure_future(solver.solve([second]))
        await asyncio.sleep(0.05)
        one.cancel()
        assert (await two).snapshots == (Snapshot("same"),)
        with pytest.raises(asyncio.CancelledError):
            await one
        assert first.cancelled
        assert second.runs == 1


async def test_cancelling_a_solve_cancels_its_ops_and_ends(world):
    op = Fake("slow", gate=asyncio.Event())
    task = asyncio.ensure_future(solve(world, Fake("top", (op,))))
    await op.entered.wait()
    task.cancel()
    async with asyncio.timeout(2):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert op.cancelled


async def test_output_that_ends_inside_a_character_is_put_together(world):
    @dataclass(eq=False)
    class Talking(Fake):
        async def run(self, inputs, work):
            text = "é€😀".encode()
            for n in range(len(text)):
                work.log(text[n : n + 1])

    await solve(world, Talking("talk"))
    assert "".join(e.text for e in world.events if e.kind == "log") == "é€😀"


async def test_a_vertex_without_a_name_is_never_reported(world):
    await solve(world, Fake("top", (Fake(""),)))
    await solve(world, Fake("top", (Fake(""),)))
    assert {e.name for e in world.events} == {"top"}


async def test_cached_steps_are_told_in_the_order_of_the_graph(world):
    await solve(world, diamond()[-1])
    world.events.clear()
    await solve(world, diamond()[-1])
    assert [e.name for e in world.events] == ["base", "left", "right", "top"]


async def test_progress_tells_each_steps_story(world):
    await solve(world, Fake("top", (Fake("base"),)))
    assert world.kinds("base") == ["started", "log", "done"]
    assert world.kinds("top") == ["started", "log", "done"]
    keys = {e.name: e.key for e in world.events}
    assert len(set(keys.values())) == 2
