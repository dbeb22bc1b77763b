"""Cache keys: pinned, so that a change of them is never an accident."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from argosy.build.dockerfile.plan import (
    BindMount,
    CacheMount,
    CopyStep,
    InlineFile,
    InlineMount,
    RunStep,
    SecretMount,
    TmpfsMount,
    WorkdirStep,
)
from argosy.build.dockerfile.source import SourceRange
from argosy.build.files.tree import Tree
from argosy.build.graph import CacheKey, Snapshot
from argosy.build.steps.mounts import Attached
from argosy.build.steps.ops import Copy, Image, Linked, Run, Scratch, Workdir
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.platform import Platform

GOLDEN = Path(__file__).parent / "golden" / "cache_keys.json"
PARENT = CacheKey(Digest.of(b"parent"))
STAGE = CacheKey(Digest.of(b"stage"))
WHERE = SourceRange(file="Dockerfile", first=3, last=3)
AMD64 = Platform.parse("linux/amd64")

COPY = CopyStep(name="COPY a /b", where=WHERE, origin=None, sources=("a",), dest="/b/")
RUN = RunStep(
    name="RUN make",
    where=WHERE,
    args=("/bin/sh", "-c", "make"),
    env=(("A", "1"), ("PATH", "/bin")),
    cwd="/src",
    user="app",
    platform=AMD64,
)


@pytest.fixture
def context(tmp_path):
    (tmp_path / "a").write_text("content")
    os.chmod(tmp_path / "a", 0o644)
    (tmp_path / "d").mkdir()
    os.chmod(tmp_path / "d", 0o755)
    (tmp_path / "d/x").write_text("x")
    os.chmod(tmp_path / "d/x", 0o755)
    return str(tmp_path)


def image(**more):
    layer = Descriptor(media_type="application/x", digest=Digest.of(b"blob"), size=4)
    fields = {
        "name": "FROM x",
        "manifest": Descriptor(media_type="application/m", digest=Digest.of(b"m"), size=1),
        "layers": (layer,),
        "diff_ids": (Digest.of(b"diff"),),
        "source": None,
    }
    return Image(**{**fields, **more})


def copy(origin, **more):
    return Copy(name="[1/2] COPY", parent=Scratch(), origin=origin, step=replace(COPY, **more))


def run(*mounts, **more):
    return Run(name="RUN", parent=Scratch(), step=replace(RUN, **more), attached=mounts)


def graph(context):
    tree = Tree(context)
    return {
        "scratch": Scratch(),
        "image": image(),
        "workdir": Workdir(
            name="W", parent=Scratch(), step=WorkdirStep(name="W", where=WHERE, path="/w", user="u")
        ),
        "copy from context": copy(tree),
        "copy a directory": copy(tree, sources=("d",)),
        "copy with flags": copy(tree, chown="1:2", chmod="u=rwX", exclude=("*.md",), parents=True),
        "copy from stage": copy(Scratch()),
        "copy inline": copy(tree, sources=(), files=(InlineFile(name="EOF", data=b"hi"),)),
        "add": copy(tree, unpack="local"),
        "linked": Linked(parent=Scratch(), layer=copy(tree)),
        "run": run(),
        "run without network": run(network="none"),
        "run with mounts": run(
            Attached(BindMount(target="/c", origin=None, source="d"), tree),
            Attached(BindMount(target="/s", origin=None), Scratch()),
            Attached(CacheMount(target="/cache", id="x")),
            Attached(TmpfsMount(target="/t", size=5)),
            Attached(SecretMount(id="s")),
            Attached(InlineMount(target="/dev/pipes/EOF", data=b"#!/bin/sh\n")),
        ),
    }


async def keys_of(ops):
    found = {}
    for name, op in ops.items():
        key = await op.cache_key([PARENT, STAGE][: len(op.inputs)])
        found[name] = str(key.fast)
    return found


async def fast(op):
    return (await op.cache_key([PARENT, STAGE][: len(op.inputs)])).fast


async def test_keys_are_those_of_the_golden_file(context):
    """On a change that is meant: raise the version in the op's key, then set ARGOSY_GOLDEN=1 once."""
    found = await keys_of(graph(context))
    if os.environ.get("ARGOSY_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(found, indent=2) + "\n")
    assert found == json.loads(GOLDEN.read_text())
    assert len(set(found.values())) == len(found)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "RUN something else"},
        {"where": SourceRange(file="Other", first=9, last=9)},
        {"proxy": (("http_proxy", "http://user:secret@proxy"),)},
    ],
)
async def test_what_people_see_and_proxies_are_no_part_of_the_key(change):
    assert await fast(run(**change)) == await fast(run())


