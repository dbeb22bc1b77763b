"""`argosy project update`."""

import argparse

from argosy.cli.managing.options import add_registry, add_value
from argosy.cli.managing.words import amount, given, number
from argosy.cli.options import Parser
from argosy.errors import UsageError

HELP = "Change a project: its description, who may see it, how fast it may be used. What is not named stays."


def arguments(parser: Parser) -> None:
    """The words of `project update`."""
    parser.add_argument("project", metavar="PROJECT", help="the project")
    parser.add_switch("--public", help="let everybody pull; =false takes it back", default=None)
    parser.add_argument("--description", metavar="TEXT", default=..., help="what it is for")
    parser.add_argument(
        "--requests",
        metavar="N",
        type=number,
        default=...,
        help="requests a second that it may get; none lifts the limit",
    )
    parser.add_argument(
        "--bandwidth",
        metavar="SIZE",
        type=amount,
        default=...,
        help="bytes a second, both ways together; none lifts the limit",
    )
    add_value(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Change it; prints it."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import PROJECT, show

    limits = given(requests_per_second=args.requests, bytes_per_second=args.bandwidth)
    body = given(public=... if args.public is None else args.public, description=args.description)
    if not body and not limits:
        raise UsageError("nothing was said to change", remedy="`argosy project update --help`")
    async with managing(args) as api:
        where = path("projects", args.project)
        if limits:
            body["limits"] = {**(await api.get(where))["limits"], **limits}
        show(args, await api.change(where, body), PROJECT)
    return 0
