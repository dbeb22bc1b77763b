"""`argosy member remove`."""

import argparse

from argosy.cli.managing.options import add_registry
from argosy.cli.options import Parser

HELP = "Take a user's or a group's role in a project away."


def arguments(parser: Parser) -> None:
    """The words of `member remove`."""
    parser.add_argument("project", metavar="PROJECT", help="the project")
    parser.add_argument("member", metavar="NAME", help="the user, or with --group the group")
    parser.add_switch("--group", help="NAME is a group of the directory or identity provider")
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Remove it; prints its name."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing

    kind = "group" if args.group else "user"
    async with managing(args) as api:
        await api.delete(path("projects", args.project, "members", kind, args.member))
    print(args.member)
    return 0
