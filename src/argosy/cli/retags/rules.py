"""`argosy tags rules`."""

import argparse

from argosy.cli.managing.options import add_list, add_registry
from argosy.cli.options import Parser

HELP = (
    "Keep tags of a project from being moved or deleted. Without a flag the rules are listed;"
    " --tags (with --repositories) adds one, --remove takes one away."
)


def arguments(parser: Parser) -> None:
    """The words of `tags rules`."""
    parser.add_argument("project", metavar="PROJECT", help="the project")
    parser.add_argument(
        "--tags", metavar="PATTERN", default="", help="keep the tags that fit: v*, {v*,release-*}"
    )
    parser.add_argument(
        "--repositories",
        metavar="PATTERN",
        default="**",
        help="in these repositories of the project (default: ** for all)",
    )
    parser.add_argument("--remove", metavar="ID", type=int, help="take this rule away")
    add_list(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Add, remove or list; prints the rules there are."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import RULES, show_list

    where = path("projects", args.project, "tag-rules")
    async with managing(args) as api:
        if args.remove is not None:
            await api.delete(where + path(args.remove))
        elif args.tags:
            await api.post(where, {"repositories": args.repositories, "tags": args.tags})
        show_list(args, [one async for one in api.every(where)], RULES, name="id")
    return 0
