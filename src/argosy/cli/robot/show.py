"""`argosy robot show`."""

import argparse

from argosy.cli.managing.options import add_registry, add_value
from argosy.cli.options import Parser

HELP = "Show a robot: what it may, until when, and when it was used last."


def arguments(parser: Parser) -> None:
    """The words of `robot show`."""
    parser.add_argument("robot", metavar="ROBOT", help="its whole name: robot$project+name")
    add_value(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Print it."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import ROBOT, show

    async with managing(args) as api:
        show(args, await api.get(path("robots", args.robot)), ROBOT)
    return 0
