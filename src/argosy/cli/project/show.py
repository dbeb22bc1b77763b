"""`argosy project show`."""

import argparse

from argosy.cli.managing.options import add_registry, add_value
from argosy.cli.options import Parser

HELP = "Show a project: who may see it, and its limits. What it holds, `argosy quota show` tells."


def arguments(parser: Parser) -> None:
    """The words of `project show`."""
    parser.add_argument("project", metavar="PROJECT", help="the project")
    add_value(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Print it."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import PROJECT, show

    async with managing(args) as api:
        show(args, await api.get(path("projects", args.project)), PROJECT)
    return 0
