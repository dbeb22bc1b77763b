"""`argosy token list`."""

import argparse

from argosy.cli.managing.options import add_list, add_registry
from argosy.cli.options import Parser

HELP = "List your personal access tokens: never the tokens themselves."


def arguments(parser: Parser) -> None:
    """The words of `token list`."""
    add_list(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Print them."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import TOKENS, show_list

    async with managing(args) as api:
        show_list(args, [one async for one in api.every(path("tokens"))], TOKENS, name="id")
    return 0
