"""The build pipeline from Dockerfile to outputs, with snapshots that are plain directories."""

import gzip
import io
import json
import os
import tarfile

import pytest

from argosy.build.pipeline import BuildOptions, Output, Secret, build
from argosy.content.graph import manifest
from argosy.content.store import put_bytes
from argosy.content.verify import read
from argosy.errors import BuildError, NoMatchingPlatform, StepFailed, UsageError
from argosy.model import media
from argosy.model.config import parse_config
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.manifest import dump
from argosy.model.platform import Platform

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")


async def make(bench, dockerfile, files=None, **options):
    context = bench.context({"Dockerfile": dockerfile, **(files or {})})
    bench.events.clear()
    return await build(
        BuildOptions(context=context, **{"tags": ("example.com/app:1",), **options}),
        settings=bench.settings,
        ends=bench.ends,
        report=bench.events.append,
        engine=bench.engine,
    )


async def image_of(store, desc):
    view = await manifest(store, desc)
    return view, parse_config(await read(store, view.config))


async def files_of(store, desc):
    """What the layers come to: path to content (files), target (links), None (directories)."""
    found = {}
    view, _ = await image_of(store, desc)
    for layer in view.layers:
        body = gzip.decompress(await read(store, layer))
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            for member in tar:
                data = tar.extractfile(member) if member.isfile() else None
                found[member.name] = data.read().decode() if data else (member.linkname or None)
    return found


async def put_base(store, ref, platforms, *, name="marker", env=(), history=True):
    """An image with one layer per platform that holds a file telling which."""
    manifests = []
    for platform in platforms:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            info = tarfile.TarInfo(name)
            info.size = len(str(platform))
            tar.addfile(info, io.BytesIO(str(platform).encode()))
        tar_body = out.getvalue()
        body = gzip.compress(tar_body, mtime=0)
        layer = Descriptor.of(media.DOCKER_LAYER_GZIP, body)
        await put_bytes(store, layer, body)
        config = dump(
            {
                **platform.to_json(),
                "created": "2020-01-01T00:00:00Z",
                "config": {"Env": list(env)},
                "rootfs": {"type": "layers", "diff_ids": [Digest.of(tar_body)]},
                "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "base"}]
                if history
                else [],
            }
        )
        config_desc = await put_bytes(store, Descriptor.of(media.OCI_CONFIG, config), config)
        body = dump(
            {
                "schemaVersion": 2,
                "mediaType": media.DOCKER_MANIFEST,
                "config": {**config_desc.to_json(), "mediaType": media.DOCKER_CONFIG},
                "layers": [layer.to_json()],
            }
        )
        desc = Descriptor.of(media.DOCKER_MANIFEST, body, platform=platform)
        manifests.append(await put_bytes(store, desc, body))
    if len(manifests) > 1:
        body = dump(
            {
                "schemaVersion": 2,
                "mediaType": media.OCI_INDEX,
                "manifests": [m.to_json() for m in manifests],
            }
        )
        desc = await put_bytes(store, Descriptor.of(media.OCI_INDEX, body), body)
    else:
        desc = manifests[0]
    await store.tag(desc, ref)
    return manifests


async def test_a_copy_onto_scratch_becomes_a_tagged_image(bench):
    result = await make(
        bench,
        'FROM scratch\nCOPY hello.txt /greeting/\nENV A=1\nCMD ["/x"]\n',
        {"hello.txt": "hi"},
    )
    assert await bench.images.resolve("example.com/app:1") == result.descriptor
    view, config = await image_of(bench.images, result.descriptor)
    assert view.media_type == media.OCI_MANIFEST
    assert config.platform.matches(Platform.host())
    assert config.run["Env"][-1] == "A=1"
    assert config.run["Cmd"] == ["/x"]
    files = await files_of(bench.images, result.descriptor)
    assert files == {"greeting": None, "greeting/hello.txt": "hi"}
    assert len(config.diff_ids) == len(view.layers) == 1
    layers = [h for h in config.history if not h.get("empty_layer")]
    assert len(layers) == 1
    assert (result.steps, result.cached) == (1, 0)


async def test_a_second_build_is_all_cache_and_has_the_same_digest(bench):
    dockerfile = "FROM scratch\nCOPY a /a\nRUN write /b text\nWORKDIR /w\n"
    first = await make(bench, dockerfile, {"a": "1"})
    packed = list(bench.snapshots.packed)
    second = await make(bench, dockerfile, {"a": "1"})
    assert second.digest == first.digest
    assert (second.steps, second.cached) == (3, 3)
    assert bench.snapshots.packed == packed
    assert len(bench.execute.processes) == 1
    assert not any(n.startswith("[") for n in bench.lines("started"))


