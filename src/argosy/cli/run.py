"""`argosy run`."""

import argparse
import sys
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from argosy.cli.options import Parser, Switch, add_platforms, add_progress, add_tls

if TYPE_CHECKING:
    from argosy.cli.session import Session
    from argosy.content.store import Source
    from argosy.model.descriptor import Descriptor
    from argosy.model.platform import Platform

HELP = (
    "Run a command in an image and throw its changes away: to try what was built, on any platform"
    " this machine can run or emulate. The exit code is the command's."
)


def arguments(parser: Parser) -> None:
    """The words of `run`."""
    parser.add_argument("image", metavar="IMAGE", help="a local image, or one in a registry")
    parser.add_argument(
        "command", metavar="COMMAND", nargs=argparse.REMAINDER, help="instead of the image's own"
    )
    add_platforms(parser, "the image of this platform")
    parser.add_argument(
        "-e", "--env", metavar="NAME=VALUE", action="append", default=[], help="set"
    )
    parser.add_argument("--entrypoint", metavar="PROGRAM", help="instead of the image's own")
    parser.add_argument("-u", "--user", metavar="USER", default="", help="run as this user")
    parser.add_argument(
        "-w", "--workdir", metavar="DIR", default="", help="start in this directory"
    )
    parser.add_argument(
        "--network",
        choices=("default", "none", "host"),
        default="none",
        metavar="none|default|host",
        help="its network (default none)",
    )
    parser.add_argument("--rm", action=Switch, default=True, help="nothing is kept (always so)")
    add_progress(parser)
    add_tls(parser)


def run(args: argparse.Namespace) -> Coroutine[Any, Any, int]:
    """Run it; gives the command's exit code."""
    from argosy.cli.building.entering import enter

    enter()  # before any thread starts: a mount namespace is a thread's own
    return _run(args)


async def _run(args: argparse.Namespace) -> int:
    from argosy.build.trial import Trial, run_image
    from argosy.cli.building.reading import pairs
    from argosy.cli.session import Session

    trial = Trial(
        command=args.command,
        entrypoint=args.entrypoint,
        env=pairs("--env", args.env),
        user=args.user,
        cwd=args.workdir,
        platform=_one(args.platforms),
        network=args.network,
    )
    async with Session(args) as session:
        source, desc = await _found(session, args.image)
        return await run_image(
            source, desc, trial, settings=session.settings, output=_say, report=session.report
        )


async def _found(session: "Session", image: str) -> "tuple[Source, Descriptor]":
    """The image of this machine by that name, else what the reference names."""
    from argosy.cli.looking import look_up
    from argosy.cli.session import LOCAL, full_name
    from argosy.errors import NotFound, UsageError

    if not image.startswith(LOCAL):
        with suppress(NotFound, UsageError):  # a layout or archive is no name of an image
            store = session.images()
            return store, await store.resolve(full_name(image))
    found = await look_up(session, image)
    return found.source, found.desc


def _one(platforms: "Sequence[Platform]") -> "Platform | None":
    from argosy.errors import UsageError

    if len(platforms) > 1:
        raise UsageError("one platform can be run at a time", remedy="give one --platform")
    return platforms[0] if platforms else None


def _say(piece: bytes) -> None:
    sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
