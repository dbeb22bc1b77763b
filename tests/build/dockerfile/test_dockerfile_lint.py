"""The build checks: when each fires, and its words; the cases are those BuildKit's users know."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from argosy.build.dockerfile import ignore
from argosy.build.dockerfile.evaluate import base_images
from argosy.build.dockerfile.lint.findings import Selection, read_selection
from argosy.build.dockerfile.lint.linter import (
    Report,
    Surroundings,
    lint,
    lint_beginning,
)
from argosy.build.dockerfile.lint.page import page
from argosy.build.dockerfile.lint.rules import RULES, Rule
from argosy.build.dockerfile.parser import parse, parse_beginning
from argosy.build.dockerfile.source import Fault
from argosy.build.dockerfile.stages import FrontendOptions
from argosy.errors import ArgosyError, DockerfileError, UsageError
from argosy.model.platform import Platform

TOP = Path(__file__).parents[3]
LINUX = Platform("linux", "amd64")
CONFIG = {"config": {"Env": ["PATH=/bin"], "User": "1000"}}


def options(build_args: dict[str, str] | None = None, target: str = "") -> FrontendOptions:
    return FrontendOptions(
        platform=LINUX, build_platform=LINUX, build_args=build_args or {}, target=target
    )


def report(
    text: str,
    build_args: dict[str, str] | None = None,
    *,
    ignored: str = "",
    every_stage: bool = True,
    config: Mapping[str, object] = CONFIG,
) -> Report:
    dockerfile = parse(text)
    given = options(build_args)
    try:
        bases = dict.fromkeys(base_images(dockerfile, given, every=True), config)
    except ArgosyError:
        bases = {}
    patterns = ignore.parse(ignored.encode())
    around = Surroundings(bases=bases, ignore=ignore.Matcher(patterns) if patterns else None)
    return lint(dockerfile, given, around, every_stage=every_stage)


def found(text: str, build_args: dict[str, str] | None = None, **more: str) -> list[str]:
    """`Rule:line: detail` of every finding that is more than advice."""
    seen = report(text, build_args, **more)  # type: ignore[arg-type] # only `ignored`
    assert seen.error is None, seen.error
    return [f"{f.rule.name}:{f.where.first}: {f.detail}" for f in seen.faults]


def names(text: str, build_args: dict[str, str] | None = None, **more: str) -> list[str]:
    return [line.partition(":")[0] for line in found(text, build_args, **more)]


@pytest.mark.parametrize("rule", [r for r in RULES if r.bad], ids=lambda r: r.name)
def test_the_examples_of_the_documentation_are_true(rule: Rule) -> None:
    assert rule.name in [f.rule.name for f in report(rule.bad, config={}).findings]
    assert rule.name not in [f.rule.name for f in report(rule.good, config={}).findings]


def test_the_page_in_docs_is_current() -> None:
    """`python scripts/write_docs.py` (make docs) writes it anew."""
    assert (TOP / "docs/checks.md").read_text() == page()


def test_there_are_the_checks_of_the_stable_frontend_and_our_own() -> None:
    assert len(RULES) == 23
    assert len({rule.name for rule in RULES}) == 23
    assert [r.name for r in RULES if r.experimental] == ["InvalidDefinitionDescription"]
    assert [r.name for r in RULES if r.advice] == ["FinalUserRoot"]


CASES = {
    "stage-name": (
        "\nFROM scratch AS BadStageName\nFROM scratch as base2\nFROM scratch AS base3\n",
        [
            "StageNameCasing:2: Stage name 'BadStageName' should be lowercase",
            "FromAsCasing:3: 'as' and 'FROM' keywords' casing do not match",
        ],
    ),
    "as-upper": (
        "\nfrom scratch AS base\nfrom scratch as base2\n",
        ["FromAsCasing:2: 'AS' and 'from' keywords' casing do not match"],
    ),
    "gap": (
        "\nFROM scratch\n# gap\nCOPY Dockerfile \\\n\n.\nCOPY Dockerfile \\\n.\n",
        ["NoEmptyContinuation:6: Empty continuation line"],
    ),
    "mixed-case": (
        "\nFrom scratch as base\nFROM scratch AS base2\n",
        [
            (
                "ConsistentInstructionCasing:2: Command 'From' should match the case of the command"
                " majority (uppercase)"
            )
        ],
    ),
    "majority-lower": (
        "FROM scratch\ncopy Dockerfile /foo\ncopy Dockerfile /bar\n",
        [
            (
                "ConsistentInstructionCasing:1: Command 'FROM' should match the case of the command"
                " majority (lowercase)"
            )
        ],
    ),
    "lower": ("from scratch\ncopy Dockerfile /foo\n", []),
    "global-args-do-not-count": ("arg A=1\narg B=1\nARG C=1\nFROM scratch\nCOPY a /\n", []),
    "documents-are-no-instructions": ("FROM alpine\nRUN <<'EOT'\nenv\nEOT\n", []),
    "duplicate": (
        "FROM scratch AS b\nFROM scratch AS B\n",
        [
            'DuplicateStageName:2: Duplicate stage name "b", stage names should be unique',
            "StageNameCasing:2: Stage name 'B' should be lowercase",
        ],
    ),
    "reserved": (
        "FROM scratch AS scratch\nFROM scratch AS context\n",
        [
            'ReservedStageName:1: Stage name should not use the same name as reserved stage "scratch"',
            'ReservedStageName:2: Stage name should not use the same name as reserved stage "context"',
        ],
    ),
    "shell-form": (
        "FROM scratch\nCMD mycommand\n",
        [
            (
                "JSONArgsRecommended:2: JSON arguments recommended for CMD to prevent unintended"
                " behavior related to OS signals"
            )
        ],
    ),
    "shell-form-with-shell": ('FROM scratch\nSHELL ["/x"]\nENTRYPOINT mycommand\n', []),
    "shell-form-with-shell-below": (
        'FROM scratch AS base\nSHELL ["/x"]\nFROM base\nCMD mycommand\n',
        [],
    ),
    "maintainer": (
        "FROM scratch\nMAINTAINER me@example.org\n",
        ["MaintainerDeprecated:2: Maintainer instruction is deprecated in favor of using label"],
    ),
    "arg-in-from": ("ARG base=scratch\nFROM $base\n", []),
    "arg-with-default-in-from": ("ARG DEBUG\nFROM scra${DEBUG:-tch}\n", []),
    "arg-without-value-in-from": ("ARG DEBUG\nFROM scratch${DEBUG}\n", []),
    "undeclared-with-default": (
        "FROM ${IMAGE:-scratch}\n",
        ["UndefinedArgInFrom:1: FROM argument 'IMAGE' is not declared"],
    ),
    "undeclared-in-from": (
        "ARG tag=latest\nFROM busybox:${tag}${version} AS b\n",
        ["UndefinedArgInFrom:2: FROM argument 'version' is not declared"],
    ),
    "build-platform": ("FROM --platform=$BUILDPLATFORM scratch\n", []),
    "workdir": (
        "FROM scratch\nWORKDIR app/\nWORKDIR more\n",
        [
            (
                'WorkdirRelativePath:2: Relative workdir "app/" can have unexpected results if the'
                " base image changes"
            )
        ],
    ),
    "workdir-below": ("FROM scratch AS a\nWORKDIR /app\nFROM a AS b\nWORKDIR subdir/\n", []),
    "declared": ("FROM scratch\nARG foo\nCOPY Dockerfile${foo} .\n", []),
    "declared-below": ("FROM alpine AS base\nARG foo=x\nFROM base\nCOPY $foo .\n", []),
    "shell-variables": ("FROM alpine\nRUN echo $NOWHERE\n", []),
    "undefined-before": (
        "FROM alpine\nCOPY $foo .\nARG foo=bar\nRUN echo $foo\n",
        ["UndefinedVar:2: Usage of undefined variable '$foo'"],
    ),
    "undefined-near": (
        "FROM alpine\nARG DIR_BINARIES=b/\nARG DIR_ASSETS=a/\nCOPY $DIR_ASSET .\n",
        [
            "UndefinedVar:4: Usage of undefined variable '$DIR_ASSET' (did you mean $DIR_ASSETS?)",
        ],
    ),
    "undefined-path": (
        "FROM alpine\nENV PATH=$PAHT:/tmp/bin\n",
        ["UndefinedVar:2: Usage of undefined variable '$PAHT' (did you mean $PATH?)"],
    ),
    "undefined-with-default": (
        "FROM alpine\nENV LD_LIBRARY_PATH=/x:${LD_LIBRARY_PATH:-}\n",
        ["UndefinedVar:2: Usage of undefined variable '$LD_LIBRARY_PATH'"],
    ),
    "undefined-in-expose": ("FROM alpine\nEXPOSE $PORT\n", []),
    "undefined-in-document": (
        "FROM alpine\nCOPY <<EOF /a\n$nothing\nEOF\n",
        ["UndefinedVar:2: Usage of undefined variable '$nothing'"],
    ),
    "several": (
        (
            'FROM scratch\nENTRYPOINT ["/a"]\nENTRYPOINT ["/b"]\nCMD ["/a"]\nCMD ["/b"]\n'
            'HEALTHCHECK CMD ["/a"]\nHEALTHCHECK CMD ["/b"]\n'
        ),
        [
            f"MultipleInstructionsDisallowed:{line}: Multiple {name} instructions should not be"
            " used in the same stage because only the last one will be used"
            for name, line in (("ENTRYPOINT", 2), ("CMD", 4), ("HEALTHCHECK", 6))
        ],
    ),
    "several-stages": ('FROM scratch AS a\nCMD ["/a"]\nFROM a AS b\nCMD ["/b"]\n', []),
    "legacy": (
        "FROM scratch\nENV testkey value\nLABEL key value\n",
        [
            (
                'LegacyKeyValueFormat:2: "ENV key=value" should be used instead of legacy'
                ' "ENV key value" format'
            ),
            (
                'LegacyKeyValueFormat:3: "LABEL key=value" should be used instead of legacy'
                ' "LABEL key value" format'
            ),
        ],
    ),
    "redundant": (
        "FROM --platform=${TARGETPLATFORM} scratch\n",
        [
            (
                "RedundantTargetPlatform:1: Setting platform to predefined ${TARGETPLATFORM} in FROM"
                " is redundant as this is the default behavior"
            )
        ],
    ),
    "constant": (
        "FROM --platform=linux/amd64 scratch\n",
        [
            (
                "FromPlatformFlagConstDisallowed:1: FROM --platform flag should not use constant value"
                ' "linux/amd64"'
            )
        ],
    ),
    "constant-named": (
        (
            "FROM --platform=linux/amd64 scratch AS my_amd64_stage\n"
            "FROM --platform=linux/amd64 scratch AS linux\n"
        ),
        [],
    ),
    "protocol": (
        "FROM scratch\nEXPOSE 80/TcP 8080/TCP 8080/udp\n",
        [
            "ExposeProtoCasing:2: Defined protocol '80/TcP' in EXPOSE instruction should be lowercase",
            (
                "ExposeProtoCasing:2: Defined protocol '8080/TCP' in EXPOSE instruction should be"
                " lowercase"
            ),
        ],
    ),
    "published": (
        "FROM scratch\nEXPOSE 127.0.0.1:80:80 [::1]:8080:8080 5000:5000 8000\n",
        [
            "ExposeInvalidFormat:2: EXPOSE instruction should not define an IP address or"
            f" host-port mapping, found '{port}'"
            for port in ("127.0.0.1:80:80", "5000:5000", "[::1]:8080:8080")
        ],
    ),
    "triggers-are-not-ours": ("FROM scratch AS a\nONBUILD COPY $x /\nFROM a\n", []),
}


@pytest.mark.parametrize("case", CASES)
def test_a_check_fires_where_buildkits_does_with_its_words(case: str) -> None:
    text, expected = CASES[case]
    assert found(text) == expected


def test_names_that_look_like_secrets_are_found_and_others_are_not() -> None:
    text = """