async def test_a_changed_file_reruns_what_stands_on_it_only(bench):
    dockerfile = "FROM scratch\nRUN write /one 1\nCOPY a /a\nRUN write /two 2\n"
    await make(bench, dockerfile, {"a": "1"})
    result = await make(bench, dockerfile, {"a": "2"})
    assert result.cached == 1
    assert [p.args[-1] for p in bench.execute.processes] == [
        "write /one 1",
        "write /two 2",
        "write /two 2",
    ]
    assert (await files_of(bench.images, result.descriptor))["a"] == "2"


async def test_touching_a_file_changes_nothing_but_its_mode_does(bench):
    dockerfile = "FROM scratch\nCOPY a /a\n"
    first = await make(bench, dockerfile, {"a": "1"})
    path = os.path.join(bench.path, "context", "a")
    os.utime(path, (1, 1))
    assert (await make(bench, dockerfile)).digest == first.digest
    os.chmod(path, 0o755)
    assert (await make(bench, dockerfile)).cached == 0


async def test_a_copy_from_a_stage_hits_when_the_stage_ran_again_to_the_same_end(bench):
    def dockerfile(n):
        return (
            f"FROM scratch AS build\nRUN write /noise {n}\nRUN write /out same\n"
            "FROM scratch\nCOPY --from=build /out /out\nRUN write /after 1\n"
        )

    first = await make(bench, dockerfile(1))
    result = await make(bench, dockerfile(2))
    assert [p.args[-1] for p in bench.execute.processes].count("write /after 1") == 1
    assert result.digest == first.digest
    assert (result.steps, result.cached) == (4, 2)


async def test_stages_that_the_target_does_not_need_are_not_built(bench):
    dockerfile = (
        "FROM scratch AS unused\nRUN fail 1\n"
        "FROM scratch AS wanted\nRUN write /x 1\n"
        "FROM scratch\nRUN fail 1\n"
    )
    result = await make(bench, dockerfile, target="wanted")
    assert await files_of(bench.images, result.descriptor) == {"x": "1"}


async def test_two_platforms_become_one_index_and_share_the_build_stage(bench):
    await put_base(bench.repository_of("example.com/base"), "1", [AMD64, ARM64])
    dockerfile = (
        "FROM --platform=$BUILDPLATFORM scratch AS build\nRUN write /shared 1\n"
        "FROM example.com/base:1\nCOPY --from=build /shared /shared\nRUN platform /arch\n"
    )
    result = await make(bench, dockerfile, platforms=(AMD64, ARM64))
    assert [p.args[-1] for p in bench.execute.processes].count("write /shared 1") == 1
    view = await manifest(bench.images, result.descriptor)
    assert view.media_type == media.OCI_INDEX
    assert [m.platform for m in view.manifests] == [AMD64, ARM64]
    assert result.manifests == view.manifests
    for desc, platform in zip(view.manifests, (AMD64, ARM64), strict=True):
        files = await files_of(bench.images, desc)
        assert files["marker"] == files["arch"] == str(platform)
        assert files["shared"] == "1"
        _, config = await image_of(bench.images, desc)
        assert config.platform == platform
    assert any(name.startswith("[linux/arm64 ") for name in bench.lines("started"))


async def test_steps_that_know_their_target_say_so(bench):
    dockerfile = (
        "FROM --platform=$BUILDPLATFORM scratch AS build\nRUN write /shared 1\n"
        "ARG TARGETARCH\nRUN write /own 1\nFROM scratch\nCOPY --from=build /own /\n"
    )
    other = ARM64 if Platform.host() == AMD64 else AMD64
    await make(bench, dockerfile, platforms=(Platform.host(), other))
    host = Platform.host()
    # The two copies come to the same thing: whichever is first is run for both.
    assert {*bench.lines("started"), *bench.lines("cached")} >= {
        f"[{host} build 1/2] RUN write /shared 1",
        f"[{host} build 2/2] RUN write /own 1",
        f"[{host}->{other} build 2/2] RUN write /own 1",
        f"[{host} stage-1 1/1] COPY --from=build /own /",
        f"[{other} stage-1 1/1] COPY --from=build /own /",
    }


