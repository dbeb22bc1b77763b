"""`argosy user delete`."""

import argparse

from argosy.cli.managing.options import add_registry
from argosy.cli.options import Parser

HELP = "Delete a user, with tokens and memberships. The robots they made are disabled."


def arguments(parser: Parser) -> None:
    """The words of `user delete`."""
    parser.add_argument("user", metavar="NAME", help="the user")
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Delete it; prints the name."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing

    async with managing(args) as api:
        await api.delete(path("users", args.user))
    print(args.user)
    return 0
