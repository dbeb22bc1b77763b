"""Errors as people and scripts read them, and the exit codes they give."""

import inspect
import json
import os
import re
from pathlib import Path

import pytest

from argosy import errors
from argosy.cli.main import command
from argosy.cli.terminal.failures import plain_cause, tell, unexpected, words
from argosy.model.digest import Digest

GOLDEN = Path(__file__).parent / "golden"
DOC = Path(__file__).parents[2] / "docs/exit-codes.md"


def samples() -> dict[str, errors.ArgosyError]:
    """One error of each shape people meet."""
    missing = errors.NotFound("no manifest 'v2' in host/app", remedy="did you mean v1?")
    return {
        "not-found": missing,
        "platform": errors.NoMatchingPlatform(
            "host/app:v1", wanted="linux/s390x", available=["linux/amd64", "linux/arm64"]
        ),
        "digest": errors.DigestMismatch("layer", expected=Digest.of(b"a"), actual=Digest.of(b"b")),
        "step": errors.StepFailed(
            "[build 2/5] RUN make",
            status=2,
            output="cc -c main.c\nmain.c:1: error: no\n",
            why="the command says so",
            remedy="see the output",
        ),
        "copy": errors.CopyError("resolve", "source", "v2", missing),
        "usage": errors.UsageError("argosy copy: one argument too many: 'x'"),
        "several-lines": errors.ConfigError("two things", why="first\nsecond", remedy="a\nb"),
        "unexpected": unexpected(KeyError("x")),
        "file": unexpected(PermissionError(13, "Permission denied", "/etc/shadow")),
    }


@pytest.mark.parametrize("name", samples())
def test_errors_read_as_in_the_golden_file(name: str) -> None:
    golden = GOLDEN / f"error-{name}.txt"
    shown = words(samples()[name]) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(shown)
    assert shown == golden.read_text()


def test_a_dockerfile_error_shows_place_and_source() -> None:
    error = errors.DockerfileError("unknown instruction FRM", file="Dockerfile", line=3)
    error.evidence["excerpt"] = [(2, ""), (3, "FRM debian")]
    shown = words(error)
    assert "Dockerfile:3" in shown
    assert "FRM debian" in shown


def test_as_json_the_error_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    tell(samples()["platform"], as_json=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    told = json.loads(err)["error"]
    assert (told["code"], told["exit_code"]) == ("no-matching-platform", 4)
    assert told["evidence"]["available"] == ["linux/amd64", "linux/arm64"]


def test_escape_sequences_of_others_are_shown_and_not_obeyed() -> None:
    error = errors.NotFound("\x1b[2J", why="\x1b]0;title\x07\nargosy: done\r", remedy="\u202edo")
    told = words(error)
    assert told.isascii()
    assert told.replace("\n", "").isprintable()
    assert "\\x1b[2J" in told
    assert "\n             argosy: done" in told


def test_a_group_of_errors_is_told_as_its_first() -> None:
    missing = errors.NotFound("x")
    group = BaseExceptionGroup("g", [ExceptionGroup("h", [missing, ValueError()])])
    assert plain_cause(group) is missing


def concrete() -> list[type[errors.ArgosyError]]:
    found = [c for _, c in inspect.getmembers(errors, inspect.isclass)]
    return [c for c in found if issubclass(c, errors.ArgosyError)]


def test_every_exit_code_is_in_the_documented_table() -> None:
    """The table of docs/exit-codes.md and the classes agree, both ways."""
    rows = re.findall(r"^\| (\d+) \| .* \| ?(.*?) ?\|$", DOC.read_text(), re.MULTILINE)
    documented = {code: int(n) for n, codes in rows for code in re.findall(r"`([a-z-]+)`", codes)}
    actual = {c.code: c.exit_code for c in concrete() if c is not errors.CopyError}
    assert documented == actual


def test_codes_are_unique() -> None:
    codes = [c.code for c in concrete()]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["--version"], 0),
        (["--help"], 0),
        ([], 0),
        (["help", "copy"], 0),
        (["copy", "--help"], 0),
        (["index", "create", "--help"], 0),
        (["nonsense"], 2),
        (["copy"], 2),
        (["copy", "a", "b", "c"], 2),
        (["copy", "--jobs", "0", "a", "b"], 2),
        (["copy", "--platfrom", "linux/amd64", "a", "b"], 2),
        (["copy", "--platform", "what/ever/is/this", "a", "b"], 2),
        (["inspect", "UPPER/case:x y"], 2),
        (["inspect", "oci:/nowhere:v1"], 4),
        (["tags", "--tls-verify=maybe", "x"], 2),
    ],
)
def test_main_gives_the_documented_code(argv: list[str], code: int) -> None:
    assert command(argv) == code


def test_a_wrong_verb_or_flag_is_answered_with_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command(["copi", "a", "b"])
    assert "`argosy copy`" in capsys.readouterr().err
    command(["copy", "--platfrom", "linux/amd64", "a", "b"])
    assert "did you mean --platform?" in capsys.readouterr().err


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["--debug", "inspect", "oci:/nowhere:v1"]) == 4
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "argosy: error: " in err
    assert command(["inspect", "oci:/nowhere:v1"]) == 4
    assert "Traceback" not in capsys.readouterr().err


def test_a_bug_is_told_as_a_bug_with_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("argosy.cli.version.run", lambda _args: 1 // 0)
    assert command(["version"]) == 1
    err = capsys.readouterr().err
    assert "unexpected ZeroDivisionError" in err
    assert "report it" in err


def test_interruption_gives_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("argosy.cli.version.run", interrupted)
    assert command(["version"]) == 130


def test_a_current_directory_that_is_gone_is_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    error = unexpected(FileNotFoundError(2, "No such file or directory"))
    assert isinstance(error, errors.UsageError)
    assert error.summary == "the current directory is gone"
