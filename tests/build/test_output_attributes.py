"""The attributes of --output: read as BuildKit's, honoured, or refused with the reason."""

import json
import os
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.build.annotations import Annotation, Annotations
from argosy.build.layers.compression import Compression
from argosy.build.options import BuildOptions, Output
from argosy.build.output_words import Wish
from argosy.build.pipeline import build
from argosy.build.results.outputs import check
from argosy.build.telling import Telling
from argosy.content.verify import read
from argosy.errors import ArgosyError, UsageError
from argosy.model import media
from argosy.model.platform import Platform

ARM, AMD = Platform.parse("linux/arm64"), Platform.parse("linux/amd64")


@pytest.mark.parametrize(
    ("words", "wish"),
    [
        ("compression=zstd", Wish(compression=Compression(name="zstd"))),
        ("compression=uncompressed", Wish(compression=Compression(name="none"))),
        ("compression=gzip", Wish()),
        ("compression-level=1", Wish(compression=Compression(level=1))),
        ("force-compression=true", Wish(recompresses_bases=True)),
        ("oci-mediatypes=false", Wish(docker_types=True)),
        ("oci-mediatypes=true", Wish()),
        ("source-date-epoch=7", Wish(epoch=7)),
        ("rewrite-timestamp=false", Wish(rewrites_times=False)),
        ("push-by-digest=true", Wish(by_digest=True)),
        ("name-canonical=1", Wish(canonical=True)),
        ("dangling-name-prefix=x/y", Wish(dangling_prefix="x/y")),
        ("store=false", Wish(store=False)),
        ("unpack=false,registry.insecure=0", Wish()),
        ("annotation.A.b=C", Wish(annotations=(Annotation("A.b", "C"),))),
        (
            "annotation-manifest-descriptor[linux/arm64].k=v",
            Wish(annotations=(Annotation("k", "v", "manifest-descriptor", ARM),)),
        ),
    ],
)
def test_attributes_of_an_image_are_read(words, wish):
    assert Output.parse(f"type=image,{words}").wish == wish


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("type=image,unpack=true", "engine"),
        ("type=image,registry.insecure=true", "tls-verify"),
        ("type=local,dest=x,attestation-prefix=y", "attestations"),
        ("type=image,compresion=zstd", "did you mean 'compression'"),
        ("type=image,compression=brotli", "gzip"),
        ("type=image,compression-level=x", "whole number"),
        ("type=image,oci-mediatypes=false,compression=zstd", "OCI media types"),
        ("type=image,oci-mediatypes=false,annotation.a=b", "OCI media types"),
        ("type=image,annotation-what.a=b", "not one of"),
        ("type=tar,annotation.a=b", "annotation"),
        ("type=local,dest=x,mode=burn", "copy or delete"),
        ("type=cacheonly,dest=x", "no 'dest'"),
        ("type=image,source-date-epoch=soon", "seconds"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_the_reason(text, why):
    with pytest.raises(UsageError) as failed:
        Output.parse(text)
    assert why in f"{failed.value.summary} {failed.value.why}"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("key", [("manifest", None)]),
        ("index:key", [("index", None)]),
        ("index,manifest[linux/arm64]:key", [("index", None), ("manifest", ARM)]),
        (
            "index-descriptor,manifest-descriptor:key",
            [("index-descriptor", None), ("manifest-descriptor", None)],
        ),
    ],
)
def test_annotations_are_read_as_buildx_reads_them(name, found):
    assert [(a.level, a.platform) for a in Annotation.parse(name, "v")] == found
    assert {a.key for a in Annotation.parse(name, "v")} == {"key"}


@given(st.text(max_size=40))
def test_any_name_is_an_annotation_or_refused(name):
    try:
        assert Annotation.parse(name, "v")
    except ArgosyError:
        return


@pytest.mark.parametrize("name", ["index:k", "index-descriptor:k", "manifest[linux/arm64]:k"])
def test_an_annotation_without_its_place_is_an_error(name):
    with pytest.raises(UsageError):
        Annotations.parse({name: "v"}).check([AMD])


@pytest.mark.parametrize(
    "outputs",
    [
        ("type=image,source-date-epoch=1", "type=oci,dest=x,source-date-epoch=2"),
        ("type=registry,name=localhost/a:1,push-by-digest=true",),
    ],
)
def test_outputs_that_contradict_each_other_are_refused(outputs):
    with pytest.raises(UsageError):
        check(BuildOptions(context=".", outputs=tuple(map(Output.parse, outputs))))


async def run(bench, *outputs, dockerfile="FROM scratch\nRUN write /x 1\n", **options):
    context = bench.context({"Dockerfile": dockerfile})
    given = BuildOptions(context=context, outputs=tuple(map(Output.parse, outputs)), **options)
    return await build(given, settings=bench.settings, ends=bench.ends, engine=bench.engine)


async def manifest_of(store, desc):
    return json.loads(await read(store, desc))


