"""`argosy config check`."""

import argparse

from argosy.cli.options import Parser

HELP = (
    "Check the settings of `argosy serve`: the file, and what the environment says. Every problem"
    " is told at once."
)


def arguments(parser: Parser) -> None:
    """The words of `config check`."""
    parser.add_argument("file", metavar="FILE", nargs="?", default="", help="argosy.toml")


def run(args: argparse.Namespace) -> int:
    """Check them; the exit code is 2 when something is wrong."""
    from argosy.server.config.loading import load

    load(args.file)
    print(f"{args.file or 'the environment'}: every setting can be used")
    return 0
