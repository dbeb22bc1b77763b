"""Builds that share a remote cache, with snapshots that are plain directories."""

import base64
import json
import os
from contextlib import nullcontext

import pytest

from argosy.build.pipeline import BuildOptions, build
from argosy.build.remote_cache.shelf import INLINE, read_shelf
from argosy.build.remote_cache.words import CacheFrom, CacheTo
from argosy.content.graph import manifest
from argosy.content.verify import read
from argosy.errors import BuildError
from argosy.model.platform import Platform
from tests.build.conftest import Bench, DirectorySnapshotter, WordExecute

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
REF = "example.com/app:cache"
DOCKERFILE = """
FROM scratch AS make
COPY source /source
RUN write /made 1
FROM scratch
COPY --from=make /made /app/made
RUN write /last 2
"""
FILES = {"source": "text"}


@pytest.fixture
def machine(tmp_path):
    """A new machine; all of them share the registries."""
    if os.geteuid() != 0:
        pytest.skip("needs root: files of an image have owners")
    remote = {}
    count = 0

    def start():
        nonlocal count
        count += 1
        path = tmp_path / f"machine-{count}"
        path.mkdir()
        execute = WordExecute()
        return Bench(str(path), DirectorySnapshotter(path / "snapshots"), execute, remote=remote)

    return start


async def make(bench, dockerfile=DOCKERFILE, files=None, *, to=(), source=(), **options):
    context = bench.context({"Dockerfile": dockerfile, **(files or FILES)})
    bench.events.clear()
    return await build(
        BuildOptions(
            context=context,
            **{"tags": ("example.com/app:1",), **options},
            cache_to=tuple(CacheTo.parse(t) for t in to),
            cache_from=tuple(CacheFrom.parse(f) for f in source),
        ),
        settings=bench.settings,
        ends=bench.ends,
        report=bench.events.append,
        engine=bench.engine,
    )


def warnings(bench):
    return [e.text for e in bench.events if e.kind == "warning"]


async def shelf_of(store, tag="cache"):
    return await read_shelf(store, await store.resolve(tag))


@pytest.mark.parametrize("mode", ["min", "max"])
async def test_another_machine_has_full_hits_and_the_same_image(machine, mode):
    one, two = machine(), machine()
    first = await make(one, to=[f"type=registry,ref={REF},mode={mode}"])
    second = await make(two, source=[REF])
    assert (first.cached, second.steps, second.cached) == (0, 4, 4)
    assert two.execute.processes == []
    assert two.snapshots.applied == []
    assert second.digest == first.digest
    assert warnings(two) == []


async def test_a_change_late_in_the_file_hits_what_is_below_it(machine):
    one, two = machine(), machine()
    await make(one, to=[f"{REF}"])
    result = await make(two, DOCKERFILE.replace("/last 2", "/last 3"), source=[REF])
    assert [p.args[-1] for p in two.execute.processes] == ["write /last 3"]
    assert result.cached == 3


async def test_min_has_the_image_only_and_max_the_other_stages_too(machine):
    one, two, three = machine(), machine(), machine()
    await make(one, to=[f"type=registry,ref={REF}", f"type=registry,ref={REF}-max,mode=max"])
    changed = DOCKERFILE.replace("/made /app/made", "/made /app/other")
    await make(two, changed, source=[REF])
    await make(three, changed, source=[f"{REF}-max"])
    assert [p.args[-1] for p in two.execute.processes] == ["write /made 1", "write /last 2"]
    assert [p.args[-1] for p in three.execute.processes] == ["write /last 2"]


async def test_a_step_whose_stage_came_out_the_same_hits_by_content(machine):
    one, two = machine(), machine()
    await make(one, to=[f"type=registry,ref={REF},mode=max"])
    # Another definition of the stage, the same file in the end.
    changed = DOCKERFILE.replace("RUN write /made 1", "RUN true && write /made 1")
    await make(two, changed, source=[REF])
    assert [p.args[-1] for p in two.execute.processes] == ["true && write /made 1"]


