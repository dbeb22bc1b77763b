"""`argosy prune`."""

import argparse
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from argosy.cli.options import Parser, Switch, add_json
from argosy.errors import UsageError

if TYPE_CHECKING:
    from argosy.build.disk.pruning import Disk, Pruned, Request

HELP = (
    "Remove what the build engine keeps on the disk: all that no running build uses, the least"
    " recently used first. With a cap, only until it holds. Images keep what they need, and so"
    " does the build history; with --all the file digests of contexts go too."
)


def arguments(parser: Parser) -> None:
    """The words of `prune`."""
    parser.add_argument("-a", "--all", action=Switch, default=False, help="internal records too")
    parser.add_argument(
        "--filter",
        metavar="KEY[=VALUE]",
        action="append",
        default=[],
        help="only these, as in argosy du: until=24h, type=exec.cachemount, …; of several all must hold",
    )
    parser.add_argument(
        "--keep-duration", metavar="48h", default="", help="keep what was used since then"
    )
    caps = parser.add_argument_group("caps (SIZE is 10GB, or 20% of the disk)")
    caps.add_argument(
        "--max-used-space", metavar="SIZE", default="", help="what all of it may take"
    )
    caps.add_argument(
        "--min-free-space", metavar="SIZE", default="", help="what the disk has to have"
    )
    caps.add_argument(
        "--reserved-space", metavar="SIZE", default="", help="what is kept whatever the caps say"
    )
    parser.add_argument("-f", "--force", action=Switch, default=False, help="ask nothing")
    parser.add_argument("--verbose", action="store_true", help="all that is known of each")
    add_json(parser, "print {items, reclaimed, total}")


def run(args: argparse.Namespace) -> Coroutine[Any, Any, int]:
    """Remove; prints what went."""
    from argosy.cli.building.entering import enter
    from argosy.cli.disk.showing import confirmed

    request = request_of(args)
    if not args.force:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError(
                "prune asks before it removes anything, and nobody is there to answer",
                remedy="add --force in scripts",
            )
        what = "what matches" if args.filter else "all build cache that is not in use"
        if not confirmed(f"This removes {what}. Go on?"):
            return _nothing()
    enter()  # the files of steps may belong to ids that only exist there
    return _prune(args, request)


async def _nothing() -> int:
    return 0


async def _prune(args: argparse.Namespace, request: "Callable[[Disk], Request]") -> int:
    from argosy.build.disk.pruning import Disk, State
    from argosy.cli.session import Session
    from argosy.concurrency import in_thread

    async with Session(args) as session:
        state = State.of(session.settings.home, session.images())
        pruned = await state.prune(request(await in_thread(Disk.of, state.path)))
    _tell(args, pruned)
    return 0


def request_of(args: argparse.Namespace) -> "Callable[[Disk], Request]":
    """What is asked for, as soon as the disk is known; UsageError says which word cannot be read."""
    from argosy.build.disk.filters import filters_of
    from argosy.build.disk.pruning import Request
    from argosy.build.disk.space import Space
    from argosy.settings import duration

    caps = {
        name: Space.parse(f"--{name.replace('_', '-')}", getattr(args, name))
        for name in ("max_used_space", "min_free_space", "reserved_space")
    }
    try:
        keep = duration(args.keep_duration) if args.keep_duration else 0.0
    except ValueError as e:
        raise UsageError(
            f"--keep-duration {args.keep_duration!r} cannot be read",
            why=str(e),
            remedy="write for example --keep-duration 48h",
        ) from e
    wanted = filters_of(args.filter)

    def request(disk: "Disk") -> "Request":
        return Request(
            wanted=wanted,
            everything=args.all,
            keep=keep,
            most_used=caps["max_used_space"].of(disk.size),
            least_free=caps["min_free_space"].of(disk.size),
            reserved=caps["reserved_space"].of(disk.size),
        )

    return request


def _tell(args: argparse.Namespace, pruned: "Pruned") -> None:
    from argosy.cli.disk.showing import details, table
    from argosy.cli.terminal.units import human_size

    if args.json:
        from argosy.cli.terminal.table import print_json

        items = [item.to_json() for item in pruned.items]
        print_json({"items": items, "reclaimed": pruned.size, "total": pruned.total})
        return
    if pruned.items:
        (details if args.verbose else table)(pruned.items)
    print(f"{'Total:':15}{human_size(pruned.size)}")
    if pruned.above:
        print(
            f"argosy: {human_size(pruned.above)} more than the cap allows are left: running builds"
            " use them, or --filter or --keep-duration keeps them",
            file=sys.stderr,
        )