async def test_base_layers_are_taken_over_untouched_and_not_even_unpacked(bench):
    remote = bench.repository_of("example.com/base")
    (base,) = await put_base(remote, "1", [Platform.host()], env=["X=1"])
    result = await make(bench, "FROM example.com/base:1\nLABEL a=b\n")
    view, config = await image_of(bench.images, result.descriptor)
    base_view = await manifest(remote, base)
    assert view.layers[0].digest == base_view.layers[0].digest
    assert view.layers[0].media_type == media.OCI_LAYER_GZIP
    assert bench.snapshots.applied == []
    assert "X=1" in config.run["Env"]
    assert config.history[0] == {"created": "2020-01-01T00:00:00Z", "created_by": "base"}


async def test_a_base_is_asked_for_once_unless_pull(bench):
    await put_base(bench.repository_of("example.com/base"), "1", [Platform.host()])
    dockerfile = "FROM example.com/base:1\nRUN write /x 1\n"
    await make(bench, dockerfile)
    assert bench.asked == ["example.com/base:1"]
    await make(bench, dockerfile)
    assert bench.asked == ["example.com/base:1"]
    await make(bench, dockerfile, pull=True)
    assert bench.asked == ["example.com/base:1"] * 2


async def test_a_base_of_this_machine_is_taken_without_asking(bench):
    await put_base(bench.images, "example.com/base:latest", [AMD64, ARM64])
    result = await make(bench, "FROM example.com/base\nRUN platform /p\n", platforms=(ARM64,))
    assert bench.asked == []
    assert (await files_of(bench.images, result.descriptor))["p"] == "linux/arm64"


async def test_a_base_without_the_platform_says_what_it_has(bench):
    await put_base(bench.repository_of("example.com/base"), "1", [AMD64, ARM64])
    s390x = Platform.parse("linux/s390x")
    with pytest.raises(NoMatchingPlatform) as caught:
        await make(bench, "FROM example.com/base:1\nRUN true\n", platforms=(s390x,))
    assert caught.value.available == ["linux/amd64", "linux/arm64"]


async def test_a_failing_step_tags_and_pushes_nothing(bench):
    dockerfile = "FROM scratch\nRUN write /x 1\nRUN echo almost && echo there && fail 7\n"
    with pytest.raises(StepFailed) as caught:
        await make(bench, dockerfile, push=True)
    assert caught.value.status == 7
    assert caught.value.output == "almost\nthere"
    assert "--debug-shell" in caught.value.remedy
    assert caught.value.evidence["line"] == 3
    assert caught.value.evidence["step"].endswith("RUN echo almost && echo there && fail 7")
    assert bench.asked == []
    assert [t async for t in bench.images.tags()] == []
    result = await make(bench, dockerfile.replace("fail 7", "true"))
    assert (result.steps, result.cached) == (2, 1)


async def test_a_step_that_changes_nothing_makes_no_layer_but_keeps_its_history(bench):
    result = await make(bench, "FROM scratch\nRUN write /x 1\nRUN true\nWORKDIR /\n")
    view, config = await image_of(bench.images, result.descriptor)
    assert len(view.layers) == 1
    assert len([h for h in config.history if not h.get("empty_layer")]) == 1
    assert len(config.history) == 3


async def test_no_cache_runs_everything_again(bench):
    dockerfile = "FROM scratch\nRUN write /x 1\n"
    await make(bench, dockerfile)
    result = await make(bench, dockerfile, no_cache=True)
    assert len(bench.execute.processes) == 2
    assert result.cached == 0


async def test_no_cache_filter_runs_only_the_steps_of_its_stages_again(bench):
    dockerfile = (
        "FROM scratch AS Deps\nRUN write /out 1\nFROM scratch AS other\nRUN write /y 1\n"
        "FROM scratch\nCOPY --link --from=deps /out /\nCOPY --from=other /y /\nRUN write /z 1\n"
    )
    first = await make(bench, dockerfile)
    bench.execute.processes.clear()
    result = await make(bench, dockerfile, no_cache_filter=("DEPS",))
    assert [p.args[-1] for p in bench.execute.processes] == ["write /out 1"]
    assert result.digest == first.digest
    assert {r.why for r in result.reasons if r.result == "ran"} == {"--no-cache-filter"}
    await make(bench, dockerfile, no_cache_filter=("stage-2",))
    assert [p.args[-1] for p in bench.execute.processes] == ["write /out 1", "write /z 1"]


