"""`argosy member list`."""

import argparse

from argosy.cli.managing.options import add_list, add_registry
from argosy.cli.options import Parser

HELP = "List the members of a project and their roles."


def arguments(parser: Parser) -> None:
    """The words of `member list`."""
    parser.add_argument("project", metavar="PROJECT", help="the project")
    add_list(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Print them."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import MEMBERS, show_list

    async with managing(args) as api:
        found = [one async for one in api.every(path("projects", args.project, "members"))]
    show_list(args, found, MEMBERS)
    return 0
