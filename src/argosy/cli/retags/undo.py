"""`argosy tags undo`."""

import argparse

from argosy.cli.managing.options import add_value
from argosy.cli.options import Parser, add_tls

HELP = (
    "Put a tag back to what it stood for before it was moved or deleted last, or to --to DIGEST of"
    " its history. Refused if somebody moves it meanwhile, or a rule keeps it."
)


def arguments(parser: Parser) -> None:
    """The words of `tags undo`."""
    parser.add_argument("image", metavar="IMAGE", help="registry/repository:tag")
    parser.add_argument("--to", metavar="DIGEST", default="", help="to this one of its history")
    add_value(parser)
    add_tls(parser)


async def run(args: argparse.Namespace) -> int:
    """Put it back; prints the tag."""
    from argosy.cli.managing.images import named
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import TAG, show

    image = named(args.image)
    async with managing(args, image.registry) as api:
        body = {"to": args.to} if args.to else {}
        show(args, await api.post(image.path + "/undo", body), TAG)
    return 0
