"""`argosy login`."""

import argparse

from argosy.cli.options import Parser, Switch, add_tls

HELP = (
    "Log in to a registry: check the credentials there, then keep them where docker and podman"
    " look too (a credential helper, if one is configured)."
)


def arguments(parser: Parser) -> None:
    """The words of `login`."""
    parser.add_argument(
        "registry", metavar="REGISTRY", nargs="?", default="docker.io", help="default docker.io"
    )
    parser.add_argument("-u", "--username", metavar="NAME", help="asked for if not given")
    parser.add_argument("-p", "--password", metavar="SECRET", help="seen by others; rather use:")
    parser.add_argument(
        "--password-stdin", action=Switch, default=False, help="read the password from stdin"
    )
    parser.add_argument(
        "--authfile", metavar="FILE", default="", help="keep it in this file (as podman's flag)"
    )
    add_tls(parser)


async def run(args: argparse.Namespace) -> int:
    """Verify, then keep."""
    from argosy.cli.access import client, host_of
    from argosy.cli.session import settings_of
    from argosy.concurrency import in_thread
    from argosy.observe import silent
    from argosy.stores.remote.auth import Credential
    from argosy.stores.remote.credentials import Credentials

    host = host_of(args.registry)
    user, password = await in_thread(_ask, args, host)
    given = Credential(username=user, password=password, source="argosy login")
    trial = Credentials(given=given)
    async with client(args, settings_of(args), silent, credentials=trial) as registries:
        await registries.registry(host).ping()
    where = await Credentials(authfile=args.authfile).store(host, given)
    print(f"Logged in to {host}; the credentials are in {where}")
    return 0


def _ask(args: argparse.Namespace, host: str) -> tuple[str, str]:
    """User and password, from the flags, stdin or a person."""
    import getpass
    import sys

    from argosy.errors import UsageError

    if args.password_stdin:
        if args.password is not None:
            raise UsageError("--password and --password-stdin exclude each other")
        if not args.username:
            raise UsageError("--password-stdin needs --username")
        return args.username, sys.stdin.readline().rstrip("\r\n")
    if args.password is None and not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask for the password on",
            remedy=f"argosy login {host} --username NAME --password-stdin < FILE",
        )
    user = args.username or input(f"Username for {host}: ")
    password = args.password if args.password is not None else getpass.getpass("Password: ")
    return user, password
