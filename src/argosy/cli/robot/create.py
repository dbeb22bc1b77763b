"""`argosy robot create`."""

import argparse

from argosy.cli.managing.options import add_registry, add_value
from argosy.cli.managing.words import days
from argosy.cli.options import Parser

HELP = (
    "Make a robot account: a name and a secret for a machine, which may do only what is granted."
    " It never may more than who makes it. The secret is shown once, on stdout."
)


def arguments(parser: Parser) -> None:
    """The words of `robot create`."""
    parser.add_argument("name", metavar="NAME", help="the last part of its name: ci")
    parser.add_argument(
        "--project", metavar="PROJECT", default="", help="whose it is; without, the system's"
    )
    parser.add_argument(
        "--allow",
        metavar="GRANT",
        action="append",
        required=True,
        help="what it may: repository:PATTERN:pull,push (patterns with * and **); repeatable",
    )
    parser.add_argument(
        "--days", metavar="N", type=days, help="for how long (default: until deleted)"
    )
    parser.add_argument("--description", metavar="TEXT", default="", help="what it is for")
    add_value(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Make it; prints its name and secret."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.secrets import told_once
    from argosy.cli.managing.views import ROBOT_MADE, show

    body = {"name": args.name, "grants": args.allow, "description": args.description}
    if args.days:
        body["days"] = args.days
    where = path("projects", args.project, "robots") if args.project else path("robots")
    async with managing(args) as api:
        made = await api.post(where, body)
    show(args, made, ROBOT_MADE)
    told_once("the secret")
    return 0
