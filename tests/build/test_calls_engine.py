"""`--check` and its kin, the engine's side: what is looked up, what is left out, what a build tells."""

import base64
import json
import os

import pytest

from argosy.build.calls import call_check, call_outline, call_targets
from argosy.build.pipeline import BuildOptions, build
from argosy.content.store import put_bytes
from argosy.errors import DockerfileError, NotFound, UsageError
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.manifest import dump
from argosy.model.platform import Platform

AMD64 = Platform.parse("linux/amd64")
ARM64 = Platform.parse("linux/arm64")


def options(bench, dockerfile, files=None, **more):
    context = bench.context({"Dockerfile": dockerfile, **(files or {})})
    return BuildOptions(context=context, **{"platforms": (AMD64,), **more})


async def put_image(store, ref, platform, **config):
    """An image without layers; only its config is of interest."""
    raw = {
        **platform.to_json(),
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    body = dump(raw)
    desc = await put_bytes(store, Descriptor.of(media.OCI_CONFIG, body), body)
    view = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": desc.to_json(),
        "layers": [],
    }
    found = dump(view)
    root = await put_bytes(store, Descriptor.of(media.OCI_MANIFEST, found), found)
    await store.tag(root, ref)


async def checked(bench, dockerfile, files=None, **more):
    return await call_check(options(bench, dockerfile, files, **more), bench.settings, bench.ends)


def names(seen):
    return [f.rule.name for f in seen.findings]


async def test_a_check_knows_what_the_base_image_sets(bench):
    store = bench.repository_of("example.com/base")
    await put_image(store, "1", AMD64, Env=["HERE=x", "PATH=/bin"], User="1000", Cmd=["run"])
    seen = await checked(bench, "FROM example.com/base:1\nCOPY $HERE $ELSEWHERE /\n")
    assert [f.detail for f in seen.findings] == ["Usage of undefined variable '$ELSEWHERE'"]
    assert seen.status == 1
    assert not seen.unseen


async def test_a_base_that_cannot_be_had_leaves_out_the_checks_that_need_it(bench):
    seen = await checked(bench, "from example.com/base:1 AS b\ncopy $x /\n")
    assert names(seen) == ["FromAsCasing"]
    assert seen.unseen[0].startswith("example.com/base:1: ")


async def test_a_base_for_another_platform_is_a_finding(bench):
    store = bench.repository_of("example.com/base")
    await put_image(store, "1", ARM64, User="1000")
    seen = await checked(bench, "FROM example.com/base:1\n")
    assert [f.detail for f in seen.findings] == [
        (
            'Base image example.com/base:1 was pulled with platform "linux/arm64",'
            ' expected "linux/amd64" for current build'
        )
    ]


async def test_advice_is_shown_and_fails_nothing(bench):
    seen = await checked(bench, 'FROM scratch\nCMD ["/a"]\n')
    assert (names(seen), seen.status) == (["FinalUserRoot"], 0)


async def test_a_check_without_a_target_takes_all_stages_with_one_those_it_needs(bench):
    text = "FROM scratch AS a\nCOPY $x /\nFROM scratch AS b\nCOPY $y /\n"
    assert len((await checked(bench, text)).findings) == 2
    assert len((await checked(bench, text, target="a")).findings) == 1


async def test_the_ignore_file_counts(bench):
    files = {".dockerignore": "secret\n", "secret": "x"}
    assert names(await checked(bench, "FROM scratch\nCOPY secret /\n", files)) == [
        "CopyIgnoredFile"
    ]


async def test_an_error_is_part_of_the_answer_with_what_was_found_above_it(bench):
    seen = await checked(bench, "FROM scratch AS BIG\nRNU x\n")
    assert names(seen) == ["StageNameCasing"]
    assert seen.status == 1
    value = seen.to_json()
    assert value["buildError"] == {
        "message": "there is no instruction RNU",
        "location": {"ranges": [{"start": {"line": 2}, "end": {"line": 2}}]},
    }
    assert value["warnings"][0]["ruleName"] == "StageNameCasing"
    source = base64.b64decode(value["sources"][0]["data"]).decode()
    assert source == "FROM scratch AS BIG\nRNU x\n"


async def test_a_check_runs_nothing_and_makes_nothing(bench):
    await checked(bench, 'FROM scratch\nRUN ["write", "/x", "1"]\n')
    assert not bench.events


