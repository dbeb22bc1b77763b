"""`argosy user password`."""

import argparse

from argosy.cli.managing.options import add_registry
from argosy.cli.options import Parser
from argosy.errors import UsageError

HELP = (
    "Change a password: your own (also the one-time password you were given), or as a system admin"
    " somebody's. It is asked for, or read from stdin; for your own the present one comes first, a"
    " line each."
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
    from argosy.cli.managing.options import managing, registry_of
    from argosy.cli.managing.secrets import asked_for
    from argosy.stores.remote.credentials import Credentials

    known = await Credentials().find(registry_of(args), "")
    me = known.username if known else ""
    name = args.user or me
    if not name:
        raise UsageError("whose password?", remedy="give the user's name, or `argosy login` first")
    async with managing(args) as api:
        if name == me or not me:
            current, password = await asked_for(name, from_stdin=args.password_stdin, current=True)
            body = {"name": name, "current": current, "password": password}
            await api.post(path("password"), body)
        else:
            _, password = await asked_for(name, from_stdin=args.password_stdin, current=False)
            await api.post(path("users", name, "password"), {"password": password})
    print(name)
    return 0
