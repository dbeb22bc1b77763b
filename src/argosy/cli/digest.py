"""`argosy digest`."""

import argparse

from argosy.cli.options import Parser, add_platforms, add_tls

HELP = "Print the digest an image has now; of its index, or with --platform of one image in it."


def arguments(parser: Parser) -> None:
    """The words of `digest`."""
    parser.add_argument("image", metavar="IMAGE", help="a reference, oci:…, oci-archive:…, local:…")
    parser.add_argument(
        "--full-ref", action="store_true", help="print registry/repository@digest (as crane does)"
    )
    add_platforms(parser, "the image of this platform")
    add_tls(parser)


async def run(args: argparse.Namespace) -> int:
    """Print it."""
    from argosy.cli.looking import look_up
    from argosy.cli.session import Session, registry_reference

    async with Session(args) as session:
        found = await look_up(session, args.image, args.platforms)
    prefix = f"{registry_reference(args.image).locator}@" if args.full_ref else ""
    print(f"{prefix}{found.desc.digest}")
    return 0
