"""`argosy member add`."""

import argparse

from argosy.cli.managing.options import add_registry, add_value
from argosy.cli.managing.words import ROLES
from argosy.cli.options import Parser

HELP = (
    "Give a user or a group a role in a project: limited-guest (pull), guest (and list), developer"
    " (and push), maintainer (and delete), project-admin (and members, robots, settings)."
)


def arguments(parser: Parser) -> None:
    """The words of `member add`."""
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
    """Add it; prints it."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import MEMBER, show

    body = {"kind": "group" if args.group else "user", "name": args.member, "role": args.role}
    async with managing(args) as api:
        show(args, await api.post(path("projects", args.project, "members"), body), MEMBER)
    return 0
