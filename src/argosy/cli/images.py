"""`argosy images`."""

import argparse
from typing import Any

from argosy.cli.options import Parser, add_json

HELP = "List the images of this machine: what build, pull and load have left."


def arguments(parser: Parser) -> None:
    """The words of `images`."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="only names that hold this text")
    parser.add_argument("-q", "--quiet", action="store_true", help="only digests")
    add_json(parser, "print a list of {name, digest, mediaType, platforms, size}")


async def run(args: argparse.Namespace) -> int:
    """Print them."""
    from argosy.cli.session import Session
    from argosy.cli.terminal.table import print_json, print_table
    from argosy.cli.terminal.units import human_size

    async with Session(args) as session:
        store = session.images()
        names = [name async for name in store.tags() if (args.name or "") in name]
        rows = [await _row(store, name) for name in names]
    if args.json:
        print_json(rows)
    elif args.quiet:
        print("".join(f"{row['digest']}\n" for row in rows), end="")
    else:
        print_table(
            ("NAME", "DIGEST", "PLATFORMS", "SIZE"),
            [
                (r["name"], r["digest"][7:19], ",".join(r["platforms"]), human_size(r["size"]))
                for r in rows
            ],
        )
    return 0


async def _row(store: Any, name: str) -> dict[str, Any]:
    from argosy.cli.picture import picture

    desc = await store.resolve(name)
    seen = await picture(store, desc)
    return {
        "name": name,
        "digest": str(desc.digest),
        "mediaType": desc.media_type,
        "platforms": [str(image.platform) for image in seen.images],
        "size": seen.size,
    }
