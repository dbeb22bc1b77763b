"""`argosy admin rotate-key`."""

import argparse

from argosy.cli.admin.machine import add_settings, settings_of
from argosy.cli.options import Parser

HELP = (
    "Publish a new key for access tokens. It signs two minutes later, when every node knows it; the"
    " old one is accepted until its last token has expired. Keys are also changed by themselves"
    " (setting token.rotate_every)."
)


def arguments(parser: Parser) -> None:
    """The words of `admin rotate-key`."""
    add_settings(parser)
    parser.add_argument(
        "--at-once",
        action="store_true",
        help="the new key signs now; nodes that do not know it yet look it up",
    )


async def run(args: argparse.Namespace) -> int:
    """Rotate; prints the new key's id."""
    from argosy.catalog.actor import SYSTEM
    from argosy.server.starting.maintenance import signing_keys

    async with signing_keys(settings_of(args)) as keys:
        print(await keys.rotate(SYSTEM, at_once=args.at_once))
    return 0
