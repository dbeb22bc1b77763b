"""`argosy robot disable`."""

import argparse

from argosy.cli.managing.options import add_registry, add_value
from argosy.cli.options import Parser

HELP = "Refuse a robot until it is enabled again (`robot disable --enable`)."


def arguments(parser: Parser) -> None:
    """The words of `robot disable`."""
    parser.add_argument("robot", metavar="ROBOT", help="its whole name: robot$project+name")
    parser.add_switch("--enable", help="let it in again")
    add_value(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Change it; prints it."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import ROBOT, show

    async with managing(args) as api:
        body = {"disabled": not args.enable}
        show(args, await api.change(path("robots", args.robot), body), ROBOT)
    return 0
