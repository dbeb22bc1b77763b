"""`argosy push`."""

import argparse

from argosy.cli.options import Parser, add_json, add_platforms, add_progress, add_tls, add_transfer

HELP = (
    "Send a local image (from build, pull or load) to the registry its name says, or to another"
    " name; all its platforms."
)


def arguments(parser: Parser) -> None:
    """The words of `push`."""
    parser.add_argument("image", metavar="IMAGE", help="a local image; `argosy images` lists them")
    parser.add_argument(
        "destination", metavar="DST", nargs="?", help="where to (default: the image's own name)"
    )
    add_platforms(parser, "only these platforms")
    add_json(parser, "print {source, destination, mediaType, digest, size}")
    add_transfer(parser)
    add_progress(parser)
    add_tls(parser)


async def run(args: argparse.Namespace) -> int:
    """Push; prints the name with the digest."""
    from argosy.cli.session import LOCAL, Session, full_name
    from argosy.cli.transfer import Transfer, move, told

    name = full_name(args.image.removeprefix(LOCAL))
    what = Transfer(
        source=LOCAL + name, destination=args.destination or name, platforms=args.platforms
    )
    async with Session(args) as session:
        moved = await move(session, what)
    if args.json:
        from argosy.cli.terminal.table import print_json

        print_json(told(what, moved))
    else:
        print(f"{what.destination}@{moved.digest}")
    return 0
