"""`argosy rm`."""

import argparse

from argosy.cli.options import Parser, Switch, add_tls

HELP = (
    "Delete tags, or manifests by digest, from a registry or from the local images. A tag is"
    " deleted alone: what it names stays under its other tags."
)


def arguments(parser: Parser) -> None:
    """The words of `rm`."""
    parser.add_argument(
        "images", metavar="IMAGE", nargs="+", help="a reference with a tag or digest, or local:…"
    )
    parser.add_argument(
        "-f", "--force", action=Switch, default=False, help="an absent one is no error"
    )
    add_tls(parser)


async def run(args: argparse.Namespace) -> int:
    """Delete; prints each name that went."""
    from argosy.cli.looking import suggesting
    from argosy.cli.session import Session
    from argosy.content.store import Deletes
    from argosy.errors import NotFound, UsageError

    async with Session(args) as session:
        for image in args.images:
            store, ref = await session.source(_named(image))
            if not isinstance(store, Deletes):
                raise UsageError(f"{image}: nothing can be deleted there")
            try:
                async with suggesting(store, image, ref):
                    await store.delete(ref)
            except NotFound:
                if not args.force:
                    raise
            else:
                print(image)
    return 0


def _named(image: str) -> str:
    """The image as given, if it says which tag or digest: nothing is deleted by default."""
    from argosy.cli.session import LOCAL
    from argosy.errors import UsageError
    from argosy.stores.locate import parse_location

    where = parse_location(image.removeprefix(LOCAL))
    if where.reference is not None:
        named = bool(where.reference.tag or where.reference.digest)
    else:
        named = bool(where.ref)
    if not named:
        raise UsageError(
            f"{image} names neither a tag nor a digest",
            remedy=f"write {image}:TAG or {image}@DIGEST",
        )
    return image
