"""`argosy config example`."""

import argparse

from argosy.cli.options import Parser

HELP = "Print a settings file for `argosy serve --config` with every setting and its meaning."


def arguments(_parser: Parser) -> None:
    """No words."""


def run(_args: argparse.Namespace) -> int:
    """Print it."""
    from argosy.server.config.describing import example

    print(example(), end="")
    return 0
