"""`argosy user totp`."""

import argparse

from argosy.cli.managing.options import add_registry, add_value
from argosy.cli.options import Parser

HELP = (
    "Set up a second factor (TOTP) for yourself: shows what an authenticator app needs and recovery"
    " codes, once; then asks for a code of the app. --remove NAME takes somebody's away."
)


def arguments(parser: Parser) -> None:
    """The words of `user totp`."""
    parser.add_argument(
        "--remove", metavar="NAME", default="", help="take a user's second factor away"
    )
    parser.add_argument(
        "--code", metavar="CODE", default="", help="confirm with this code of the app"
    )
    add_value(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Begin, confirm or remove."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.secrets import told_once
    from argosy.cli.managing.views import TOTP, show

    async with managing(args) as api:
        if args.remove:
            await api.delete(path("users", args.remove, "totp"))
            print(args.remove)
        elif args.code:
            await api.post(path("totp", "confirm"), {"code": args.code})
            print(
                "From now on the registry asks for a code of the app at the login with a password."
            )
        else:
            show(args, await api.post(path("totp")), TOTP)
            told_once("the key")
            print("Then: argosy user totp --code CODE")
    return 0
