"""`argosy project delete`."""

import argparse

from argosy.cli.managing.options import add_registry
from argosy.cli.options import Parser

HELP = "Delete a project, with its members, robots and rules."


def arguments(parser: Parser) -> None:
    """The words of `project delete`."""
    parser.add_argument("project", metavar="PROJECT", help="the project")
    parser.add_switch("-f", "--force", help="with every repository in it")
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Delete it; prints its name."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing

    async with managing(args) as api:
        await api.delete(path("projects", args.project), {"force": args.force})
    print(args.project)
    return 0
