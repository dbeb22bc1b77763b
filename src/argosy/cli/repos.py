"""`argosy repos`."""

import argparse

from argosy.cli.options import Parser, add_json, add_tls

HELP = (
    "List the repositories of a registry, one a line, if it offers a catalog. `argosy repos delete`"
    " has a --help of its own."
)


def arguments(parser: Parser) -> None:
    """The words of `repos`."""
    parser.add_argument("registry", metavar="REGISTRY", help="the registry: host or host:port")
    add_json(parser, "print {registry, repositories}")
    add_tls(parser)


async def run(args: argparse.Namespace) -> int:
    """Print them."""
    from argosy.cli.access import host_of
    from argosy.cli.session import Session

    host = host_of(args.registry)
    async with Session(args) as session:
        registry = (await session.client()).registry(host)
        names = [name async for name in registry.repositories()]
    if args.json:
        from argosy.cli.terminal.table import print_json

        print_json({"registry": host, "repositories": names})
    else:
        print("".join(f"{name}\n" for name in names), end="")
    return 0
