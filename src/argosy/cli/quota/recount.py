"""`argosy quota recount`."""

import argparse

from argosy.cli.managing.options import add_registry, add_value
from argosy.cli.options import Parser

HELP = (
    "Count anew what a project holds, and put the count right. It never should be off: what it was"
    " off by is told."
)


def arguments(parser: Parser) -> None:
    """The words of `quota recount`."""
    parser.add_argument("project", metavar="PROJECT", help="the project")
    add_value(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Count; prints what was found."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import RECOUNT, show

    async with managing(args) as api:
        found = await api.post(path("projects", args.project, "quota", "recount"))
    show(args, found, RECOUNT)
    return 0
