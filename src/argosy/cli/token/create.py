"""`argosy token create`."""

import argparse

from argosy.cli.managing.options import add_registry, add_value
from argosy.cli.managing.words import days
from argosy.cli.options import Parser

HELP = (
    "Make a personal access token: it stands in for your password wherever one is asked for, and"
    " may do what you may, or less (--scope). It is shown once, on stdout."
)


def arguments(parser: Parser) -> None:
    """The words of `token create`."""
    parser.add_argument("name", metavar="NAME", help="what you will know it by: laptop")
    parser.add_argument(
        "--days", metavar="N", type=days, help="for how long (default: the server's)"
    )
    parser.add_argument(
        "--scope",
        metavar="GRANT",
        action="append",
        default=[],
        help="only this: repository:PATTERN:pull,push; repeatable",
    )
    add_value(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Make it; prints it."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.secrets import told_once
    from argosy.cli.managing.views import TOKEN_MADE, show

    body = {"name": args.name, "scopes": args.scope}
    if args.days:
        body["days"] = args.days
    async with managing(args) as api:
        made = await api.post(path("tokens"), body)
    show(args, made, TOKEN_MADE)
    told_once("the token")
    return 0