async def test_each_output_has_its_own_form_and_steps_run_once(bench):
    result = await run(
        bench,
        "type=image,name=one",
        "type=oci,dest=zstd.tar,compression=zstd",
        "type=oci,dest=docker.tar,oci-mediatypes=false",
        "type=oci,dest=plain.tar,compression=uncompressed",
    )
    assert len(bench.execute.processes) == 1
    first = await manifest_of(bench.images, result.descriptor)
    assert first["layers"][0]["mediaType"] == media.OCI_LAYER_GZIP
    assert sorted(path for _, path in bench.archives) == ["docker.tar", "plain.tar", "zstd.tar"]


async def test_zstd_is_pushed_while_gzip_stays_here(bench):
    result = await run(
        bench, "type=image,name=localhost/a:1", "type=registry,name=localhost/b:1,compression=zstd"
    )
    there = bench.repository_of("localhost/b")
    pushed = await manifest_of(there, await there.resolve("1"))
    here = await manifest_of(bench.images, result.descriptor)
    assert pushed["layers"][0]["mediaType"] == media.OCI_LAYER_ZSTD
    assert here["layers"][0]["mediaType"] == media.OCI_LAYER_GZIP
    assert pushed["config"] == here["config"], "the same image, written in two ways"
    assert len(bench.snapshots.packed) == 1, "packed once, recompressed for the other form"


async def test_docker_types_are_used_at_every_level(bench):
    result = await run(bench, "type=image,oci-mediatypes=false,name=a", platforms=(AMD, ARM))
    index = await manifest_of(bench.images, result.descriptor)
    manifest = await manifest_of(bench.images, result.manifests[0])
    assert index["mediaType"] == media.DOCKER_LIST
    assert manifest["mediaType"] == media.DOCKER_MANIFEST
    assert manifest["config"]["mediaType"] == media.DOCKER_CONFIG
    assert manifest["layers"][0]["mediaType"] == media.DOCKER_LAYER_GZIP


async def test_a_push_by_digest_sets_no_tag(bench):
    result = await run(bench, "type=image,name=localhost/a,push=true,push-by-digest=true")
    there = bench.repository_of("localhost/a")
    assert await there.exists(result.descriptor)
    with pytest.raises(ArgosyError):
        await there.resolve("latest")


async def test_canonical_and_dangling_names_are_kept_here(bench):
    result = await run(bench, "type=image,name=localhost/a:1,name-canonical=true")
    assert await bench.images.resolve(f"localhost/a@{result.digest}") == result.descriptor
    result = await run(bench, "type=image,dangling-name-prefix=localhost/none")
    assert await bench.images.resolve(f"localhost/none@{result.digest}") == result.descriptor


async def test_annotations_go_to_their_levels_and_platforms(bench):
    result = await run(
        bench,
        platforms=(AMD, ARM),
        annotations={
            "index,manifest:both": "1",
            "manifest[linux/arm64]:arm": "2",
            "manifest-descriptor[linux/amd64]:entry": "3",
            "index-descriptor:top": "4",
        },
    )
    index = await manifest_of(bench.images, result.descriptor)
    amd, arm = [await manifest_of(bench.images, m) for m in result.manifests]
    assert index["annotations"] == {"both": "1"}
    assert (amd["annotations"], arm["annotations"]) == ({"both": "1"}, {"both": "1", "arm": "2"})
    assert [e.get("annotations") for e in index["manifests"]] == [{"entry": "3"}, None]
    assert result.descriptor.annotations == {"top": "4"}


async def test_mode_delete_leaves_only_the_result(bench, tmp_path):
    out = tmp_path / "out"
    (out / "old").mkdir(parents=True)
    (out / "x").mkdir()
    (out / "old" / "f").write_text("")
    await run(bench, f"type=local,dest={out},mode=delete")
    assert os.listdir(out) == ["x"]
    assert (out / "x").read_text() == "1"


async def test_mode_delete_refuses_the_directory_it_was_started_in(bench, monkeypatch, tmp_path):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    with pytest.raises(UsageError, match="would empty"):
        await run(bench, f"type=local,dest={tmp_path},mode=delete")


@pytest.mark.parametrize(("split", "name"), [("true", "linux_amd64/x"), ("false", "x")])
async def test_platform_split_can_be_chosen(bench, tmp_path, split, name):
    await run(bench, f"type=tar,dest={tmp_path}/o.tar,platform-split={split}", platforms=(AMD,))
    with tarfile.open(tmp_path / "o.tar") as tar:
        assert name in [n.removeprefix("./") for n in tar.getnames()]


async def test_a_base_is_named_unless_the_image_is_to_tell_nothing(bench):
    await run(bench, tags=("localhost/base:1",))
    told = await run(bench, dockerfile="FROM localhost/base:1\nRUN write /y 2\n")
    silent = await run(
        bench,
        dockerfile="FROM localhost/base:1\nRUN write /y 2\n",
        telling=Telling.parse(["none"], {}),
    )
    notes = (await manifest_of(bench.images, told.descriptor))["annotations"]
    assert notes["org.opencontainers.image.base.name"] == "localhost/base:1"
    assert notes["org.opencontainers.image.base.digest"].startswith("sha256:")
    assert "annotations" not in await manifest_of(bench.images, silent.descriptor)
