"""Errors as people read them: the golden files are the promise (UPDATE_GOLDEN=1 renews them)."""

import os
from pathlib import Path

import pytest

from argosy.build.dockerfile.evaluate import base_images, evaluate
from argosy.build.dockerfile.parser import parse
from argosy.build.dockerfile.render import render
from argosy.build.dockerfile.stages import FrontendOptions
from argosy.errors import DockerfileError
from argosy.model.platform import Platform

GOLDEN = Path(__file__).parent / "golden"

CASES = {
    "unknown-instruction": "FROM debian\nRNU apt-get update\n",
    "no-such-instruction": "FROM debian\nINCLUDE other\n",
    "unknown-flag": "FROM debian AS a\nCOPY --chwon=1:1 a \\\n  b /c/\n",
    "flag-without-value": "FROM debian\nCOPY --from build /a /b\n",
    "no-from": "ARG A=1\n",
    "run-before-from": "# syntax=x\nRUN true\nFROM debian\n",
    "empty": "\n",
    "open-document": "FROM debian\n\nRUN <<EOF\necho a\n  EOF\nCMD b\n",
    "bad-mount-key": "FROM debian\nRUN --mount=type=cache,taget=/x \\\n  --network=none \\\n  make\n",
    "bad-mount-kind": "FROM debian\nRUN --mount=type=secrt,id=x make\n",
    "bad-chmod": "FROM debian\n\tCOPY --chmod=9 a b\n",
    "bad-duration": "FROM debian\nHEALTHCHECK --interval=5 CMD x\n",
    "bad-port": "FROM debian\nEXPOSE 80/tpc\n",
    "bad-signal": "FROM debian\nSTOPSIGNAL SIGTREM\n",
    "bad-substitution": "FROM debian\nENV A=${B:z}\n",
    "open-quote": 'FROM debian\nLABEL a="b\n',
    "required-variable": 'FROM debian\nARG V\nENV W="${V:?say which}"\n',
    "name-without-value": "FROM debian\nENV A=1 B\n",
    "shell-form-of-shell": "FROM debian\nSHELL bash -c\n",
    "empty-base": "ARG BASE\nFROM ${BASE} AS x\n",
    "bad-platform": "FROM --platform=linux/amd64/v1/x debian\n",
    "circular": "FROM debian AS a\nCOPY --from=b /x /x\nFROM a AS b\n",
    "later-stage": "FROM debian AS a\nCOPY --from=b /x /x\nFROM debian AS b\nFROM a\n",
    "stage-number": "FROM debian\nCOPY --from=3 /x /x\n",
    "from-with-variable": "FROM debian\nCOPY --from=${S} /x /x\n",
    "run-device": "FROM debian\nRUN --device=nvidia.com/gpu make\n",
    "empty-volume": "FROM debian\nVOLUME /data $MORE\n",
    "bad-image": "FROM Debian:12\n",
    "bad-image-to-copy-from": "FROM debian\nCOPY --from=Nginx: /a /b\n",
    "platform-typo": "FROM --platform=$BULIDPLATFORM debian\n",
    "base-typo": "ARG VERSION=12\nFROM ${VERISON}\n",
    "sharing-typo": "FROM debian\nRUN --mount=type=cache,target=/c,sharing=lokced x\n",
    "network-typo": "FROM debian\nRUN --network=hots x\n",
    "second-directive": "# escape=`\n# escape=`\nFROM debian\n",
    "bad-escape": "# escape=/\nFROM debian\n",
    "nul": "FROM debian\nRUN a\x00b\n",
    "long-line": "FROM debian\nRUN " + "x" * 70_000 + "\n",
    "document-as-destination": "FROM debian\nCOPY a <<EOF\nEOF\n",
    "checksum-of-two": "FROM debian\nADD --checksum=sha256:" + "a" * 64 + " a b /c/\n",
    "copy-of-url": "FROM debian\nCOPY https://example.com/x /x\n",
    "bad-exclude": "FROM debian\nCOPY --exclude=a[ . /\n",
    "onbuild-from": "FROM debian\nONBUILD FROM x\n",
    "control-characters": "FROM debian\nRN\x1b[31m x\n",
    "not-strings": 'FROM debian\nCMD ["a", 1]\n',
}


def failure(text: str, target: str = "") -> DockerfileError:
    linux = Platform("linux", "amd64")
    options = FrontendOptions(platform=linux, build_platform=linux, target=target)
    with pytest.raises(DockerfileError) as caught:
        dockerfile = parse(text)
        evaluate(dockerfile, options, {image: {} for image in base_images(dockerfile, options)})
    return caught.value


@pytest.mark.parametrize("name", CASES)
def test_an_error_reads_as_in_the_golden_file(name: str) -> None:
    golden = GOLDEN / f"{name}.txt"
    shown = render(failure(CASES[name], "a" if name == "circular" else "")) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(shown)
    assert shown == golden.read_text()


def test_there_is_no_golden_file_without_a_case() -> None:
    assert {p.stem for p in GOLDEN.iterdir()} == set(CASES)


def test_an_error_carries_its_place_for_programs() -> None:
    error = failure("FROM debian\nCOPY --chwon=1 a b\n")
    assert error.to_json() == {
        "code": "dockerfile",
        "summary": "COPY has no flag --chwon",
        "why": "its flags are: --from --chown --chmod --link --parents --exclude",
        "remedy": "did you mean --chown?",
        "evidence": {
            "file": "Dockerfile",
            "line": 2,
            "source": "COPY --chwon=1 a b",
            "last_line": 2,
            "column": 6,
            "width": 7,
            "excerpt": [(1, "FROM debian"), (2, "COPY --chwon=1 a b")],
        },
    }
    assert error.exit_code == 2


def test_an_error_in_a_huge_line_stays_small() -> None:
    error = failure("FROM debian\nCOPY " + "a" * 60_000 + "\n")
    assert len(render(error)) < 2000
