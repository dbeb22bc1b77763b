"""`argosy config show`."""

import argparse

from argosy.cli.options import Parser, add_json

HELP = "Show the settings of `argosy serve` that are in force, and where each came from."


def arguments(parser: Parser) -> None:
    """The words of `config show`."""
    parser.add_argument("file", metavar="FILE", nargs="?", default="", help="argosy.toml")
    parser.add_argument("--all", action="store_true", help="also what is at its default")
    add_json(parser, "print a list of name, value and origin")


def run(args: argparse.Namespace) -> int:
    """Print them; secrets are not shown."""
    from argosy.cli.terminal.table import print_json, print_table
    from argosy.server.config.describing import in_force
    from argosy.server.config.loading import load, read

    load(args.file)
    rows = [row for row in in_force(read(args.file)) if args.all or row[2] != "default"]
    if args.json:
        print_json([{"name": name, "value": value, "origin": o} for name, value, o in rows])
    elif rows:
        print_table(["SETTING", "VALUE", "ORIGIN"], rows)
    else:
        print("everything is at its default; --all shows it")
    return 0
