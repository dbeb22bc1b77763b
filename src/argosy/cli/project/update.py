"""`argosy project update`."""

import argparse

from argosy.cli.managing.options import add_registry, add_value
from argosy.cli.managing.words import amount, given, number
from argosy.cli.options import Parser
from argosy.errors import UsageError

HELP = "Change a project: its description, who may see it, how fast it may be used. What is not named stays."

_LIMITS = (
    ("requests", number, "requests a second"),
    ("burst", number, "requests that may come at once"),
    ("download", amount, "bytes a second that go out"),
    ("upload", amount, "bytes a second that come in"),
    ("uploads", number, "blobs on their way in at once"),
)


def arguments(parser: Parser) -> None:
    """The words of `project update`."""
    parser.add_argument("project", metavar="PROJECT", help="the project")
    parser.add_switch("--public", help="let everybody pull; =false takes it back", default=None)
    parser.add_argument("--description", metavar="TEXT", default=..., help="what it is for")
    for name, kind, about in _LIMITS:
        parser.add_argument(
            f"--{name}",
            metavar="SIZE" if kind is amount else "N",
            type=kind,
            default=...,
            help=f"{about}; 0 is no limit, none as the server's settings say",
        )
    add_value(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Change it; prints it."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import PROJECT, show

    limits = given(**{name: getattr(args, name) for name, _, _ in _LIMITS})
    body = given(public=... if args.public is None else args.public, description=args.description)
    if not body and not limits:
        raise UsageError("nothing was said to change", remedy="`argosy project update --help`")
    async with managing(args) as api:
        where = path("projects", args.project)
        if limits:
            body["limits"] = {**(await api.get(where))["limits"], **limits}
        show(args, await api.change(where, body), PROJECT)
    return 0
