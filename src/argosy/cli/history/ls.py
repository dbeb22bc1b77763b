"""`argosy history ls`."""

import argparse
import os
import time
from typing import TYPE_CHECKING

from argosy.cli.options import Parser, add_json

if TYPE_CHECKING:
    from argosy.build.history.record import BuildRecord

HELP = (
    "List the builds of this machine, the last one first: those that failed, were cancelled or"
    " killed too. They are remembered for 7 days, at most 50 of them (ARGOSY_HISTORY_AGE and"
    " ARGOSY_HISTORY_ENTRIES)."
)
_LONGEST = 40  # characters of a name


def arguments(parser: Parser) -> None:
    """The words of `history ls`."""
    parser.add_argument(
        "--filter",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="ref, repository or status with = or !=; startedAt, completedAt or duration with <"
        " or >; of several all must hold",
    )
    parser.add_argument("--local", action="store_true", help="only builds of this repository")
    parser.add_argument("--no-trunc", action="store_true", help="whole names")
    parser.add_argument(
        "--format",
        metavar="table|json|TEMPLATE",
        default="",
        help="json and a template give a line each",
    )
    add_json(parser, "print a list of the records")


async def run(args: argparse.Namespace) -> int:
    """Print them."""
    from argosy.build.history.reading import History
    from argosy.cli.history.choosing import chosen
    from argosy.cli.session import settings_of
    from argosy.concurrency import in_thread

    wanted = chosen(args.filter)
    history = History.of(settings_of(args).home)
    records = [r for r in await in_thread(history.records) if wanted(r)]
    if args.local:
        from argosy.build.results.git_facts import GitFacts, git_facts

        facts = await in_thread(git_facts, os.getcwd())
        remote = facts.remote if isinstance(facts, GitFacts) else None
        records = [r for r in records if remote and r.git.get("remote") == remote]
    _show(records, args)
    return 0


def _show(records: "list[BuildRecord]", args: argparse.Namespace) -> None:
    from argosy.cli.history.showing import listed
    from argosy.cli.terminal.table import print_json, print_table

    if args.json:
        print_json([record.to_json() for record in records])
    elif args.format in ("", "table"):
        now = time.time()
        longest = None if args.no_trunc else _LONGEST
        rows = [listed(record, now, longest) for record in records]
        print_table(("BUILD ID", "NAME", "STATUS", "CREATED AT", "DURATION"), rows)
    else:
        from argosy.cli.history.showing import fields
        from argosy.cli.terminal.template import render

        template = "{{json .}}" if args.format == "json" else args.format.removeprefix("table ")
        print("".join(f"{render(template, fields(r))}\n" for r in records), end="")
