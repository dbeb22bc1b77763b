"""Blobs that rot on this machine's disk: found when they are read, and made or fetched again."""

import os

import pytest

from argosy.build.options import Ends
from argosy.build.pipeline import BuildOptions, build
from argosy.content.graph import manifest
from argosy.content.memory import MemoryStore
from argosy.content.verify import missing
from argosy.errors import CopyError
from argosy.model.platform import Platform
from argosy.stores.layout import OCILayout
from tests.build.test_pipeline_build import put_base


def flip(path):
    """One bit, in the middle: the size stays."""
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


async def make(bench, dockerfile, images, **options):
    bench.events.clear()
    return await build(
        BuildOptions(
            context=bench.context({"Dockerfile": dockerfile, "a": "text"}),
            tags=("example.com/app:1",),
            push=True,
            **options,
        ),
        settings=bench.settings,
        ends=Ends(images=images, repository=bench.repository, archive=bench.archive),
        report=bench.events.append,
        engine=bench.engine,
    )


@pytest.fixture
def images(bench):
    bench.images = OCILayout(os.path.join(bench.path, "images"), durable=False)
    return bench.images


@pytest.mark.parametrize("which", ["own", "base"])
async def test_a_flipped_bit_is_found_by_a_push_and_the_layer_had_anew(bench, images, which):
    await put_base(bench.repository_of("example.com/base"), "1", [Platform.host()])
    dockerfile = "FROM example.com/base:1\nRUN write /x 1\n"
    first = await make(bench, dockerfile, images, load=True)
    layers = (await manifest(bench.repository_of("example.com/app"), first.descriptor)).layers
    damaged = layers[1 if which == "own" else 0]
    flip(images.blob_path(damaged.digest))
    bench.remote["example.com/app"] = MemoryStore()
    again = await make(bench, dockerfile, images)
    assert (again.digest, again.cached) == (first.digest, 1)
    assert await missing(bench.remote["example.com/app"], again.descriptor) == []
    assert any(e.kind == "warning" and damaged.digest in e.text for e in bench.events)


async def test_damage_elsewhere_is_not_healed_here_but_said(bench, images):
    remote = bench.repository_of("example.com/base")
    await put_base(remote, "1", [Platform.host()])
    dockerfile = "FROM example.com/base:1\nCOPY --link a /\n"
    view = await manifest(remote, await remote.resolve("1"))
    body = bytearray(remote._blobs[view.layers[0].digest])
    body[-1] ^= 1
    remote._blobs[view.layers[0].digest] = bytes(body)
    with pytest.raises(CopyError, match="digest"):
        await make(bench, dockerfile, images)
    assert bench.remote["example.com/app"]._tags == {}
