"""`argosy robot update`."""

import argparse

from argosy.cli.managing.options import add_registry, add_value
from argosy.cli.managing.words import days, given
from argosy.cli.options import Parser
from argosy.errors import UsageError

HELP = (
    "Change a robot: what it may, for how long, what it is for. What is not named stays. Who gives"
    " it grants stands for it from then on: it never may more than they."
)


def arguments(parser: Parser) -> None:
    """The words of `robot update`."""
    parser.add_argument("robot", metavar="ROBOT", help="its whole name: robot$project+name")
    parser.add_argument(
        "--allow",
        metavar="GRANT",
        action="append",
        help="what it may, instead of what it might: repository:PATTERN:pull,push; repeatable",
    )
    parser.add_argument(
        "--days", metavar="N", type=days, default=..., help="for how long from now on"
    )
    parser.add_argument("--description", metavar="TEXT", default=..., help="what it is for")
    add_value(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Change it; prints it."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import ROBOT, show

    body = given(grants=args.allow or ..., days=args.days, description=args.description)
    if not body:
        raise UsageError("nothing was said to change", remedy="`argosy robot update --help`")
    async with managing(args) as api:
        show(args, await api.change(path("robots", args.robot), body), ROBOT)
    return 0