FROM scratch
ARG SECRET_PASSPHRASE
ENV SUPER_Secret=foo
ENV password=bar secret=baz
ARG super_duper_secret_token=foo auth=bar
ENV apikey=bar sunflower=foo
ENV git_key=
ENV PUBLIC_KEY=
ARG public_token
ARG SECRET_PASSPHRASE_FILE
ENV password_file=bar secret_File=baz
ARG AUTH_MODULE_VERSION
# check=skip=SecretsUsedInArgOrEnv // allow secret in environment
ENV password=bar
# check=skip=all // is local to only this instruction
ARG alternate_password
"""
    assert [f.rsplit("(")[1] for f in found(text)] == [
        'ARG "SECRET_PASSPHRASE")',
        'ENV "SUPER_Secret")',
        'ENV "password")',
        'ENV "secret")',
        'ARG "auth")',
        'ARG "super_duper_secret_token")',
        'ENV "apikey")',
        'ENV "git_key")',
    ]


def test_a_default_that_makes_no_image_is_found_though_an_argument_was_given() -> None:
    given = {"VERSION": "latest", "IMAGE": "busybox:latest", "SFX": "box:latest"}
    for text, shown in (
        ("ARG VERSION\nFROM busybox:$VERSION\n", "busybox:$VERSION"),
        ("ARG IMAGE\nFROM $IMAGE\n", "$IMAGE"),
        ('ARG SFX="box:"\nFROM busy${SFX}\n', "busy${SFX}"),
    ):
        assert found(text, given) == [
            (
                f"InvalidDefaultArgInFrom:2: Default value for ARG {shown} results in empty or invalid"
                " base image name"
            )
        ]
    assert found('ARG V="latest"\nFROM busybox:${V}\n', {"V": "latest"}) == []
    assert found("ARG V\nFROM busybox:stable${V}\n", {"V": "-musl"}) == []


def test_a_copy_of_what_the_ignore_file_leaves_out_is_found() -> None:
    text = "FROM scratch\nCOPY Dockerfile .\nADD ./Dockerfile /windy\n"
    assert found(text, ignored="Dockerfile\n") == [
        'CopyIgnoredFile:2: Attempting to Copy file "Dockerfile" that is excluded by .dockerignore',
        'CopyIgnoredFile:3: Attempting to Add file "Dockerfile" that is excluded by .dockerignore',
    ]
    assert found(text, ignored="**\n!Dockerfile\n") == []
    assert found("FROM scratch AS a\nFROM scratch\nCOPY --from=a /x /\n", ignored="x\n") == []
    assert found("FROM scratch\nCOPY . .\n", ignored=".*\n") == []
    assert names("FROM scratch\nCOPY . .\n", ignored="*\n") == ["CopyIgnoredFile"]


def test_comments_that_describe_nothing_are_found_when_asked_for() -> None:
    good = """# check=skip=all;experimental=InvalidDefinitionDescription