async def test_no_cache_filter_of_no_stage_is_a_warning(bench):
    await make(bench, "FROM scratch AS deps\nRUN write /x 1\n", no_cache_filter=("dep",))
    assert any("no such stage" in e.text for e in bench.events if e.kind == "warning")


async def test_an_image_of_this_machine_without_the_platform_is_said_to_have_others(bench):
    desc = await put_base(bench.images, "docker.io/library/mine:1", [AMD64, ARM64])
    assert desc
    with pytest.raises(NoMatchingPlatform, match="mine:1 of this machine") as caught:
        await make(bench, "FROM mine:1\n", platforms=(Platform.parse("linux/s390x"),))
    assert caught.value.available == [str(AMD64), str(ARM64)]


async def test_push_copies_to_every_tag_and_metadata_names_them(bench, tmp_path):
    meta, iid = str(tmp_path / "meta.json"), str(tmp_path / "iid")
    result = await make(
        bench,
        "FROM scratch\nRUN write /x 1\n",
        tags=("example.com/app:1", "example.com/app", "other.example/x:2"),
        push=True,
        load=True,
        metadata_file=meta,
        iidfile=iid,
    )
    for locator, tag in (("example.com/app", "1"), ("example.com/app", "latest")):
        assert await bench.remote[locator].resolve(tag) == result.descriptor
    assert await bench.remote["other.example/x"].resolve("2") == result.descriptor
    with open(meta) as f:
        notes = json.load(f)
    assert notes["containerimage.digest"] == result.digest
    assert notes["containerimage.descriptor"]["mediaType"] == media.OCI_MANIFEST
    assert notes["image.name"] == "example.com/app:1,example.com/app:latest,other.example/x:2"
    view, _ = await image_of(bench.images, result.descriptor)
    with open(iid) as f:
        assert f.read() == notes["containerimage.config.digest"] == view.config.digest


async def test_several_outputs_get_the_same_image(bench, tmp_path):
    directory, tar = tmp_path / "files", tmp_path / "files.tar"
    result = await make(
        bench,
        "FROM scratch\nCOPY a /dir/a\n",
        {"a": "1"},
        outputs=(
            Output.parse(f"type=local,dest={directory}"),
            Output.parse(f"type=tar,dest={tar}"),
            Output.parse("type=oci,dest=x.tar"),
            Output.parse('type=registry,"name=example.com/more:1,example.com/more:2"'),
        ),
    )
    assert (directory / "dir" / "a").read_text() == "1"
    with tarfile.open(tar) as archive:
        assert archive.getnames() == ["dir", "dir/a"]
    archived = bench.archives["oci", "x.tar"]
    assert await archived.resolve("example.com/app:1") == result.descriptor
    assert await bench.remote["example.com/more"].resolve("2") == result.descriptor
    assert "example.com/more:1" in result.names


async def test_files_of_several_platforms_go_into_directories_of_their_own(bench, tmp_path):
    directory, tar = tmp_path / "files", tmp_path / "files.tar"
    await make(
        bench,
        "FROM scratch\nRUN platform /p\n",
        platforms=(AMD64, Platform.parse("linux/arm/v7")),
        outputs=(
            Output.parse(f"type=local,dest={directory}"),
            Output.parse(f"type=tar,dest={tar}"),
        ),
    )
    assert (directory / "linux_amd64" / "p").read_text() == "linux/amd64"
    assert (directory / "linux_arm_v7" / "p").read_text() == "linux/arm/v7"
    with tarfile.open(tar) as archive:
        names = archive.getnames()
    assert "linux_amd64/p" in names
    assert "linux_arm_v7/p" in names


async def test_source_date_epoch_is_the_time_of_everything(bench):
    dockerfile = "FROM scratch\nRUN write /x 1\nENV a=b\n"
    result = await make(bench, dockerfile, source_date_epoch=86400)
    _, config = await image_of(bench.images, result.descriptor)
    assert config.created == "1970-01-02T00:00:00Z"
    assert {h["created"] for h in config.history} == {"1970-01-02T00:00:00Z"}
    again = await make(bench, dockerfile, build_args={"SOURCE_DATE_EPOCH": "86400"})
    assert again.digest == result.digest


