"""`argosy tags`."""

import argparse

from argosy.cli.options import Parser, add_json, add_tls

HELP = (
    "List the tags of a repository, one a line, in lexical order. `argosy tags history`, `tags undo`"
    " and `tags rules` have a --help of their own."
)


def arguments(parser: Parser) -> None:
    """The words of `tags`."""
    parser.add_argument("repository", metavar="REPOSITORY", help="where: registry/repository")
    add_json(parser, "print {name, tags}")
    add_tls(parser)


async def run(args: argparse.Namespace) -> int:
    """Print them in order, whatever order the registry has (old ones have none)."""
    from argosy.cli.session import Session
    from argosy.content.store import ListsTags
    from argosy.errors import UsageError

    async with Session(args) as session:
        source, _ref = await session.source(args.repository)
        if not isinstance(source, ListsTags):
            raise UsageError(f"{args.repository} cannot list its tags")
        tags = sorted([tag async for tag in source.tags()])
    if args.json:
        from argosy.cli.terminal.table import print_json

        print_json({"name": args.repository, "tags": tags})
    else:
        print("".join(f"{tag}\n" for tag in tags), end="")
    return 0
