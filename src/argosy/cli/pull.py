"""`argosy pull`."""

import argparse

from argosy.cli.options import Parser, add_json, add_platforms, add_progress, add_tls, add_transfer

HELP = "Fetch images from a registry to the local images; all their platforms."


def arguments(parser: Parser) -> None:
    """The words of `pull`."""
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="a reference in a registry")
    add_platforms(parser, "only these platforms")
    add_json(parser, "print a list of {source, destination, mediaType, digest, size}")
    add_transfer(parser)
    add_progress(parser)
    add_tls(parser)


async def run(args: argparse.Namespace) -> int:
    """Pull; prints each name with its digest."""
    from argosy.cli.session import LOCAL, Session, full_name
    from argosy.cli.transfer import Transfer, move, told

    results = []
    async with Session(args) as session:
        for image in args.images:
            name = full_name(image)
            what = Transfer(source=name, destination=LOCAL + name, platforms=args.platforms)
            results.append(told(what, await move(session, what)))
    if args.json:
        from argosy.cli.terminal.table import print_json

        print_json(results)
    else:
        for result in results:
            print(f"{result['source'].partition('@')[0]}@{result['digest']}")
    return 0