async def test_annotations_go_where_their_prefix_says(bench):
    result = await make(
        bench,
        "FROM scratch\nRUN write /x 1\n",
        platforms=(AMD64, ARM64),
        annotations={"a": "1", "index:b": "2", "manifest,index:c": "3"},
    )
    index = await manifest(bench.images, result.descriptor)
    assert dict(index.annotations) == {"b": "2", "c": "3"}
    inner = await manifest(bench.images, index.manifests[0])
    assert dict(inner.annotations) == {"a": "1", "c": "3"}
    with pytest.raises(UsageError, match="index"):
        await make(bench, "FROM scratch\nRUN write /x 1\n", annotations={"index:b": "2"})


async def test_mounts_are_seen_by_the_step_and_are_in_no_layer(bench):
    secret = os.path.join(bench.path, "token")
    with open(secret, "w") as f:
        f.write("s3cret")
    dockerfile = (
        "FROM scratch AS tools\nRUN write /tool hammer\n"
        "FROM scratch\n"
        "RUN --mount=type=bind,from=tools,target=/tools"
        " --mount=type=bind,source=sub,target=/src"
        " --mount=type=secret,id=token"
        " --mount=type=cache,target=/cache"
        " show /tools/tool && show /src/f && show /run/secrets/token"
        " && keep /cache/x kept && write /done 1\n"
        "RUN --mount=type=cache,target=/cache show /cache/x && write /done 2\n"
    )
    result = await make(
        bench, dockerfile, {"sub/f": "from context"}, secrets=(Secret(id="token", file=secret),)
    )
    assert bench.execute.seen == [b"hammer", b"from context", b"s3cret", b"kept"]
    files = await files_of(bench.images, result.descriptor)
    assert [f for f in files if files[f] is not None] == ["done"]
    with open(secret, "w") as f:
        f.write("another")
    again = await make(
        bench, dockerfile, {"sub/f": "from context"}, secrets=(Secret(id="token", file=secret),)
    )
    assert again.digest == result.digest, "a secret is not part of the key"
    await make(bench, dockerfile, {"sub/f": "new"}, secrets=(Secret(id="token", file=secret),))
    assert bench.execute.seen[4:] == [b"hammer", b"new", b"another", b"kept"]


async def test_a_required_secret_that_is_not_given_is_named(bench):
    with pytest.raises(BuildError, match="token"):
        await make(bench, "FROM scratch\nRUN --mount=type=secret,id=token,required=true true\n")


@pytest.mark.parametrize(
    ("dockerfile", "words"),
    [
        ("FROM scratch\nADD git@h:x#a..b /\n", "repository"),
        ("FROM scratch\nRUN --security=insecure true\n", "insecure"),
    ],
)
async def test_what_cannot_be_done_is_said_before_anything_runs(bench, dockerfile, words):
    dockerfile = dockerfile.replace("FROM scratch\n", "FROM scratch\nRUN write /x 1\n")
    with pytest.raises(UsageError, match=words):
        await make(bench, dockerfile)
    assert bench.execute.processes == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"push": True, "tags": ()}, "push"),
        ({"tags": ("x@sha256:" + "0" * 64,)}, "cannot be named"),
        ({"outputs": (Output(kind="docker", dest="x"),), "platforms": (AMD64, ARM64)}, "docker"),
        ({"context": "ftp://example.com/repo.git"}, "context"),
        ({"context": "/does/not/exist"}, "context|cannot read"),
    ],
)
async def test_options_that_cannot_work_are_refused_first(bench, options, words):
    given = {"context": bench.context({"Dockerfile": "FROM scratch\nRUN true\n"}), **options}
    with pytest.raises((UsageError, BuildError), match=words):
        await build(
            BuildOptions(**given), settings=bench.settings, ends=bench.ends, engine=bench.engine
        )
    assert bench.execute.processes == []


async def test_the_ignore_file_hides_files_and_one_beside_the_dockerfile_wins(bench):
    files = {"a": "1", "b": "2", "sub/a": "3", ".dockerignore": "a\n"}
    result = await make(bench, "FROM scratch\nCOPY . /\n", files)
    found = await files_of(bench.images, result.descriptor)
    assert set(found) == {"Dockerfile", ".dockerignore", "b", "sub", "sub/a"}
    with pytest.raises(BuildError, match="/a is not in the build context") as caught:
        await make(bench, "FROM scratch\nCOPY a /\n")
    assert ".dockerignore" in caught.value.why
    assert caught.value.evidence["line"] == 2
    files = {"Dockerfile.dockerignore": "*\n!b\n"}
    result = await make(bench, "FROM scratch\nCOPY . /\n", files)
    assert set(await files_of(bench.images, result.descriptor)) == {"b"}


