"""`argosy logout`."""

import argparse

from argosy.cli.options import Parser

HELP = "Forget the credentials of a registry that `login` kept."


def arguments(parser: Parser) -> None:
    """The words of `logout`."""
    parser.add_argument(
        "registry", metavar="REGISTRY", nargs="?", default="docker.io", help="default docker.io"
    )
    parser.add_argument("--authfile", metavar="FILE", default="", help="from this file")


async def run(args: argparse.Namespace) -> int:
    """Forget them; says where they were."""
    from argosy.cli.access import host_of
    from argosy.stores.remote.credentials import Credentials

    host = host_of(args.registry)
    where = await Credentials(authfile=args.authfile).erase(host)
    print(f"Removed from {where}" if where else f"Not logged in to {host}")
    return 0
