"""`argosy user disable`."""

import argparse

from argosy.cli.managing.options import add_registry, add_value
from argosy.cli.options import Parser

HELP = (
    "Lock a user out: password, tokens and sessions, until enabled again (`user disable --enable`)."
)


def arguments(parser: Parser) -> None:
    """The words of `user disable`."""
    parser.add_argument("user", metavar="NAME", help="the user")
    parser.add_switch("--enable", help="let them in again")
    add_value(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Change it; prints it."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import USER, show

    async with managing(args) as api:
        body = {"disabled": not args.enable}
        show(args, await api.change(path("users", args.user), body), USER)
    return 0
