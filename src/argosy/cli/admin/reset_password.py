"""`argosy admin reset-password`."""

import argparse

from argosy.cli.admin.machine import add_settings, settings_of
from argosy.cli.options import Parser

HELP = (
    "Give a system admin of this machine's registry a one-time password: who has lost the first one,"
    " or every other way in. The user is made if need be, let in again if disabled, and loses the"
    " second factor. It works while the server runs, and while it does not; a"
    " server that runs knows the password before for up to half a minute more."
)


def arguments(parser: Parser) -> None:
    """The words of `admin reset-password`."""
    parser.add_argument("user", metavar="NAME", nargs="?", default="admin", help="default: admin")
    add_settings(parser)


async def run(args: argparse.Namespace) -> int:
    """Make one; prints it."""
    from argosy.catalog.actor import SYSTEM
    from argosy.server.starting.maintenance import people

    async with people(settings_of(args)) as users:
        print(await users.rescue(SYSTEM, args.user))
    return 0