# foo this is the foo
ARG foo=bar

# base this is the base image
FROM scratch AS base

# baz this is the baz
ARG foo=baz bar=qux baz=quux
#
ARG bit=bat

# comment for something other than ARG or FROM
COPY Dockerfile .
"""
    assert found(good) == []
    bad = """# check=experimental=InvalidDefinitionDescription
# bar this is the bar
ARG foo=bar
# BasE this is the BasE image
FROM scratch AS base
# definitely a bad comment
ARG version=latest
# definitely a bad comment
ARG foo=baz bar=qux baz=quux
"""
    assert found(bad) == [
        f"InvalidDefinitionDescription:{line}: Comment for {what} should follow the format:"
        f" `# {name} <description>`"
        for line, what, name in (
            (3, "ARG", "foo"),
            (5, "FROM", "base"),
            (7, "ARG", "version"),
            (9, "ARG", "<arg_key>"),
        )
    ]
    assert found(bad.replace("# check", "# nothing", 1)) == []


def test_the_directive_says_what_counts_and_the_build_argument_overrides_it() -> None:
    body = "FROM scratch as base\ncopy Dockerfile .\n"
    assert names("#check=skip=all\n" + body) == []
    assert names("#check=skip=ConsistentInstructionCasing\n" + body) == ["FromAsCasing"]
    both = "#check=skip=ConsistentInstructionCasing,FromAsCasing;error=true\n"
    assert report(both + body).violation is None
    failing = report("#check=skip=ConsistentInstructionCasing;error=true\n" + body)
    assert failing.violation is not None
    assert failing.violation.summary == "lint violation found for rules: FromAsCasing"
    assert failing.violation.line == 2
    assert failing.violation.source == "FROM scratch as base"
    given = {"BUILDKIT_DOCKERFILE_CHECK": "skip=ConsistentInstructionCasing;error=true"}
    overridden = report("#check=skip=all\n" + body, given)
    assert overridden.violation is not None
    quiet = report("#check=error=true\n" + body, {"BUILDKIT_DOCKERFILE_CHECK": "skip=all"})
    assert quiet.violation is None
    assert not quiet.faults


def test_an_option_that_is_not_known_is_an_error_with_a_place_and_a_suggestion() -> None:
    wrong = report("# check=skpi=all\nFROM scratch\n").error
    assert isinstance(wrong, DockerfileError)
    assert (wrong.line, wrong.remedy) == (1, "did you mean skip?")
    assert isinstance(
        report("FROM scratch\n", {"BUILDKIT_DOCKERFILE_CHECK": "error=maybe;x"}).error,
        UsageError | Fault,
    )
    assert read_selection("") == Selection()
    with pytest.raises(Fault):
        read_selection("error=perhaps")


def test_a_comment_above_an_instruction_skips_for_it_alone() -> None:
    text = "FROM scratch\n# check=skip=JSONArgsRecommended,UndefinedVar\nCMD run\nCOPY $x /\n"
    assert names(text) == ["UndefinedVar"]


def test_a_build_checks_the_stages_it_needs_and_check_all_of_them() -> None:
    text = "FROM scratch AS a\nCOPY $foo .\nFROM scratch AS b\nCOPY $bar .\n"
    assert names(text) == ["UndefinedVar", "UndefinedVar"]
    needed = report(text, every_stage=False)
    assert [f.where.first for f in needed.faults] == [4]


def test_what_was_found_before_an_error_is_kept() -> None:
    above = parse_beginning("FROM scratch AS BadStageName\nMAINTAINER me@example.org\nBADCMD\n")
    assert above is not None
    assert [f.rule.name for f in lint_beginning(above, {})] == [
        "StageNameCasing",
        "MaintainerDeprecated",
    ]
    assert parse_beginning("BADCMD\n") is None
    seen = report("FROM --platform=$BULIDPLATFORM scratch\n")
    assert seen.findings[0].detail == (
        "FROM argument 'BULIDPLATFORM' is not declared (did you mean BUILDPLATFORM?)"
    )
    assert seen.error is not None
    assert "BUILDPLATFORM" in seen.error.remedy


def test_an_image_for_another_platform_is_found() -> None:
    other = {**CONFIG, "os": "linux", "architecture": "arm64"}
    seen = report("FROM alpine\n", config=other)
    assert [f.detail for f in seen.findings] == [
        (
            'Base image alpine was pulled with platform "linux/arm64", expected "linux/amd64"'
            " for current build"
        )
    ]
    assert not report("FROM alpine\n", config={**other, "architecture": "amd64"}).findings


def test_without_the_base_images_config_what_depends_on_it_is_left_out() -> None:
    text = "FROM alpine AS a\nENV X=$Y\nCMD run\nSTOPSIGNAL ${S:?no}\nFROM a\nCOPY $Z /\n"
    seen = lint(parse(text), options(), Surroundings(), every_stage=True)
    assert seen.error is None
    assert not seen.findings
    style = lint(parse("from alpine AS b\n"), options(), Surroundings(), every_stage=True)
    assert [f.rule.name for f in style.findings] == ["FromAsCasing"]


@pytest.mark.parametrize(
    ("text", "line", "user"),
    [
        ('FROM scratch\nCMD ["/a"]\n', 1, "root"),
        ('FROM scratch\nUSER 0:0\nCMD ["/a"]\n', 2, "0:0"),
        ('FROM scratch\nUSER app\nUSER root\nENTRYPOINT ["/a"]\n', 3, "root"),
        ('FROM scratch AS a\nCMD ["/a"]\nFROM a\nUSER root\n', 4, "root"),
    ],
)
def test_an_image_that_runs_as_root_is_advised_against(text: str, line: int, user: str) -> None:
    (finding,) = report(text).findings
    assert finding.rule.name == "FinalUserRoot"
    assert finding.where.first == line
    assert finding.detail.startswith(f"The image runs as {user}: ")


@pytest.mark.parametrize(
    "text",
    [
        "FROM scratch\nCOPY a /a\n",  # data: it runs nothing
        'FROM scratch\nUSER 1000\nCMD ["/a"]\n',
        "FROM alpine\nRUN make\n",  # the base says so
        'FROM scratch AS b\nCMD ["/a"]\nFROM alpine\n',  # not the last one
        '# check=skip=FinalUserRoot\nFROM scratch\nCMD ["/a"]\n',
    ],
)
def test_other_images_are_not(text: str) -> None:
    assert not report(text).findings


def test_advice_fails_nothing() -> None:
    seen = report('# check=error=true\nFROM scratch\nCMD ["/a"]\n')
    assert len(seen.findings) == 1
    assert seen.violation is None


def test_findings_are_as_buildkits_json() -> None:
    (finding,) = report("FROM scratch\nCMD a \\\n b\nUSER 1\n").findings
    assert finding.to_json() == {
        "ruleName": "JSONArgsRecommended",
        "description": finding.rule.description,
        "url": "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/",
        "detail": finding.detail,
        "location": {"ranges": [{"start": {"line": 2}, "end": {"line": 3}}]},
    }
