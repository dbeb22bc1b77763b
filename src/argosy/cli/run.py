"""`argosy run`."""

import argparse
from collections.abc import Coroutine
from typing import Any

from argosy.cli.options import Parser, Switch, add_platforms, add_tls

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
    add_tls(parser)


def run(args: argparse.Namespace) -> Coroutine[Any, Any, int]:
    """Run it."""
    raise NotImplementedError
