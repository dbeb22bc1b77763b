"""docs/cli.md, made from the parsers; a test says when it is behind."""

import argparse
from collections.abc import Iterator

from argosy.cli import verbs
from argosy.cli.main import parser
from argosy.cli.terminal.help import row, usage, visible

_HEAD = """\
# Every verb and flag

This page is made from the parsers (`make docs`). Flags are spelled as in docker, buildx,
skopeo and crane; a switch also takes `=true` and `=false`. `argosy VERB --help` shows
the same.

Progress goes to stderr, results to stdout. `--json` makes results JSON, and errors one line
of JSON on stderr. [Exit codes](exit-codes.md) are stable.
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD, *(_verb(verb) for verb in verbs.VERBS), _aliases()]
    return "\n".join(parts)


def _verb(verb: verbs.Verb) -> str:
    made = parser(verb)
    lines = [f"## argosy {verb.name}", "", f"`{usage(made)}`", "", made.description or "", ""]
    rows = list(_rows(made))
    if rows:
        lines += ["| | |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def _rows(made: argparse.ArgumentParser) -> Iterator[str]:
    for action in made._actions:  # noqa: SLF001 - argparse offers no other way to ask
        if visible(action) and action.dest not in ("help", "debug"):
            name, about = row(action)
            yield f"| `{_cell(name)}` | {_cell(about)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _aliases() -> str:
    rows = [f"| `argosy {alias}` | `argosy {meant}` |" for alias, meant in verbs.ALIASES.items()]
    head = ["## Other tools' words", "", "| you may type | for |", "|---|---|"]
    return "\n".join([*head, *rows, ""])
