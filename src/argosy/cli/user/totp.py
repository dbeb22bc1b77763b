"""`argosy user totp`."""

import argparse

from argosy.cli.managing.options import add_registry, add_value
from argosy.cli.options import Parser

HELP = (
    "Set up your second factor: shows the key for an authenticator app, once; then --code CODE of the"
    " app confirms it and shows recovery codes, once. --remove takes it away: your own with --code, or"
    " as a system admin that of NAME, who has lost it."
)


def arguments(parser: Parser) -> None:
    """The words of `user totp`."""
    parser.add_argument("user", metavar="NAME", nargs="?", default="", help="with --remove: whose")
    parser.add_argument("--code", metavar="CODE", default="", help="what the app shows now")
    parser.add_switch("--remove", help="take the second factor away")
    add_value(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Begin, confirm or remove."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.secrets import told, told_once
    from argosy.cli.managing.views import CODES, TOTP, show

    async with managing(args) as api:
        if args.remove and args.user:
            await api.delete(path("users", args.user, "totp"))
        elif args.remove:
            await api.post(path("totp", "remove"), {"code": args.code})
        elif args.code:
            show(args, await api.post(path("totp", "confirm"), {"code": args.code}), CODES)
            told_once("this list of recovery codes")
            told("A password alone opens nothing any more: `argosy login --web` gets a token.")
        else:
            show(args, await api.post(path("totp")), TOTP)
            told_once("the key")
    return 0
