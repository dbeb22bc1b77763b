"""`argosy user update`."""

import argparse

from argosy.cli.managing.options import add_registry, add_value
from argosy.cli.managing.words import given
from argosy.cli.options import Parser
from argosy.errors import UsageError

HELP = "Change a user: make them a system admin, or note another address. What is not named stays."


def arguments(parser: Parser) -> None:
    """The words of `user update`."""
    parser.add_argument("user", metavar="NAME", help="the user")
    parser.add_switch(
        "--admin", help="a system admin, who may do everything; =false takes it back", default=None
    )
    parser.add_argument("--email", metavar="ADDRESS", default=..., help="where to reach them")
    add_value(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Change it; prints it."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import USER, show

    body = given(admin=... if args.admin is None else args.admin, email=args.email)
    if not body:
        raise UsageError("nothing was said to change", remedy="`argosy user update --help`")
    async with managing(args) as api:
        show(args, await api.change(path("users", args.user), body), USER)
    return 0
