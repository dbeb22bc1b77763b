"""`argosy robot delete`."""

import argparse

from argosy.cli.managing.options import add_registry
from argosy.cli.options import Parser

HELP = "Delete a robot: its secret and its tokens open nothing any more."


def arguments(parser: Parser) -> None:
    """The words of `robot delete`."""
    parser.add_argument("robot", metavar="ROBOT", help="its whole name: robot$project+name")
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Delete it; prints its name."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing

    async with managing(args) as api:
        await api.delete(path("robots", args.robot))
    print(args.robot)
    return 0
