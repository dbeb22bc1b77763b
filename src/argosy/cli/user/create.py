"""`argosy user create`."""

import argparse

from argosy.cli.managing.options import add_registry, add_value
from argosy.cli.options import Parser

HELP = (
    "Make a local user. The password is asked for, or read from stdin; with --generate the"
    " registry makes one that has to be changed at the first login, and shows it once."
)


def arguments(parser: Parser) -> None:
    """The words of `user create`."""
    parser.add_argument("user", metavar="NAME", help="the user")
    parser.add_argument("--email", metavar="ADDRESS", default="", help="where to reach them")
    parser.add_switch("--admin", help="a system admin, who may do everything")
    parser.add_switch("--generate", help="let the registry make a one-time password")
    parser.add_argument(
        "--password-stdin", action="store_true", help="read the password from stdin"
    )
    add_value(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Make it; prints it."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.secrets import new_password, told_once
    from argosy.cli.managing.views import USER_MADE, show
    from argosy.concurrency import in_thread

    body = {"name": args.user, "email": args.email, "admin": args.admin}
    if not args.generate:
        body["password"] = await in_thread(new_password, args.user, from_stdin=args.password_stdin)
    async with managing(args) as api:
        made = await api.post(path("users"), body)
    show(args, made, USER_MADE)
    if made.get("password"):
        told_once("the password")
    return 0
