"""`argosy load`."""

import argparse
from typing import TYPE_CHECKING

from argosy.cli.options import Parser, add_json, add_platforms, add_progress
from argosy.errors import UsageError

if TYPE_CHECKING:
    from argosy.cli.session import Session

HELP = "Read images from an archive (OCI, or what `docker save` wrote) into the local images."


def arguments(parser: Parser) -> None:
    """The words of `load`."""
    parser.add_argument("-i", "--input", metavar="FILE", required=True, help="the archive")
    parser.add_argument(
        "-t", "--tag", metavar="NAME", help="the name for an archive's only image, if it has none"
    )
    add_platforms(parser, "only these platforms")
    add_json(parser, "print a list of {name, digest}")
    add_progress(parser)


async def run(args: argparse.Namespace) -> int:
    """Load; prints each name with its digest."""
    from argosy.cli.session import LOCAL, Session
    from argosy.cli.transfer import Transfer, move

    results = []
    async with Session(args) as session:
        for ref, name in await _names(session, args):
            source = f"oci-archive:{args.input}" + (f":{ref}" if ref else "")
            what = Transfer(source=source, destination=LOCAL + name, platforms=args.platforms)
            results.append({"name": name, "digest": str((await move(session, what)).digest)})
    if args.json:
        from argosy.cli.terminal.table import print_json

        print_json(results)
    else:
        for result in results:
            print(f"{result['name']}@{result['digest']}")
    return 0


async def _names(session: "Session", args: argparse.Namespace) -> list[tuple[str, str]]:
    """Each image of the archive: its ref there, and the name it gets here."""
    from argosy.cli.session import full_name
    from argosy.content.store import ListsTags

    source, _ = await session.source(f"oci-archive:{args.input}")
    found = [tag async for tag in source.tags()] if isinstance(source, ListsTags) else []
    if args.tag and len(found) <= 1:
        return [(found[0] if found else "", full_name(args.tag))]
    if args.tag or not found:
        raise _nameless(args, found)
    if bare := [tag for tag in found if "/" not in tag and ":" not in tag]:
        raise _nameless(args, bare)
    return [(tag, full_name(tag)) for tag in found]


def _nameless(args: argparse.Namespace, found: list[str]) -> UsageError:
    if args.tag and found:
        return UsageError(
            f"{args.input} holds {len(found)} images, and one name was given",
            why="they are: " + ", ".join(found),
            remedy=f"`argosy copy oci-archive:{args.input}:REF local:NAME` takes one of them",
        )
    only = f"is only called {', '.join(found)}" if found else "has no name"
    return UsageError(f"the image in {args.input} {only}", remedy="give it one with --tag NAME")
