"""`argosy user password`."""

import argparse

from argosy.cli.managing.options import add_registry
from argosy.cli.options import Parser

HELP = (
    "Change a password: your own, or as a system admin somebody's. It is asked for, or read from"
    " stdin (for your own: the present one, then the new one, a line each)."
)


def arguments(parser: Parser) -> None:
    """The words of `user password`."""
    parser.add_argument(
        "user", metavar="NAME", nargs="?", default="", help="the user (default: you)"
    )
    parser.add_argument(
        "--password-stdin", action="store_true", help="read the password from stdin"
    )
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Change it; prints the user's name."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.secrets import new_password
    from argosy.concurrency import in_thread

    async with managing(args) as api:
        me = (await api.get(path("whoami")))["name"]
        name = args.user or me
        body = {}
        if name == me:
            body["current"] = await in_thread(
                new_password, f"{name} (now)", from_stdin=args.password_stdin, twice=False
            )
        body["password"] = await in_thread(
            new_password, f"{name} (new)", from_stdin=args.password_stdin
        )
        await api.put(path("users", name, "password"), body)
    print(name)
    return 0
