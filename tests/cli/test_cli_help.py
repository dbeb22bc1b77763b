"""Help texts, the reference made from them, and what is imported before a verb runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from argosy.cli import verbs
from argosy.cli.main import command, overview, parser
from argosy.cli.terminal.help import text
from argosy.cli.terminal.reference import page

GOLDEN = Path(__file__).parent / "golden"
TOP = Path(__file__).parents[2]


def check(name: str, shown: str) -> None:
    golden = GOLDEN / f"help-{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(shown)
    assert shown == golden.read_text()


def test_the_overview_reads_as_in_the_golden_file() -> None:
    check("overview", overview())


@pytest.mark.parametrize("verb", verbs.VERBS, ids=lambda v: v.name.replace(" ", "-"))
def test_each_help_reads_as_in_the_golden_file(verb: verbs.Verb) -> None:
    shown = text(parser(verb))
    check(verb.name.replace(" ", "-"), shown)
    # A long metavar may stand on a line of its own; prose may not run over.
    assert all(len(line) <= 80 or line.startswith("  -") for line in shown.splitlines()[1:])


def test_the_reference_in_docs_is_current() -> None:
    """`python scripts/write_docs.py` (make docs) writes it anew."""
    assert (TOP / "docs/cli.md").read_text() == page()


@pytest.mark.parametrize("verb", verbs.VERBS, ids=lambda v: v.name.replace(" ", "-"))
def test_every_flag_says_what_it_does(verb: verbs.Verb) -> None:
    for action in parser(verb)._actions:
        assert action.help, f"{verb.name} {action.option_strings or action.dest}"


@pytest.mark.parametrize(
    "words", [["robot"], ["robot", "--help"], ["robot", "-h"], ["help", "robot"]]
)
def test_the_first_word_of_verbs_lists_them(words: list[str], capsys) -> None:
    assert command(words) == 0
    check("group-robot", capsys.readouterr().out)


def test_the_settings_are_meant_where_an_alias_has_the_same_word(capsys) -> None:
    assert command(["config", "--help"]) == 0
    assert "config check" in capsys.readouterr().out


def test_a_mistyped_second_word_is_answered_with_the_nearest_of_its_kind(capsys) -> None:
    assert command(["robot", "lst"]) == 2
    said = capsys.readouterr().err
    assert "no verb 'robot lst'" in said
    assert "did you mean `argosy robot list`" in said
    assert "`argosy robot --help` lists the verbs" in said


def test_every_alias_leads_to_a_verb() -> None:
    for alias, meant in verbs.ALIASES.items():
        call = verbs.find(alias.split())
        assert call is not None
        assert [call.verb.name, *call.rest] == meant.rsplit(" ", len(call.rest))


HEAVY = {"sqlalchemy", "rich", "alembic", "prometheus_client", "zstandard", "isal", "uvloop", "httptools", "getpass", "tempfile", "subprocess", "email.parser", "argparse"}  # fmt: skip


def imported(*words: str) -> set[str]:
    """The modules in memory after a command line has run in a process of its own."""
    code = (
        "import sys\nfrom argosy.cli.main import command\n"
        f"code = command({list(words)!r})\nprint(*sys.modules, file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return set(done.stderr.splitlines()[-1].split())


def test_version_imports_next_to_nothing() -> None:
    found = imported("--version")
    assert not found & (HEAVY | {"asyncio", "json", "dataclasses"})
    assert {m for m in found if m.startswith("argosy")} == {
        "argosy", "argosy.cli", "argosy.cli.main", "argosy.cli.verbs", "argosy.errors",
    }  # fmt: skip


@pytest.mark.parametrize("verb", ["inspect", "digest", "tags"])
def test_looking_at_a_registry_imports_no_heavy_module(verb: str, host: str) -> None:
    found = imported(verb, f"{host}/cli/none:v1")
    assert "argosy.stores.remote.client" in found
    assert sorted(found & (HEAVY - {"argparse", "subprocess"})) == []
    ours = {m.split(".")[1] for m in found if m.startswith("argosy.")}
    assert not ours & {"server", "catalog", "build"}


def test_copy_imports_no_server_and_no_builder(host: str) -> None:
    found = imported("copy", "-q", f"{host}/cli/none:v1", f"{host}/cli/none:v2")
    assert not found & {"sqlalchemy", "rich", "alembic", "prometheus_client"}
    ours = {m.split(".")[1] for m in found if m.startswith("argosy.")}
    assert not ours & {"server", "catalog", "build"}
