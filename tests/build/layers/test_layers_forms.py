"""Builds in forms with a table of contents: manifests, configs and layers that belong together."""

import io
import json
import tarfile

import pytest

from argosy.build.layers.compression import NAMES, decompressed
from argosy.build.options import BuildOptions, Output
from argosy.build.pipeline import build
from argosy.content.verify import read
from argosy.errors import UsageError
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest

MARKS = {
    "estargz": "containerd.io/snapshot/stargz/toc.digest",
    "zstd:chunked": "io.github.containers.zstd-chunked.manifest-checksum",
}
WORDS = ["uncompressed" if name == "none" else name for name in NAMES]


async def run(bench, *outputs, dockerfile="FROM scratch\nRUN write /x 1\n", tags=()):
    context = bench.context({"Dockerfile": dockerfile})
    options = BuildOptions(context=context, outputs=tuple(map(Output.parse, outputs)), tags=tags)
    return await build(options, settings=bench.settings, ends=bench.ends, engine=bench.engine)


async def image_of(store, desc):
    """Layers' descriptors, what they unpack to, and the config's diffIDs."""
    manifest = json.loads(await read(store, desc))
    layers = [Descriptor.from_json(layer) for layer in manifest["layers"]]
    plain = [b"".join(decompressed([await read(store, layer)])) for layer in layers]
    config = json.loads(await read(store, Descriptor.from_json(manifest["config"])))
    return layers, plain, config["rootfs"]["diff_ids"]


@pytest.mark.parametrize("word", WORDS)
async def test_the_config_has_the_diff_ids_of_the_layers_in_every_form(bench, word):
    result = await run(bench, f"type=image,name=localhost/a:1,compression={word}")
    layers, plain, diff_ids = await image_of(bench.images, result.descriptor)
    assert [Digest.of(tar) for tar in plain] == diff_ids
    assert (MARKS.get(word) in layers[0].annotations) == (word in MARKS)
    with tarfile.open(fileobj=io.BytesIO(plain[0])) as archive:
        assert archive.extractfile("x").read() == b"1"


@pytest.mark.parametrize("word", WORDS)
async def test_a_second_build_finds_the_layers_in_their_form(bench, word):
    first = await run(bench, f"type=image,name=localhost/a:1,compression={word}")
    again = await run(bench, f"type=image,name=localhost/a:1,compression={word}")
    assert again.descriptor == first.descriptor
    assert len(bench.snapshots.packed) == 1


@pytest.mark.parametrize("word", WORDS)
async def test_force_compression_gives_the_layers_of_the_base_the_same_form(bench, word):
    await run(bench, tags=("localhost/base:1",))
    dockerfile = "FROM localhost/base:1\nRUN write /y 2\n"
    attributes = f"type=image,name=localhost/b:1,compression={word},force-compression=true"
    result = await run(bench, attributes, dockerfile=dockerfile)
    layers, plain, diff_ids = await image_of(bench.images, result.descriptor)
    assert len(layers) == 2
    assert len({layer.media_type for layer in layers}) == 1
    assert [Digest.of(tar) for tar in plain] == diff_ids
    if word in MARKS:
        assert all(MARKS[word] in layer.annotations for layer in layers)
    again = await run(bench, attributes, dockerfile=f"{dockerfile}LABEL a=b\n")
    assert (await image_of(bench.images, again.descriptor))[0] == layers


@pytest.mark.parametrize("word", sorted(MARKS))
async def test_a_step_that_changed_nothing_makes_no_layer_in_these_forms_either(bench, word):
    dockerfile = "FROM scratch\nRUN write /x 1\nRUN true\n"
    attributes = f"type=image,name=localhost/a:1,compression={word}"
    result = await run(bench, attributes, dockerfile=dockerfile)
    assert len((await image_of(bench.images, result.descriptor))[0]) == 1


async def test_an_image_with_a_table_of_contents_is_a_base_as_any_other(bench):
    await run(bench, "type=image,name=localhost/base:1,compression=estargz")
    result = await run(bench, dockerfile="FROM localhost/base:1\nRUN write /y 2\n")
    layers, plain, diff_ids = await image_of(bench.images, result.descriptor)
    assert MARKS["estargz"] in layers[0].annotations
    assert [Digest.of(tar) for tar in plain] == diff_ids


@pytest.mark.parametrize("word", sorted(MARKS))
def test_docker_media_types_have_no_such_form(word):
    with pytest.raises(UsageError) as failed:
        Output.parse(f"type=image,oci-mediatypes=false,compression={word}")
    assert "OCI media types" in failed.value.why