async def test_an_outline_does_not_need_the_base_images(bench):
    given = options(bench, "ARG V=1\nFROM example.com/base:$V AS b\nARG TOKEN\n")
    found = await call_outline(given, bench.settings, bench.ends)
    assert [a.name for a in found.args] == ["V", "TOKEN"]


async def test_targets_look_nothing_up(bench):
    given = options(bench, "FROM example.com/base:1 AS a\nFROM a AS b\n")
    found = await call_targets(given, bench.settings, bench.ends)
    assert [t.name for t in found.targets] == ["a", "b"]
    assert not bench.asked


async def made(bench, dockerfile, **more):
    given = options(bench, dockerfile, **more)
    bench.events.clear()
    return await build(
        given,
        settings=bench.settings,
        ends=bench.ends,
        report=bench.events.append,
        engine=bench.engine,
    )


def warnings(bench):
    return [(e.name, e.text) for e in bench.events if e.kind == "warning"]


async def test_a_build_tells_a_finding_once_for_all_platforms_with_place_and_page(bench):
    result = await made(bench, "FROM scratch\nMAINTAINER me\n", platforms=(AMD64, ARM64))
    ((place, text),) = warnings(bench)
    assert place.endswith("Dockerfile:2")
    assert text == (
        "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label"
        " - https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/"
    )
    assert [w["ruleName"] for w in result.warnings] == ["MaintainerDeprecated"]


async def test_a_build_with_error_true_fails_before_anything_runs(bench):
    text = "# check=error=true\nFROM scratch\nRUN write /x 1\nMAINTAINER me\n"
    with pytest.raises(DockerfileError, match="lint violation found for rules: MaintainerDepr"):
        await made(bench, text)
    assert not bench.lines("started")
    await made(bench, text, build_args={"BUILDKIT_DOCKERFILE_CHECK": "skip=all"})
    assert not warnings(bench)


async def test_the_metadata_file_has_the_warnings_when_asked_for(bench, tmp_path):
    path = str(tmp_path / "meta.json")
    text = "FROM scratch\nMAINTAINER me\n"
    await made(bench, text, metadata_file=path)
    with open(path) as file:
        assert "buildx.build.warnings" not in json.load(file)
    await made(bench, text, metadata_file=path, metadata_warnings=True)
    with open(path) as file:
        (warning,) = json.load(file)["buildx.build.warnings"]
    assert base64.b64decode(warning["short"]).decode() == (
        "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)"
    )
    assert warning["level"] == 1
    assert warning["range"] == [{"start": {"line": 2}, "end": {"line": 2}}]
    assert os.path.basename(warning["sourceInfo"]["filename"]) == "Dockerfile"
    assert base64.b64decode(warning["sourceInfo"]["data"]).decode().startswith("FROM scratch")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("FROM scratch AS builder\nFROM scratch\nCOPY --from=biulder /x /\n", 3),
        ("FROM scratch AS builder\nFROM biulder\n", 2),
        ("ARG NAME=biulder\nFROM scratch AS builder\nFROM $NAME\n", 3),
    ],
)
async def test_an_image_that_is_not_there_says_who_asks_for_it_and_what_was_meant(
    bench, text, line
):
    with pytest.raises(NotFound) as caught:
        await made(bench, text)
    assert caught.value.remedy.startswith("did you mean builder?")
    assert caught.value.evidence["line"] == line
    assert os.path.basename(caught.value.evidence["file"]) == "Dockerfile"


async def test_an_index_for_a_single_platform_when_asked_for(bench):
    plain = await made(bench, "FROM scratch\n")
    assert plain.descriptor.media_type == media.OCI_MANIFEST
    asked = await made(bench, "FROM scratch\n", build_args={"BUILDKIT_MULTI_PLATFORM": "true"})
    assert asked.descriptor.media_type == media.OCI_INDEX
    assert asked.manifests == plain.manifests
    with pytest.raises(UsageError, match="BUILDKIT_MULTI_PLATFORM"):
        await made(bench, "FROM scratch\n", build_args={"BUILDKIT_MULTI_PLATFORM": "often"})


async def test_a_stage_begins_with_the_files_of_a_context(bench):
    files = bench.context({"etc/os-release": "mine"}, name="rootfs")
    text = "FROM rootfs AS base\nFROM scratch\nCOPY --from=base /etc/os-release /x\n"
    result = await made(bench, text, build_contexts={"rootfs": files}, target="base")
    assert result.steps == 1
    await made(bench, text, build_contexts={"rootfs": files})
