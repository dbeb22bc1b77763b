"""`argosy login`."""

import argparse
from typing import TYPE_CHECKING

from argosy.cli.options import Parser, Switch, add_tls

if TYPE_CHECKING:
    from argosy.stores.remote.auth import Credential

HELP = (
    "Log in to a registry: check the credentials there, then keep them where docker and podman"
    " look too (a credential helper, if one is configured). With --web or --oidc you log in with a"
    " browser, anywhere, and a personal access token is kept; with --workload a CI job becomes a"
    " robot by the token of its own provider (ARGOSY_ID_TOKEN, or GitHub's)."
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
    parser.add_switch("--web", help="log in at the registry's own page")
    parser.add_switch("--oidc", help="log in at its identity provider")
    parser.add_switch("--workload", help="log in as a CI job; -u names the robot")
    parser.add_argument(
        "--audience",
        metavar="NAME",
        default="",
        help="of the job's token; default https://REGISTRY",
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
    if args.web or args.oidc or args.workload:
        given = await _elsewhere(args, host)
    else:
        user, password = await in_thread(_ask, args, host)
        given = Credential(username=user, password=password, source="argosy login")
    trial = Credentials(given=given)
    async with client(args, settings_of(args), silent, credentials=trial) as registries:
        await registries.registry(host).ping()
    where = await Credentials(authfile=args.authfile).store(host, given)
    who = f" as {given.username}" if args.web or args.oidc or args.workload else ""
    print(f"Logged in to {host}{who}; the credentials are in {where}")
    return 0


async def _elsewhere(args: argparse.Namespace, host: str) -> "Credential":
    """What somebody's browser, or the provider of a CI job, vouches for."""
    from argosy.cli.access import client
    from argosy.cli.login_elsewhere import Nobody, by_browser, by_job
    from argosy.cli.session import settings_of
    from argosy.errors import UsageError
    from argosy.observe import silent

    if args.password is not None or args.password_stdin or (args.username and not args.workload):
        raise UsageError("--web, --oidc and --workload take no name and no password")
    if args.web + args.oidc + args.workload > 1:
        raise UsageError("--web, --oidc and --workload exclude each other")
    async with client(args, settings_of(args), silent, credentials=Nobody()) as registries:
        if args.workload:
            return await by_job(registries, host, args)
        return await by_browser(registries, host, provider=args.oidc)


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
