"""Completion scripts, run in a real bash; names are asked of the real command."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from argosy.cli.terminal.shells import script

from .conftest import Argosy


def complete(line: str, tmp_path: Path) -> list[str]:
    """What bash offers at the end of a line; `argosy` on the PATH is this checkout's."""
    bin_ = tmp_path / "bin"
    bin_.mkdir(exist_ok=True)
    (bin_ / "argosy").write_text(f'#!/bin/sh\nexec {sys.executable} -m argosy "$@"\n')
    (bin_ / "argosy").chmod(0o755)
    program = (
        'source <(argosy completion bash); COMP_LINE="$1"; COMP_POINT=${#1}; _argosy;'
        ' printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", program, "bash", line],
        capture_output=True, text=True, check=True,
        env={**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.stderr == ""
    return [word for word in done.stdout.splitlines() if word]


def test_verbs_and_aliases_complete(tmp_path: Path) -> None:
    assert complete("argosy co", tmp_path) == ["completion", "config", "copy"]
    assert complete("argosy index ", tmp_path) == ["create"]


def test_flags_complete_after_the_verb(tmp_path: Path) -> None:
    assert complete("argosy copy --plat", tmp_path) == ["--platform"]
    assert complete("argosy --debug cp x --digest", tmp_path) == ["--digestfile"]
    assert "--append" in complete("argosy index create --", tmp_path)


def test_local_names_complete(argosy: Argosy, layout: Path, tmp_path: Path) -> None:
    argosy("copy", f"oci:{layout}:v1", "local:host.example/team/app:v1")
    assert complete("argosy push host.ex", tmp_path) == ["host.example/team/app:v1"]
    assert complete("argosy push host.example/team/app:", tmp_path) == ["v1"]


def test_repositories_and_tags_complete(
    argosy: Argosy, layout: Path, host: str, tmp_path: Path
) -> None:
    argosy("copy", f"oci:{layout}:v1", f"{host}/complete/app:v1")
    argosy("tag", f"{host}/complete/app:v1", "v2")
    port = host.partition(":")[2]
    assert complete(f"argosy inspect {host}/compl", tmp_path) == [f"{port}/complete/app"]
    assert complete(f"argosy inspect {host}/complete/app:", tmp_path) == ["v1", "v2"]


def test_what_cannot_be_asked_completes_to_nothing(argosy: Argosy) -> None:
    said = argosy("__complete", "inspect", "127.0.0.1:1/x")
    assert (said.code, said.out, said.err) == (0, "", "")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_scripts_of_other_shells_name_every_verb_and_parse(shell: str, tmp_path: Path) -> None:
    text = script(shell)
    for verb in ("copy", "index", "create", "doctor"):
        assert verb in text
    if program := shutil.which(shell):
        (tmp_path / "script").write_text(text)
        subprocess.run([program, "-n", tmp_path / "script"], check=True)


def test_every_second_word_completes(tmp_path: Path) -> None:
    assert complete("argosy history ", tmp_path) == ["ls", "inspect", "logs", "rm"]
    assert complete("argosy robot ro", tmp_path) == ["rotate"]
    assert "--now" in complete("argosy robot rotate --", tmp_path)
    # A verb with second words keeps its own arguments.
    assert complete("argosy tags un", tmp_path) == ["undo"]
    assert "--json" in complete("argosy tags --", tmp_path)
