"""`argosy audit export`."""

import argparse

from argosy.cli.managing.auditing import add_audit_filters, audit_path, audit_query, opened
from argosy.cli.managing.options import add_registry
from argosy.cli.options import Parser

HELP = "Write the audit log as JSON lines, the oldest first, to stdout or a file."


def arguments(parser: Parser) -> None:
    """The words of `audit export`."""
    add_audit_filters(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE", default="-", help="where to (default: stdout)"
    )
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Write it."""
    from argosy.cli.managing.options import managing

    async with managing(args) as api:
        with opened(args.output) as out:
            async for piece in api.pieces(audit_path(args) + "/export", audit_query(args)):
                out.write(piece)
    return 0