async def test_a_dockerfile_from_standard_input_needs_no_file(bench):
    context = bench.context({"a": "1"})
    result = await build(
        BuildOptions(
            context=context,
            dockerfile="-",
            dockerfile_text=b"FROM scratch\nCOPY a /\n",
            tags=("x",),
        ),
        settings=bench.settings,
        ends=bench.ends,
        engine=bench.engine,
    )
    assert result.names == ("docker.io/library/x:latest",)
    assert await files_of(bench.images, result.descriptor) == {"a": "1"}


async def test_named_contexts_are_directories_to_copy_from(bench):
    other = bench.context({"f": "other"}, "other")
    result = await make(
        bench, "FROM scratch\nCOPY --from=lib f /f\n", build_contexts={"lib": other}
    )
    assert await files_of(bench.images, result.descriptor) == {"f": "other"}


async def test_an_unused_build_argument_is_a_warning(bench):
    await make(bench, "FROM scratch\nRUN write /x 1\n", build_args={"NOPE": "1"})
    assert any(e.kind == "warning" and "NOPE" in e.text for e in bench.events)


async def test_a_heredoc_and_an_archive_are_added(bench):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        info = tarfile.TarInfo("inside")
        info.size = 2
        tar.addfile(info, io.BytesIO(b"in"))
    result = await make(
        bench,
        "FROM scratch\nCOPY <<EOF /etc/motd\nhello\nEOF\nADD x.tgz /opt/\nCOPY x.tgz /raw/\n",
        {"x.tgz": out.getvalue()},
    )
    files = {}
    for snapshot in sorted(os.listdir(bench.snapshots.path))[-1:]:
        top = os.path.join(bench.snapshots.path, snapshot)
        for path in ("etc/motd", "opt/inside"):
            with open(os.path.join(top, path)) as f:
                files[path] = f.read()
        assert os.path.exists(os.path.join(top, "raw/x.tgz"))
    assert files == {"etc/motd": "hello\n", "opt/inside": "in"}
    assert result.steps == 3


async def test_a_bound_context_hides_ignored_files_and_loses_what_is_written(bench):
    files = {"sub/f": "shown", "sub/hidden": "secret", ".dockerignore": "sub/hidden\n"}
    dockerfile = (
        "FROM scratch\n"
        "RUN --mount=type=bind,source=sub,target=/src,rw show /src/f && keep /src/new x\n"
    )
    await make(bench, dockerfile, files)
    assert bench.execute.seen == [b"shown"]
    assert sorted(os.listdir(os.path.join(bench.path, "context", "sub"))) == ["f", "hidden"]
    with pytest.raises(BuildError, match="show /src/hidden"):
        await make(bench, dockerfile.replace("show /src/f", "show /src/hidden"))
    again = await make(bench, dockerfile, {"sub/hidden": "changed"})
    assert again.cached == again.steps, "what is hidden is no part of the key"


async def test_a_cache_mount_begins_with_what_from_shows(bench):
    dockerfile = (
        "FROM scratch AS seed\nRUN write /x seeded\n"
        "FROM scratch\nRUN --mount=type=cache,target=/c,from=seed,sharing=locked show /c/x\n"
    )
    await make(bench, dockerfile)
    assert bench.execute.seen == [b"seeded"]


async def test_private_cache_mounts_are_never_shared_by_steps_that_run_together(bench):
    stages = "".join(
        f"FROM scratch AS s{n}\n"
        f"RUN --mount=type=cache,id=x,target=/c,sharing=private meet 2 && write /o{n} 1\n"
        for n in range(2)
    )
    copies = "".join(f"COPY --from=s{n} /o{n} /\n" for n in range(2))
    await make(bench, stages + "FROM scratch\n" + copies)
    sources = {p.mounts[0].source for p in bench.execute.processes}
    assert len(sources) == 2


async def test_an_image_as_a_named_context_takes_the_place_of_a_base(bench):
    await put_base(bench.repository_of("example.com/other"), "2", [Platform.host()])
    result = await make(
        bench,
        "FROM base\nRUN write /x 1\n",
        build_contexts={"base": "docker-image://example.com/other:2"},
    )
    assert bench.asked == ["example.com/other:2"]
    assert set(await files_of(bench.images, result.descriptor)) == {"marker", "x"}
