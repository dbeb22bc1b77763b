"""build and run: words become options, results are told, and a real build runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from argosy.cli.building import foreign
from argosy.cli.building.reading import options_of
from argosy.cli.main import parser
from argosy.cli.verbs import find
from argosy.errors import UsageError
from tests.images import LayoutWriter
from tests.peers import need

from .conftest import Argosy


def options(*words: str, stdin: bytes = b"", **environ: str):  # type: ignore[no-untyped-def]
    call = find(["build", *words])
    assert call
    return options_of(parser(call.verb).parse_args(call.rest), environ, lambda: stdin)


def test_the_words_of_docker_build_become_options() -> None:
    found = options(
        "-t", "a:1", "-t", "b:2", "-f", "D", "--platform", "linux/amd64,linux/arm64",
        "--build-arg", "A=1", "--build-arg", "FROM_ENV", "--build-arg", "ABSENT", "--target", "t",
        "--label", "l=v=w", "--annotation", "index:k=v", "--secret", "id=s,src=/f",
        "--secret", "id=e,env=E", "--no-cache", "--pull", "--network", "none", "--push",
        "--metadata-file", "m", "--iidfile", "i", "--build-context", "c=dir",
        "-o", "type=oci,dest=x.tar", "--provenance=false", "--load", ".",
        FROM_ENV="e", SOURCE_DATE_EPOCH="12",
    )  # fmt: skip
    assert (found.context, found.dockerfile, found.tags) == (".", "D", ("a:1", "b:2"))
    assert [str(p) for p in found.platforms] == ["linux/amd64", "linux/arm64"]
    assert found.build_args == {"A": "1", "FROM_ENV": "e"}
    assert found.labels == {"l": "v=w"}
    assert found.annotations == {"index:k": "v"}
    assert [(s.id, s.file, s.env) for s in found.secrets] == [("s", "/f", ""), ("e", "", "E")]
    assert (found.no_cache, found.pull, found.conditions.network, found.push) == (
        True,
        True,
        "none",
        True,
    )
    assert (found.metadata_file, found.iidfile) == ("m", "i")
    assert found.build_contexts == {"c": "dir"}
    assert [(o.kind, o.dest) for o in found.outputs] == [("oci", "x.tar")]
    assert found.source_date_epoch == 12


def test_a_dash_reads_the_dockerfile_from_stdin() -> None:
    found = options("-", stdin=b"FROM scratch")
    assert (found.context, found.dockerfile_text) == ("-", None)  # may be an archive: read later
    with pytest.raises(UsageError, match="both the context and the Dockerfile"):
        options("-f", "-", "-")
    assert options("-f", "-", "dir", stdin=b"x").dockerfile_text == b"x"


@pytest.mark.parametrize(
    "words",
    [
        ["--push", "."],
        ["--build-arg", "=1", "."],
        ["--label", "novalue", "."],
        ["--secret", "src=x", "."],
        ["--secret", "id=a,what=x", "."],
        ["--provenance", "."],
        ["--provenance=mode=max", "."],
        ["--sbom=true", "."],
        ["--attest", "type=sbom", "."],
        ["-o", "type=nothing", "."],
    ],
)
def test_words_that_cannot_be_honoured_are_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        options(*words)


def test_attestations_that_shall_not_be_made_are_not() -> None:
    words = ("--provenance", "false", "--sbom=false", "--attest", "type=provenance,disabled=true")
    assert options(*words, ".").context == "."


def test_stages_without_cache_are_named_once_or_in_one_list() -> None:
    found = options("--no-cache-filter", "a,b", "--no-cache-filter=c", ".")
    assert (found.no_cache_filter, found.no_cache) == (("a", "b", "c"), False)


def test_dockers_own_words_for_limits_are_resources() -> None:
    found = options("-m", "1g", "--cpuset-cpus=0", "--rm", "--compress=false", ".")
    assert (found.conditions.limits.memory, found.conditions.limits.cpuset_cpus) == (1 << 30, "0")


@pytest.mark.parametrize("flag", sorted(foreign._REFUSED))
def test_flags_of_buildx_without_sense_here_are_refused_with_what_to_write(flag: str) -> None:
    for words in ([flag, "x"], [f"{flag}=x"]) if flag != "--squash" else ([flag],):
        with pytest.raises(UsageError, match=f"has no {flag}") as caught:
            options(*words, ".")
        assert caught.value.why
        assert caught.value.remedy


def test_the_epoch_must_be_a_time() -> None:
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        options(".", SOURCE_DATE_EPOCH="yesterday")


def test_a_dockerfile_that_cannot_be_read_is_code_2_with_its_line(
    argosy: Argosy, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nRNU x\n")
    said = argosy("build", tmp_path)
    assert said.code == 2
    assert "Dockerfile:2" in said.err
    assert "RUN" in said.err


def busybox(path: Path) -> None:
    body = Path(need("busybox")).read_bytes()
    layout = LayoutWriter(path)
    files = [{"bin/busybox": body, "bin/sh": body}]
    layout.tag(layout.image("amd64", files, 0o755, ["/bin/busybox", "echo", "base"]), "v1")


def process(*words: object) -> "subprocess.CompletedProcess[str]":
    """A process of its own: build and run enter a mount namespace for good."""
    return subprocess.run(
        [sys.executable, "-m", "argosy", *map(str, words)], capture_output=True, text=True
    )


@pytest.mark.root
@pytest.mark.peer
def test_build_runs_steps_pushes_and_is_all_cache_again(
    argosy: Argosy, host: str, tmp_path: Path
) -> None:
    busybox(tmp_path / "base")
    base, app = f"{host}/cli-build/base:v1", f"{host}/cli-build/app:v1"
    assert argosy("copy", f"oci:{tmp_path}/base:v1", base).code == 0
    context = tmp_path / "context"
    context.mkdir()
    (context / "words").write_text("ahoy")
    (context / "Dockerfile").write_text(
        f"FROM {base}\nCOPY words /words\nRUN /bin/busybox cat /words > /said\n"
        'CMD ["/bin/busybox", "cat", "/said"]\n'
    )
    meta = tmp_path / "meta.json"
    words = ["build", "-t", app, "--push", "--progress", "plain", "--metadata-file", meta, context]
    first = process(*words)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith(f"{app}@sha256:")
    assert "RUN /bin/busybox cat /words" in first.stderr
    digest = first.stdout.strip().partition("@")[2]
    assert argosy("digest", app).out.strip() == digest
    assert json.loads(meta.read_text())
    second = process(*words)
    assert second.stdout == first.stdout
    assert "CACHED" in second.stderr
    ran = process("run", "-q", app)
    assert (ran.returncode, ran.stdout) == (0, "ahoy"), ran.stderr
    other = process("run", "-q", app, "/bin/busybox", "sh", "-c", "exit 3")
    assert other.returncode == 3
    told = process("build", "--json", "-q", "-t", app, context)
    assert json.loads(told.stdout)["digest"] == digest


@pytest.mark.root
@pytest.mark.peer
def test_a_failed_step_is_code_1_with_its_output(argosy: Argosy, tmp_path: Path, host: str) -> None:
    busybox(tmp_path / "base")
    base = f"{host}/cli-build/base2:v1"
    argosy("copy", f"oci:{tmp_path}/base:v1", base)
    (tmp_path / "Dockerfile").write_text(
        f'FROM {base}\nRUN ["/bin/busybox", "sh", "-c", "echo so far; exit 9"]\n'
    )
    said = process("build", "--progress", "plain", tmp_path)
    assert said.returncode == 1
    assert "so far" in said.stderr
    assert "exit code 9" in said.stderr
