"""`argosy tag`."""

import argparse

from argosy.cli.options import Parser, add_tls

HELP = (
    "Give an image more tags. A new tag is a bare tag of the same repository, or a whole"
    " reference; to another repository the image is copied (mounted where the registry can)."
)


def arguments(parser: Parser) -> None:
    """The words of `tag`."""
    parser.add_argument("image", metavar="IMAGE", help="what to tag: a reference or local:…")
    parser.add_argument("tags", metavar="TAG", nargs="+", help="a tag, or a whole reference")
    add_tls(parser)


async def run(args: argparse.Namespace) -> int:
    """Tag, one after the other; prints each new name."""
    from argosy.cli.session import LOCAL, Session
    from argosy.cli.transfer import Transfer, move
    from argosy.errors import UsageError
    from argosy.model.reference import Reference, is_tag
    from argosy.stores.locate import parse_location

    local = LOCAL if args.image.startswith(LOCAL) else ""
    if not local and parse_location(args.image).is_local:
        raise UsageError(
            f"{args.image} is not in a registry",
            remedy="`argosy copy` gives an image in a layout another name",
        )
    here = Reference.parse(args.image.removeprefix(LOCAL))
    async with Session(args) as session:
        for word in args.tags:
            name = str(here.with_tag(word) if is_tag(word) else Reference.parse(word))
            await move(session, Transfer(source=args.image, destination=local + name))
            print(name)
    return 0
