"""`argosy project create`."""

import argparse

from argosy.cli.managing.options import add_amounts, add_registry, add_value
from argosy.cli.managing.words import given
from argosy.cli.options import Parser

HELP = (
    "Make a project: a tenant with its own repositories (PROJECT/…), members, robots and quota."
    " A system admin makes it, and gives it members (`argosy member add`)."
)


def arguments(parser: Parser) -> None:
    """The words of `project create`."""
    parser.add_argument(
        "name", metavar="PROJECT", help="its name, the first part of its repositories'"
    )
    parser.add_switch("--public", help="let everybody pull, without login")
    parser.add_argument("--description", metavar="TEXT", default="", help="what it is for")
    add_amounts(parser)
    add_value(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Make it; prints it."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import PROJECT, show

    body = {"name": args.name, "public": args.public, "description": args.description}
    quota = given(quota_bytes=args.bytes, quota_artifacts=args.artifacts)
    async with managing(args) as api:
        show(args, await api.post(path("projects"), {**body, **quota}), PROJECT)
    return 0
