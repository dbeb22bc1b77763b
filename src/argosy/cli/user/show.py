"""`argosy user show`."""

import argparse

from argosy.cli.managing.options import add_registry, add_value
from argosy.cli.options import Parser

HELP = "Show a user: where the account comes from, the groups, the last login."


def arguments(parser: Parser) -> None:
    """The words of `user show`."""
    parser.add_argument("user", metavar="NAME", help="the user")
    add_value(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Print it."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import USER, show

    async with managing(args) as api:
        show(args, await api.get(path("users", args.user)), USER)
    return 0
