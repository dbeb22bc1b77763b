"""`argosy quota show`."""

import argparse

from argosy.cli.managing.options import add_list, add_registry
from argosy.cli.options import Parser

HELP = "Show how much of their quotas projects use; all that you may see, or one."


def arguments(parser: Parser) -> None:
    """The words of `quota show`."""
    parser.add_argument("project", metavar="PROJECT", nargs="?", default="", help="the project")
    add_list(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Print it."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import QUOTAS, show_list

    async with managing(args) as api:
        if args.project:
            found = [await api.get(path("projects", args.project, "quota"))]
        else:
            found = [one async for one in api.every(path("quotas"))]
    show_list(args, found, QUOTAS, name="project")
    return 0
