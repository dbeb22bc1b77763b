"""`argosy member set`."""

import argparse

from argosy.cli.managing.options import add_registry, add_value
from argosy.cli.managing.words import ROLES
from argosy.cli.options import Parser

HELP = "Give a member of a project another role."


def arguments(parser: Parser) -> None:
    """The words of `member set`."""
    parser.add_argument("project", metavar="PROJECT", help="the project")
    parser.add_argument("member", metavar="NAME", help="the user, or with --group the group")
    parser.add_argument(
        "--role",
        metavar="ROLE",
        choices=ROLES,
        required=True,
        help="limited-guest, guest, developer, maintainer or project-admin",
    )
    parser.add_switch("--group", help="NAME is a group of the directory or identity provider")
    add_value(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Change it; prints it."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import MEMBER, show

    kind = "group" if args.group else "user"
    async with managing(args) as api:
        where = path("projects", args.project, "members", kind, args.member)
        show(args, await api.change(where, {"role": args.role}), MEMBER)
    return 0
