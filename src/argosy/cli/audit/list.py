"""`argosy audit list`."""

import argparse

from argosy.cli.managing.auditing import add_audit_filters, audit_path, audit_query
from argosy.cli.managing.options import add_list, add_registry
from argosy.cli.options import Parser, whole

HELP = "List what was done and what was refused, the latest first."


def arguments(parser: Parser) -> None:
    """The words of `audit list`."""
    add_audit_filters(parser)
    parser.add_argument(
        "-n", "--limit", metavar="N", type=whole, default=50, help="how many (default 50)"
    )
    add_list(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Print them."""
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import AUDIT, show_list

    async with managing(args) as api:
        asked = audit_query(args)
        found = [one async for one in api.every(audit_path(args), asked, args.limit)]
    show_list(args, found, AUDIT, name="id")
    return 0
