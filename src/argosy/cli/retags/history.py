"""`argosy tags history`."""

import argparse

from argosy.cli.managing.options import add_list
from argosy.cli.options import Parser, add_tls, whole

HELP = "Show what a tag has stood for, the latest first: who moved it, when, from what to what."


def arguments(parser: Parser) -> None:
    """The words of `tags history`."""
    parser.add_argument("image", metavar="IMAGE", help="registry/repository:tag")
    parser.add_argument(
        "-n", "--limit", metavar="N", type=whole, default=50, help="how many (default 50)"
    )
    add_list(parser)
    add_tls(parser)


async def run(args: argparse.Namespace) -> int:
    """Print it."""
    from argosy.cli.managing.images import named
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import TAG_HISTORY, show_list

    image = named(args.image)
    async with managing(args, image.registry) as api:
        found = [one async for one in api.every(image.path + "/history", most=args.limit)]
    show_list(args, found, TAG_HISTORY, name="digest")
    return 0
