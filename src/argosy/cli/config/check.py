"""`argosy config check`."""

import argparse
import os
from typing import TYPE_CHECKING

from argosy.cli.options import Parser, add_json

if TYPE_CHECKING:
    from argosy.server.config.probing import Finding
    from argosy.server.config.sections import ServerSettings

HELP = (
    "Check the settings of `argosy serve`: the file, and what the environment says. Every problem"
    " is told at once; exits with 2 if there is one. Nothing is changed."
)


def arguments(parser: Parser) -> None:
    """The words of `config check`."""
    parser.add_argument("file", metavar="FILE", nargs="?", default="", help="argosy.toml")
    parser.add_switch(
        "--connect",
        help="also ask what is named there: database, bucket, Redis, LDAP, OIDC provider",
    )
    add_json(parser, "print a list of {name, state, summary, next}")


async def run(args: argparse.Namespace) -> int:
    """Check them; 2 when something is wrong."""
    found = await _findings(args)
    failed = [finding for finding in found if finding.state == "fail"]
    if args.json:
        from argosy.cli.terminal.table import print_json

        print_json([finding.to_json() for finding in found])
    else:
        for finding in found:
            print(_words(finding))
        if not failed:
            print(f"{args.file or 'the environment'}: every setting can be used")
    return 2 if failed else 0


async def _findings(args: argparse.Namespace) -> "list[Finding]":
    from argosy.server.config.loading import misspelt, read
    from argosy.server.config.probing import Finding, contradictions, foretold, reached
    from argosy.server.starting.running import with_data
    from argosy.settings import Settings

    loaded = read(args.file)
    found = [
        Finding(name=problem.place, state="fail", summary=problem.why, next=problem.remedy)
        for problem in loaded.problems
    ]
    settings: ServerSettings = with_data(loaded.settings, Settings.load().home)
    found += await contradictions(settings)
    if not found:  # with settings that are off, answers would mislead
        found += await (reached if args.connect else foretold)(settings)
    return found + [
        Finding(name=slip.place, state="warn", summary=slip.why, next=slip.remedy)
        for slip in misspelt(os.environ)
    ]


def _words(finding: "Finding") -> str:
    mark = {"ok": "ok  ", "warn": "warn"}.get(finding.state, "FAIL")
    text = f"{mark}  {finding.name}: {finding.summary}"
    return f"{text}\n      -> {finding.next}" if finding.next else text
