"""`argosy token revoke`."""

import argparse
from typing import TYPE_CHECKING

from argosy.cli.managing.options import add_registry
from argosy.cli.options import Parser
from argosy.errors import NotFound

if TYPE_CHECKING:
    from argosy.cli.managing.client import ManageClient

HELP = "Revoke personal access tokens, by the IDs or names that `argosy token list` shows."


def arguments(parser: Parser) -> None:
    """The words of `token revoke`."""
    parser.add_argument("tokens", metavar="ID", nargs="+", help="which; or its name")
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Revoke them; prints the ID of each."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing

    async with managing(args) as api:
        for token in args.tokens:
            number = token if token.isdecimal() else await _called(api, token)
            await api.delete(path("tokens", number))
            print(number)
    return 0


async def _called(api: "ManageClient", name: str) -> int:
    """The ID of the token of that name; NotFound."""
    from argosy.cli.managing.client import path

    async for token in api.every(path("tokens")):
        if token["name"] == name and not token["revoked_at"]:
            return int(token["id"])
    raise NotFound(f"you have no token {name}", remedy="`argosy token list` lists them")
