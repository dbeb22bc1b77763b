"""`argosy quota set`."""

import argparse

from argosy.cli.managing.options import add_amounts, add_list, add_registry
from argosy.cli.managing.words import given
from argosy.cli.options import Parser
from argosy.errors import UsageError

HELP = "Limit what a project may hold. Blobs that its repositories share count once."


def arguments(parser: Parser) -> None:
    """The words of `quota set`."""
    parser.add_argument("project", metavar="PROJECT", help="the project")
    add_amounts(parser)
    add_list(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Set it; prints it."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import QUOTAS, show_list

    body = given(bytes=args.bytes, artifacts=args.artifacts)
    if not body:
        raise UsageError("no limit was given", remedy="add --bytes SIZE, --artifacts N, or both")
    async with managing(args) as api:
        found = await api.change(path("projects", args.project, "quota"), body)
    show_list(args, [found], QUOTAS, name="project")
    return 0
