"""`argosy copy`."""

import argparse
import os

from argosy.cli.options import (
    Parser,
    Switch,
    add_json,
    add_platforms,
    add_progress,
    add_tls,
    add_transfer,
)

HELP = (
    "Copy an image between any two stores: all its platforms, and what refers to it (signatures,"
    " SBOMs, attestations). What is there already is not sent again; every byte is checked against"
    " its digest; the tag is set last."
)
_WHERE = (
    "[docker://]REGISTRY/NAME[:TAG], oci:DIR[:TAG], oci-archive:FILE[:TAG],"
    " docker-archive:FILE[:NAME:TAG] or local:NAME[:TAG]"
)


def arguments(parser: Parser) -> None:
    """The words of `copy`."""
    parser.add_argument("source", metavar="SRC", help=_WHERE)
    parser.add_argument("destination", metavar="DST", help="the same forms")
    add_platforms(parser, "only these platforms: one gives that image, several an index of them")
    parser.add_argument(
        "-a",
        "--all",
        "--all-platforms",
        action=Switch,
        default=False,
        help="all platforms (what happens anyway; skopeo and crane need it)",
    )
    add_referrers(parser)
    parser.add_argument(
        "--digestfile", metavar="FILE", help="write the digest of the copy to a file"
    )
    add_json(parser, "print {source, destination, mediaType, digest, size}")
    add_transfer(parser)
    add_progress(parser)
    add_tls(parser, ends=("src", "dest"))


def add_referrers(parser: Parser) -> None:
    """`--referrers` and `--no-referrers`."""
    parser.add_argument(
        "--referrers",
        action=Switch,
        default=True,
        help="take along signatures, SBOMs and attestations (the default)",
    )
    parser.add_argument(
        "--no-referrers", dest="no_referrers", action=Switch, default=False, help="leave them"
    )


async def run(args: argparse.Namespace) -> int:
    """Copy; prints the destination with the digest."""
    from argosy.cli.session import Session
    from argosy.cli.transfer import Transfer, move, told
    from argosy.concurrency import in_thread

    what = Transfer(
        source=args.source,
        destination=args.destination,
        platforms=args.platforms,
        referrers=args.referrers and not args.no_referrers,
    )
    _check(args)
    async with Session(args) as session:
        moved = await move(session, what)
    if args.digestfile:
        await in_thread(_write, args.digestfile, f"{moved.digest}\n")
    if args.json:
        from argosy.cli.terminal.table import print_json

        print_json(told(what, moved))
    else:
        print(f"{args.destination}@{moved.digest}")
    return 0


def _check(args: argparse.Namespace) -> None:
    from argosy.errors import UsageError

    if args.all and args.platforms:
        raise UsageError("--all and --platform exclude each other", remedy="give one of them")


def _write(path: str, text: str) -> None:
    # Beside it first, so that a reader sees the old digest or the new one.
    beside = f"{path}.{os.getpid()}.tmp"
    with open(beside, "w", encoding="ascii") as file:
        file.write(text)
    os.replace(beside, path)