@pytest.mark.parametrize("mode", ["min", "max"])
async def test_a_linked_layer_is_found_below_whatever_it_comes_to_lie_on(machine, mode):
    one, two = machine(), machine()
    dockerfile = "FROM scratch\nRUN write /base 1\nCOPY --link source /linked\n"
    await make(one, dockerfile, to=[f"type=registry,ref={REF},mode={mode}"])
    await make(two, dockerfile.replace("/base 1", "/base 2"), source=[REF])
    assert [p.args[-1] for p in two.execute.processes] == ["write /base 2"]
    assert "[stage-0 2/2] COPY --link source /linked" in two.lines("cached")
    assert two.snapshots.applied == []


async def test_a_build_that_was_all_cache_exports_every_record(machine):
    one, two = machine(), machine()
    await make(one)
    result = await make(one, to=[f"type=registry,ref={REF},mode=max"])
    assert result.cached == result.steps
    await make(two, DOCKERFILE.replace("/app/made", "/app/other"), source=[REF])
    assert [p.args[-1] for p in two.execute.processes] == ["write /last 2"]


async def test_what_was_hit_remotely_is_exported_onwards(machine):
    one, two, three = machine(), machine(), machine()
    first = await make(one, to=[REF])
    await make(two, source=[REF], to=["example.com/other:cache"])
    third = await make(three, source=["example.com/other:cache"])
    assert (third.cached, third.digest) == (4, first.digest)


async def test_a_local_directory_is_a_cache_too(machine, tmp_path):
    one, two = machine(), machine()
    directory = one.repository_of("directory")

    def archive(kind, path):
        return nullcontext(directory)

    one.archive = two.archive = archive
    first = await make(one, to=["type=local,dest=/cache,mode=max,tag=main"])
    second = await make(two, source=["type=local,src=/cache,tag=main"])
    assert (second.cached, second.digest) == (4, first.digest)
    root = await directory.resolve("main")
    three = machine()
    three.archive = archive
    third = await make(three, source=[f"type=local,src=/cache,digest={root.digest}"])
    assert third.cached == 4


async def test_an_image_carries_its_own_records(machine):
    one, two, three = machine(), machine(), machine()
    first = await make(one, to=["type=inline"], push=True, load=True)
    second = await make(two, source=["example.com/app:1"], to=["type=inline"])
    assert (second.cached, second.digest) == (4, first.digest)
    third = await make(three)
    assert third.digest != first.digest
    view = await manifest(one.images, first.descriptor)
    config = json.loads(await read(one.images, view.config))
    assert b"sha256:" in base64.b64decode(config[INLINE])


async def test_platforms_built_on_different_machines_are_all_kept(machine):
    one, two, three = machine(), machine(), machine()
    dockerfile = "FROM scratch\nRUN platform /here\n"
    await make(one, dockerfile, to=[REF], platforms=(AMD64,))
    await make(two, dockerfile, to=[REF], platforms=(ARM64,))
    result = await make(three, dockerfile, source=[REF], platforms=(AMD64, ARM64))
    assert (result.steps, result.cached) == (2, 2)


async def test_an_export_that_says_nothing_new_writes_nothing(machine):
    one = machine()
    await make(one, to=[REF])
    store = one.repository_of("example.com/app")
    before = await store.resolve("cache")
    await make(one, to=[REF])
    assert await store.resolve("cache") == before


async def test_a_cache_is_never_written_over_an_image(machine):
    one = machine()
    await make(one, push=True)
    with pytest.raises(BuildError, match="not written") as e:
        await make(one, to=["example.com/app:1"])
    assert "an image stands under that name" in e.value.why


async def test_a_missing_cache_is_no_problem(machine):
    one = machine()
    result = await make(one, source=[REF, "type=registry,ref=example.com/none:x"])
    assert result.cached == 0
    assert warnings(one) == []
    assert any("nothing there yet" in e.text for e in one.events if e.kind == "done")
