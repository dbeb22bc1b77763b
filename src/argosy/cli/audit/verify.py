"""`argosy audit verify`."""

import argparse

from argosy.cli.managing.options import add_registry, add_value
from argosy.cli.options import Parser

HELP = (
    "Check that nobody has changed, added or removed entries of the audit log: every entry is"
    " chained to the one before. Exit code 5 if the chain is broken."
)


def arguments(parser: Parser) -> None:
    """The words of `audit verify`."""
    parser.add_argument(
        "--checkpoint",
        metavar="LAST:HASH",
        help="`last` and `hash` of an earlier check: finds a log that was chained anew since",
    )
    add_value(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Verify it; prints what was found."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import VERIFIED, show

    async with managing(args) as api:
        known = {"checkpoint": args.checkpoint} if args.checkpoint else {}
        found = await api.get(path("audit", "verify"), known)
    show(args, found, VERIFIED)
    if not found["intact"]:
        return 5
    return 0