@pytest.mark.parametrize(
    "change",
    [
        {"args": ("/bin/sh", "-c", "make all")},
        {"env": (("A", "2"), ("PATH", "/bin"))},
        {"cwd": "/"},
        {"user": ""},
        {"network": "host"},
        {"platform": Platform.parse("linux/arm64")},
    ],
)
async def test_all_that_a_command_sees_is_part_of_its_key(change):
    assert await fast(run(**change)) != await fast(run())


@pytest.mark.parametrize(
    "change",
    [
        {"dest": "/c/"},
        {"chown": "1"},
        {"chmod": "755"},
        {"exclude": ("x",)},
        {"parents": True},
        {"unpack": "local"},
        {"sources": ("d",)},
        {"files": (InlineFile(name="a", data=b"x"),)},
    ],
)
async def test_all_that_a_copy_does_is_part_of_its_key(context, change):
    tree = Tree(context)
    assert await fast(copy(tree, **change)) != await fast(copy(tree))


async def test_the_parent_is_part_of_every_key(context):
    for op in (copy(Tree(context)), run(), graph(context)["workdir"]):
        one = await op.cache_key([PARENT, STAGE][: len(op.inputs)])
        two = await op.cache_key([STAGE, STAGE][: len(op.inputs)])
        assert one.fast != two.fast


async def test_an_image_is_keyed_by_what_it_unpacks_to(context):
    other = Descriptor(media_type="application/m", digest=Digest.of(b"other"), size=9)
    assert await fast(image(manifest=other, name="FROM y")) == await fast(image())
    assert await fast(image(diff_ids=(Digest.of(b"2"),))) != await fast(image())


async def test_the_cache_mounts_id_and_a_secrets_content_are_no_part_of_the_key():
    one = run(Attached(CacheMount(target="/c", id="1")), Attached(SecretMount(id="s")))
    two = run(Attached(CacheMount(target="/c", id="2")), Attached(SecretMount(id="s")))
    assert await fast(one) == await fast(two)


async def test_a_copy_from_a_stage_has_a_slow_key_of_what_it_uses(bench, context):
    """Two stages with other keys and the same used files: other fast keys, one slow key."""

    async def slow(files, parent=PARENT):
        async with bench.snapshots.edit(None) as workspace:
            for name, text in files.items():
                with open(os.path.join(workspace.root, name), "w") as f:
                    f.write(text)
            snapshot = await bench.snapshots.commit(workspace)
        key = await copy(Scratch()).cache_key([parent, STAGE])
        assert key.content == (1,)
        return await key.slow([snapshot], Mini(bench))

    class Mini:
        def __init__(self, bench):
            self.snapshots = bench.snapshots

    first = await slow({"a": "1", "unused": "1"})
    assert await slow({"a": "1", "unused": "2"}) == first
    assert await slow({"a": "2", "unused": "1"}) != first
    assert await slow({"a": "1", "unused": "1"}, STAGE) != first


def test_a_snapshot_knows_its_chain():
    top = Snapshot("c", Snapshot("b", Snapshot("a")))
    assert top.chain == ("a", "b", "c")
