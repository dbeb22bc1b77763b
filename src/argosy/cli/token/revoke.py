"""`argosy token revoke`."""

import argparse

from argosy.cli.managing.options import add_registry
from argosy.cli.options import Parser

HELP = "Revoke personal access tokens, by the IDs that `argosy token list` shows."


def arguments(parser: Parser) -> None:
    """The words of `token revoke`."""
    parser.add_argument("tokens", metavar="ID", type=int, nargs="+", help="which")
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Revoke them; prints the ID of each."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing

    async with managing(args) as api:
        for token in args.tokens:
            await api.delete(path("tokens", token))
            print(token)
    return 0
