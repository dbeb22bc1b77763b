"""Instructions to a plan: variables, stages, inheritance of configs, history."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.build.dockerfile.askers import similar_stage, tell_where
from argosy.build.dockerfile.evaluate import base_images, evaluate
from argosy.build.dockerfile.image_config import DEFAULT_PATH
from argosy.build.dockerfile.parser import parse
from argosy.build.dockerfile.plan import (
    BaseImage,
    BindMount,
    CacheMount,
    CopyStep,
    FromContext,
    FromImage,
    FromStage,
    InlineFile,
    InlineMount,
    Plan,
    RunStep,
    Scratch,
    SecretMount,
    TmpfsMount,
    WorkdirStep,
)
from argosy.build.dockerfile.stages import FrontendOptions
from argosy.errors import BuildError, DockerfileError, NoMatchingPlatform
from argosy.model.platform import Platform

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")


def options(**given: Any) -> FrontendOptions:
    return FrontendOptions(**{"platform": ARM64, "build_platform": AMD64, **given})


def plan(text: str, config: Mapping[str, Any] | None = None, **given: Any) -> Plan:
    """The plan when every base image has that config."""
    dockerfile, asked = parse(text), options(**given)
    bases: dict[BaseImage, Mapping[str, Any]] = {}
    while missing := base_images(dockerfile, asked, bases):
        bases |= {image: {"config": dict(config or {})} for image in missing}
    return evaluate(dockerfile, asked, bases)


def config_of(text: str, config: Mapping[str, Any] | None = None, **given: Any) -> dict[str, Any]:
    return dict(plan("FROM base\n" + text, config, **given).target.config)


def run_of(text: str, config: Mapping[str, Any] | None = None, **given: Any) -> RunStep:
    step = plan("FROM base\n" + text, config, **given).target.steps[-1]
    assert isinstance(step, RunStep)
    return step


def copy_of(text: str, config: Mapping[str, Any] | None = None, **given: Any) -> CopyStep:
    step = plan("FROM base\n" + text, config, **given).target.steps[-1]
    assert isinstance(step, CopyStep)
    return step


def failure(text: str, **given: Any) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        plan(text, **given)
    return caught.value


# Variables


def test_values_are_of_the_variables_before_the_instruction() -> None:
    env = config_of("ENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\n")["Env"]
    assert env == ["abc=bye", "def=hello", "ghi=bye"]


def test_a_variable_of_the_base_is_extended_in_its_place() -> None:
    env = config_of("ENV PATH=$PATH:/x A=1\n", {"Env": ["PATH=/bin", "B=2"]})["Env"]
    assert env == ["PATH=/bin:/x", "B=2", "A=1"]


def test_arguments_reach_commands_but_not_the_image() -> None:
    text = "ARG A=1\nARG B\nARG C=$A\nENV E=$A\nRUN x\n"
    step = run_of(text, build_args={"B": "two", "Z": "undeclared"})
    assert dict(step.env) == {"PATH": DEFAULT_PATH, "A": "1", "B": "two", "C": "1", "E": "1"}
    assert config_of(text)["Env"] == ["E=1"]


def test_an_argument_sees_those_before_it_in_the_same_instruction() -> None:
    # As BuildKit's frontend today; that of Docker 20.10 took the variables before the instruction.
    assert dict(run_of("ARG A=1 B=${A}2\nRUN x\n").env)["B"] == "12"
    assert plan("ARG A=1 B=x$A\nFROM $B\n").target.base == FromImage(BaseImage("x1", ARM64))


def test_an_argument_declared_after_a_variable_of_its_name_hides_it_from_commands() -> None:
    assert dict(run_of("ENV A=1\nARG A=2\nRUN x\n").env)["A"] == "2"


def test_a_build_argument_beats_the_default() -> None:
    assert dict(run_of("ARG A=1\nRUN x\n", build_args={"A": "2"}).env)["A"] == "2"


def test_global_arguments_are_seen_by_from_and_by_stages_that_declare_them() -> None:
    text = "ARG V=1\nARG IMG=img:$V\nFROM $IMG\nRUN a\nARG V\nRUN b\n"
    found = plan(text)
    assert found.target.base == FromImage(BaseImage("img:1", ARM64))
    first, second = found.target.steps
    assert isinstance(first, RunStep)
    assert isinstance(second, RunStep)
    assert "V" not in dict(first.env)
    assert dict(second.env)["V"] == "1"


def test_the_arguments_of_the_platforms_are_there_unasked() -> None:
    text = (
        "FROM --platform=$BUILDPLATFORM x:$TARGETARCH\nARG TARGETPLATFORM\nARG BUILDARCH\nRUN x\n"
    )
    found = plan(text)
    step = found.target.steps[0]
    assert isinstance(step, RunStep)
    assert found.target.base == FromImage(BaseImage("x:arm64", AMD64))
    assert (step.platform, found.platform) == (AMD64, ARM64)
    assert dict(step.env)["TARGETPLATFORM"] == "linux/arm64"
    assert dict(step.env)["BUILDARCH"] == "amd64"


def test_proxies_are_set_for_commands_and_are_no_part_of_their_variables() -> None:
    step = run_of("ARG no_proxy\nRUN x\n", build_args={"http_proxy": "p", "no_proxy": "n"})
    assert step.proxy == (("HTTP_PROXY", "p"), ("NO_PROXY", "n"), ("http_proxy", "p"))
    assert dict(step.env)["no_proxy"] == "n"
    assert "http_proxy" not in dict(step.env)


def test_build_arguments_that_nothing_declares_are_named() -> None:
    given = {"A": "1", "B": "2", "HTTPS_PROXY": "x", "TARGETARCH": "y", "BUILDKIT_X": "z"}
    assert plan("FROM a\nARG A\n", build_args=given).unused_build_args == ("B",)


def test_a_stage_goes_on_with_the_variables_of_the_stage_it_is_from() -> None:
    found = plan("FROM a AS one\nARG X=1\nENV Y=2\nWORKDIR /w\nUSER u\nFROM one\nRUN x\n")
    step = found.target.steps[0]
    assert isinstance(step, RunStep)
    assert {"X": "1", "Y": "2"}.items() <= dict(step.env).items()
    assert (step.cwd, step.user) == ("/w", "u")
    assert found.target.base == FromStage(0)


def test_a_base_image_with_no_name_left_is_an_error() -> None:
    assert "comes to nothing" in failure("ARG A\nFROM $A\n").summary


# Steps


def test_the_shell_runs_the_shell_form() -> None:
    assert run_of("RUN a && b\n").args == ("/bin/sh", "-c", "a && b")
    assert run_of('RUN ["a", "$b"]\n').args == ("a", "$b")
    assert run_of('SHELL ["/bin/bash", "-ec"]\nRUN a\n').args == ("/bin/bash", "-ec", "a")
    assert run_of("RUN a\n", {"Shell": ["/x", "-c"]}).args == ("/x", "-c", "a")


def test_a_here_document_is_a_script_of_the_shell() -> None:
    assert run_of("RUN <<E\na\nb\nE\n").args == ("/bin/sh", "-c", "a\nb\n")
    step = run_of("RUN <<-E\n\t#!/usr/bin/env python\n\tx=$y\n\tE\n")
    assert step.args == ("/dev/pipes/E",)
    script = b"#!/usr/bin/env python\nx=$y\n"
    assert step.mounts == (InlineMount(target="/dev/pipes/E", data=script),)
    assert step.name == "RUN <<-E (#!/usr/bin/env python...)"


def test_the_shell_itself_reads_documents_that_are_not_the_whole_command() -> None:
    step = run_of("RUN cat <<A <<-B > f\n1\nA\n\t2\n\tB\n")
    assert step.args[2] == "cat <<A <<-B > f\n1\nA\n\t2\nB"


def test_working_directories_add_up_and_copies_are_relative_to_them() -> None:
    found = plan("FROM a\nWORKDIR /x\nUSER u\nWORKDIR y/../$Z/\nCOPY a b/\nCOPY c .\n").target
    assert [s.path for s in found.steps if isinstance(s, WorkdirStep)] == ["/x", "/x"]
    assert [s.user for s in found.steps if isinstance(s, WorkdirStep)] == ["", "u"]
    assert [s.dest for s in found.steps if isinstance(s, CopyStep)] == ["/x/b/", "/x/"]
    assert found.config["WorkingDir"] == "/x"


@pytest.mark.parametrize(
    ("source", "expected"),
    [(".", "."), ("/", "."), ("./a/", "a"), ("../../a", "a"), ("/a/*.c", "a/*.c"), ("$X/b", "v/b")],
)
def test_sources_are_paths_below_the_context(source: str, expected: str) -> None:
    assert copy_of(f"ENV X=v\nCOPY {source} /d\n").sources == (expected,)


def test_parents_keep_the_pivot() -> None:
    assert copy_of("COPY --parents ./a/./b/../c /a/./ d /x/\n").sources == ("a/./c", "a/./.", "d")


def test_a_copy_has_its_values_expanded_and_checked() -> None:
    step = copy_of("ARG U=1 M=644\nCOPY --chown=$U:2 --chmod=$M --exclude=*.$U --link a /b\n")
    assert (step.chown, step.chmod, step.exclude, step.link) == ("1:2", "644", ("*.1",), True)
    assert step.origin == FromContext()
    assert "mode" in failure("FROM a\nARG M=888\nCOPY --chmod=$M a b\n").summary
    assert "pattern" in failure("FROM a\nCOPY --exclude=[ a b\n").summary


def test_documents_to_copy_are_expanded_unless_their_word_is_quoted() -> None:
    step = copy_of("ENV A=1\nCOPY <<a <<'b' src /d/\n$A \"q\"\na\n$A\nb\n")
    assert step.files == (
        InlineFile(name="a", data=b'1 "q"\n'),
        InlineFile(name="b", data=b"$A\n"),
    )
    assert step.sources == ("src",)


def test_only_add_unpacks() -> None:
    assert copy_of("ADD a.tar /\n").unpack == "local"
    assert copy_of("ADD --unpack=false a.tar /\n").unpack == "never"
    assert copy_of("ADD --unpack a.tar /\n").unpack == "always"
    assert copy_of("COPY a.tar /\n").unpack == "never"


def test_mounts_are_resolved() -> None:
    step = run_of(
        "WORKDIR /w\nARG C=/cache\nRUN --mount=type=cache,target=$C,sharing=locked,uid=5"
        " --mount=target=rel,rw --mount=type=bind,from=img,source=/s,dst=/t"
        " --mount=type=tmpfs,target=/m,size=1k --mount=type=secret,id=k"
        " --mount=type=secret,id=n,env=TOKEN,required --network=none x\n"
    )
    assert step.mounts == (
        CacheMount(target="/cache", id="/cache", sharing="locked", uid=5),
        BindMount(target="/w/rel", origin=FromContext(), readonly=False),
        BindMount(target="/t", origin=FromImage(BaseImage("img", ARM64)), source="/s"),
        TmpfsMount(target="/m", size=1024),
        SecretMount(id="k", target="/run/secrets/k"),
        SecretMount(id="n", env="TOKEN", required=True),
    )
    assert step.network == "none"


# Stages


def test_only_what_the_target_needs_is_planned_and_asked_for() -> None:
    text = (
        "FROM a AS x\nFROM b AS y\nRUN --mount=from=x,target=/m z\nFROM c AS z\n"
        "COPY --from=ext/img:1 / /\nFROM d AS other\nCOPY --from=5 a b\nFROM y AS end\nCOPY --from=2 / /\n"
    )
    asked = options()
    assert [i.ref for i in base_images(parse(text), asked)] == ["a", "b", "c", "ext/img:1"]
    assert [s.name for s in plan(text).stages] == ["x", "y", "z", "end"]
    assert [s.name for s in plan(text, target="Y").stages] == ["x", "y"]
    assert [s.name for s in plan(text, target="0").stages] == ["x"]
    assert plan(text).stage(2).name == "z"


def test_stage_names_know_no_case_and_hide_images() -> None:
    found = plan("FROM alpine AS Alpine\nFROM ALPINE\nCOPY --from=aLpInE a b\n").target
    assert found.base == FromStage(0)
    step = found.steps[0]
    assert isinstance(step, CopyStep)
    assert step.origin == FromStage(0)


def test_a_stage_from_another_has_its_platform() -> None:
    found = plan("FROM --platform=linux/amd64 a AS x\nFROM x\nRUN y\n").target
    assert found.platform == AMD64


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("FROM a AS x\nCOPY --from=x a b\n", "circular"),
        ("FROM a AS x\nCOPY --from=0 a b\n", "circular"),
        ("FROM a AS x\nCOPY --from=y a b\nFROM x AS y\n", "circular"),
        ("FROM a AS x\nCOPY --from=y a b\nFROM a AS y\nCOPY --from=x a b\n", "circular"),
        ("FROM a AS x\nCOPY --from=y a b\nFROM b AS y\nFROM x\n", "comes later"),
        ("FROM a AS x\nCOPY --from=1 a b\nFROM b AS y\nFROM x\n", "comes later"),
        ("FROM a\nCOPY --from=7 a b\n", "no stage 7"),
        ("FROM a\nRUN --mount=from=9,target=/x y\n", "no stage 9"),
    ],
)
def test_stages_that_cannot_be_ordered_are_errors(text: str, words: str) -> None:
    target = "x" if "circular" in words else ""
    error = failure(text, target=target)
    assert words in error.summary
    assert error.line == 2


def test_a_target_that_is_not_there_is_an_error_with_a_suggestion() -> None:
    error = failure("FROM a AS builder\nFROM b AS final\n", target="bilder")
    assert "did you mean builder?" in error.remedy
    assert "builder, final" in error.why


def test_an_image_name_that_looks_like_a_stage_gets_a_suggestion() -> None:
    dockerfile = parse("FROM a AS builder\nFROM b\nCOPY --from=biulder a b\n")
    assert similar_stage(dockerfile, "biulder") == "did you mean builder?"
    assert similar_stage(dockerfile, "debain:12") == "did you mean debian?"
    assert similar_stage(dockerfile, "debian") == ""


def test_an_image_that_is_there_but_not_for_the_platform_is_not_taken_for_a_typing_error() -> None:
    dockerfile = parse("FROM debain\n")
    error = NoMatchingPlatform("debain", wanted="linux/arm64", available=["linux/amd64"])
    tell_where(error, dockerfile, "debain")
    assert "did you mean" not in error.remedy
    assert error.evidence["line"] == 1


def test_named_contexts_take_the_place_of_stages_and_images() -> None:
    text = "FROM alpine AS src\nFROM base\nCOPY --from=src a b\nCOPY --from=docs c d\n"
    found = plan(text, contexts={"src": "./dir", "Base": "docker-image://mine:1", "docs": "d"})
    first, second = found.target.steps
    assert isinstance(first, CopyStep)
    assert isinstance(second, CopyStep)
    assert (first.origin, second.origin) == (FromContext("src"), FromContext("docs"))
    assert found.target.base == FromImage(BaseImage("mine:1", ARM64))
    assert [s.index for s in found.stages] == [1]


def test_a_stage_may_begin_with_the_files_of_a_context() -> None:
    found = plan("FROM rootfs\nRUN x\n", contexts={"rootfs": "./dir"}).target
    assert found.base == Scratch()
    first, second = found.steps
    assert isinstance(first, CopyStep)
    assert (first.origin, first.sources, first.dest) == (FromContext("rootfs"), (".",), "/")
    assert isinstance(second, RunStep)
    layers = [h["created_by"] for h in found.history if not h.get("empty_layer")]
    assert layers == ["FROM rootfs", "RUN /bin/sh -c x"]


def test_a_context_of_a_stages_name_is_there_instead_of_the_stage() -> None:
    text = "FROM alpine AS build\nRUN make\nFROM scratch\nCOPY --from=0 /x /\n"
    contexts = {"build": "docker-image://made:1"}
    made = FromImage(BaseImage("made:1", ARM64))
    stage = plan(text, contexts=contexts).stages[0]
    assert (stage.base, stage.steps) == (made, ())
    assert plan(text, contexts=contexts, target="build").target.base == made


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("alpine", "alpine:latest"),
        ("alpine:latest", "docker.io/library/alpine"),
        ("docker.io/library/golang:1.22", "golang:1.22"),
        ("Base", "base"),
    ],
)
def test_a_context_is_known_by_every_spelling_of_its_name(name: str, image: str) -> None:
    found = plan(f"FROM {image}\n", contexts={name: "docker-image://mine:1"})
    assert found.target.base == FromImage(BaseImage("mine:1", ARM64))
    other = plan("FROM golang:1.21\n", contexts={name: "docker-image://mine:1"})
    assert other.target.base == FromImage(BaseImage("golang:1.21", ARM64))


def test_a_context_may_be_an_image_in_a_layout() -> None:
    found = plan("FROM base\n", contexts={"base": "oci-layout:///srv/layout:v1"})
    assert found.target.base == FromImage(BaseImage("oci-layout:///srv/layout:v1", ARM64))


def test_a_context_that_names_no_image_is_an_error_at_from() -> None:
    error = failure("FROM base\n", contexts={"base": "docker-image://Not An Image"})
    assert error.line == 1
    assert "reference" in error.summary


def test_a_scratch_stage_has_a_path_and_a_root() -> None:
    found = plan("FROM scratch\nCMD a\n").target
    assert found.base == Scratch()
    assert found.config["Env"] == [f"PATH={DEFAULT_PATH}"]
    assert found.config["WorkingDir"] == "/"


def test_evaluate_without_a_base_it_named_says_so() -> None:
    with pytest.raises(BuildError, match="base image x"):
        evaluate(parse("FROM x\n"), options(), {})


# Configs


def test_an_entrypoint_drops_the_command_of_the_base_but_not_of_the_stage() -> None:
    base = {"Cmd": ["old"], "Entrypoint": ["e"]}
    assert "Cmd" not in config_of('ENTRYPOINT ["x"]\n', base)
    assert config_of('CMD ["y"]\nENTRYPOINT ["x"]\n', base)["Cmd"] == ["y"]
    assert config_of('CMD ["y"]\n', base) == {"Cmd": ["y"], "Entrypoint": ["e"]}
    assert "Entrypoint" not in config_of("ENTRYPOINT []\n", base)


def test_labels_ports_and_volumes_add_to_those_of_the_base() -> None:
    base = {"Labels": {"a": "1", "b": "2"}, "ExposedPorts": {"1/tcp": {}}, "Volumes": {"/v": {}}}
    text = 'ARG P="80 81/udp"\nLABEL b=3 "c d"=\'e\'\nEXPOSE $P 90-91\nVOLUME ["/w", "/x y"]\n'
    found = config_of(text, base, labels={"l": "m", "a": "9"})
    assert found["Labels"] == {"a": "9", "b": "3", "c d": "e", "l": "m"}
    assert list(found["ExposedPorts"]) == ["1/tcp", "80/tcp", "81/udp", "90/tcp", "91/tcp"]
    assert list(found["Volumes"]) == ["/v", "/w", "/x y"]


def test_the_other_fields_are_set() -> None:
    found = config_of(
        'USER $X\nUSER me\nSTOPSIGNAL SIGINT\nHEALTHCHECK --retries=2 CMD ["a"]\n'
        'SHELL ["/s"]\nONBUILD RUN x $y\n'
    )
    assert found == {
        "User": "me",
        "StopSignal": "SIGINT",
        "Healthcheck": {"Test": ["CMD", "a"], "Retries": 2},
        "Shell": ["/s"],
        "OnBuild": ["RUN x $y"],
    }
    assert config_of("HEALTHCHECK NONE\n")["Healthcheck"] == {"Test": ["NONE"]}
    assert plan("FROM a\nMAINTAINER me <m@x>\n").target.author == "me <m@x>"


def test_the_triggers_of_the_base_run_first_and_are_gone() -> None:
    base = {"OnBuild": ["RUN one", "COPY --from=tool /a /b"], "Env": ["A=1"]}
    text = "FROM base\nRUN two\n"
    dockerfile, asked = parse(text), options()
    image = BaseImage("base", ARM64)
    assert base_images(dockerfile, asked) == (image,)
    bases: dict[BaseImage, Mapping[str, Any]] = {image: {"config": base}}
    assert base_images(dockerfile, asked, bases) == (BaseImage("tool", ARM64),)
    bases[BaseImage("tool", ARM64)] = {}
    found = evaluate(dockerfile, asked, bases).target
    assert [s.name for s in found.steps] == ["RUN one", "COPY --from=tool /a /b", "RUN two"]
    assert "OnBuild" not in found.config


def test_the_triggers_of_a_stage_run_in_the_stages_from_it() -> None:
    found = plan("FROM a AS x\nONBUILD RUN <<E\nhi\nE\nFROM x AS y\nFROM y\nRUN z\n")
    assert [[s.name for s in stage.steps] for stage in found.stages] == [
        [],
        ["RUN <<E (hi)"],
        ["RUN z"],
    ]
    assert found.stages[0].config["OnBuild"] == ["RUN <<E\nhi\nE"]
    assert "OnBuild" not in found.stages[1].config


def test_a_trigger_that_cannot_be_read_is_an_error_at_from() -> None:
    dockerfile, asked = parse("FROM base\n"), options()
    for trigger in ("WHAT x", "RUN a\nRUN b", "FROM x", "RUN <<E", ""):
        bases = {BaseImage("base", ARM64): {"config": {"OnBuild": [trigger]}}}
        with pytest.raises(DockerfileError) as caught:
            evaluate(dockerfile, asked, bases)
        assert caught.value.line == 1


def test_history_has_one_entry_for_each_instruction_after_those_of_the_base() -> None:
    text = (
        "FROM base\nARG A=1\nENV B=2 C=3\nRUN x\nWORKDIR /w\nWORKDIR /\nCOPY --chown=1 a b /c/\n"
        'CMD ["n", "-g \\"q\\""]\nENTRYPOINT e\nEXPOSE 80\nVOLUME /v\nUSER u\nLABEL l=m\n'
    )
    dockerfile, asked = parse(text), options()
    bases = {BaseImage("base", ARM64): {"history": [{"created_by": "base"}]}}
    found = evaluate(dockerfile, asked, bases).target
    assert [h["created_by"] for h in found.history] == [
        "base",
        "ARG A=1",
        "ENV B=2 C=3",
        "RUN |1 A=1 /bin/sh -c x",
        "WORKDIR /w",
        "WORKDIR /",
        "COPY --chown=1 a b /c/",
        'CMD ["n" "-g \\"q\\""]',
        'ENTRYPOINT ["/bin/sh" "-c" "e"]',
        "EXPOSE [80/tcp]",
        "VOLUME [/v]",
        "USER u",
        "LABEL l=m",
    ]
    own = [h for h in found.history if h.get("comment") == "argosy.dockerfile.v0"]
    assert len([h for h in own if not h.get("empty_layer")]) == len(found.steps) == 3


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("https://example.org/x", "http"),
        ("https://example.org/x.git?x=y/z", None),
        ("https://example.org/x.git#main", "git"),
        ("git@example.org:x", "git"),
        ("user@example.org:x.git", "git"),
        ("ssh://example.org/x", "git"),
        ("git://example.org/x", "git"),
    ],
)
def test_add_tells_repositories_from_files_of_the_web(source: str, kind: str | None) -> None:
    text = f"FROM a\nADD {source} /\n"
    if kind is None:
        assert "cannot be read as a git repository" in failure(text).summary
        return
    (step,) = plan(text).target.steps
    assert isinstance(step, CopyStep)
    assert [(d.url, d.kind) for d in step.downloads] == [(source, kind)]


@pytest.mark.parametrize(
    ("checksum", "source"),
    [("sha256:" + "0" * 64, "https://h/x.git"), ("0" * 40, "https://h/x")],
)
def test_a_checksum_must_be_of_the_sources_kind(checksum: str, source: str) -> None:
    text = f"FROM a\nADD --checksum={checksum} {source} /\n"
    assert "is not a checksum of this source" in failure(text).summary


def test_copy_takes_no_url() -> None:
    assert "URL" in failure("FROM a\nARG U=https://x/y\nCOPY $U /\n").summary


junk = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
keys = [
    "Env",
    "Cmd",
    "User",
    "WorkingDir",
    "Labels",
    "ExposedPorts",
    "Volumes",
    "Shell",
    "Entrypoint",
]


@given(st.dictionaries(st.sampled_from(keys), junk), junk)
def test_a_strange_config_of_the_base_breaks_nothing(config: dict[str, Any], other: Any) -> None:
    dockerfile, asked = (
        parse("FROM x\nENV A=$B\nRUN a\nEXPOSE 1\nLABEL a=b\nVOLUME /v\n"),
        options(),
    )
    for raw in ({"config": config, "history": other, "author": other}, {"config": other}):
        found = evaluate(dockerfile, asked, {BaseImage("x", ARM64): raw})
        assert len(found.target.steps) == 1


@pytest.mark.parametrize(
    "line",
    [
        "EXPOSE http",
        "EXPOSE 70000",
        "EXPOSE 90-80",
        "EXPOSE 80/icmp",
        "STOPSIGNAL SIGWHAT",
        "STOPSIGNAL 99",
        "STOPSIGNAL SIGRTMIN+16",
        "VOLUME /a $NOTHING",
    ],
)
def test_a_value_that_cannot_be_used_is_an_error_only_where_it_is_needed(line: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        plan(f"FROM scratch\n{line}\n")
    assert caught.value.line == 2
    assert plan(f"FROM scratch AS unused\n{line}\nFROM scratch\n").target.index == 1


def test_the_target_stage_is_the_last_one_unless_another_is_asked_for() -> None:
    text = "FROM scratch AS a\nARG TARGETSTAGE\nENV X=$TARGETSTAGE\nFROM a AS b\n"
    assert "X=b" in plan(text).target.config["Env"]
    assert "X=a" in plan(text, target="a").target.config["Env"]
    unnamed = "FROM scratch\nARG TARGETSTAGE\nENV X=$TARGETSTAGE\n"
    assert "X=default" in plan(unnamed).target.config["Env"]


def test_an_absolute_working_directory_stays_as_it_is_written() -> None:
    target = plan("FROM scratch\nWORKDIR /app/\nWORKDIR x/\n").target
    assert target.config["WorkingDir"] == "/app/x"
    assert [s.path for s in target.steps if isinstance(s, WorkdirStep)] == ["/app", "/app/x"]
    assert plan("FROM scratch\nWORKDIR /app/\n").target.config["WorkingDir"] == "/app/"


def test_caches_of_a_namespace_are_apart() -> None:
    text = "FROM scratch\nRUN --mount=type=cache,target=/c --mount=type=cache,target=/d,id=x true\n"
    step = plan(text, build_args={"BUILDKIT_CACHE_MOUNT_NS": "ci"}).target.steps[0]
    assert isinstance(step, RunStep)
    assert [m.id for m in step.mounts if isinstance(m, CacheMount)] == ["ci/c", "ci/x"]
