"""`argosy du`."""

import argparse
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from argosy.cli.options import Parser, add_json

if TYPE_CHECKING:
    from argosy.build.disk.filters import Filter

HELP = (
    "Show what the build engine keeps on the disk: steps, the layers that no image needs, cache"
    " mounts, repositories, downloads. An ID with * can still change; a SIZE with * is of a step"
    " whose layer an image of this machine has too."
)


def arguments(parser: Parser) -> None:
    """The words of `du`."""
    parser.add_argument(
        "--filter",
        metavar="KEY[=VALUE]",
        action="append",
        default=[],
        help="until, id, parents, type, description, inuse, mutable, immutable, shared or private,"
        " with =, != or ~=; of several all must hold",
    )
    parser.add_argument("--verbose", action="store_true", help="all that is known of each")
    parser.add_argument(
        "--format",
        metavar="table|pretty|json|TEMPLATE",
        default="",
        help="pretty is --verbose; json and a template give a line each",
    )
    add_json(parser, "print a list as --format json has it")


def run(args: argparse.Namespace) -> Coroutine[Any, Any, int]:
    """Print it."""
    from argosy.build.disk.filters import filters_of
    from argosy.build.rootless.namespaces import try_entering

    wanted = filters_of(args.filter)
    try_entering()  # some files can only be seen there
    return _run(args, wanted)


async def _run(args: argparse.Namespace, wanted: "Filter") -> int:
    from argosy.build.disk.pruning import State
    from argosy.cli.disk.showing import show
    from argosy.cli.session import Session

    async with Session(args) as session:
        state = State.of(session.settings.home, session.images())
        items = [item for item in await state.items() if wanted(item)]
    show(sorted(items, key=lambda i: (-i.size, i.id)), args)
    return 0
