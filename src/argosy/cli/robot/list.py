"""`argosy robot list`."""

import argparse

from argosy.cli.managing.options import add_list, add_registry
from argosy.cli.options import Parser

HELP = "List the robots of a project; without one, those of the system."


def arguments(parser: Parser) -> None:
    """The words of `robot list`."""
    parser.add_argument("project", metavar="PROJECT", nargs="?", default="", help="the project")
    add_list(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Print them."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import ROBOTS, show_list

    where = path("projects", args.project, "robots") if args.project else path("robots")
    async with managing(args) as api:
        show_list(args, [one async for one in api.every(where)], ROBOTS)
    return 0
