"""`argosy base`."""

import argparse
from collections.abc import Coroutine
from typing import Any

from argosy.cli.options import (
    Parser,
    Switch,
    add_json,
    add_platforms,
    add_progress,
    add_tls,
    listed,
)

HELP = (
    "Make a base image from distribution packages, for one or more platforms, without a hub; kept"
    " by content, so asked for again it is there at once."
)


def arguments(parser: Parser) -> None:
    """The words of `base`."""
    parser.add_argument("what", metavar="DISTRIBUTION:RELEASE", help="for example debian:bookworm")
    parser.add_argument(
        "-t", "--tag", metavar="NAME", action="append", default=[], help="a name; repeatable"
    )
    add_platforms(parser, "make it for these platforms (default: this machine's)")
    parser.add_argument(
        "--include",
        metavar="PKG[,…]",
        action="extend",
        type=listed,
        default=[],
        help="more packages; repeatable",
    )
    parser.add_argument("--mirror", metavar="URL", default="", help="where the packages come from")
    parser.add_argument(
        "--refresh", action=Switch, default=False, help="make it anew from the newest packages"
    )
    parser.add_argument(
        "--push", action=Switch, default=False, help="push it to the names' registries"
    )
    add_json(parser, "print {digest, names, platforms}")
    add_progress(parser)
    add_tls(parser)


def run(args: argparse.Namespace) -> Coroutine[Any, Any, int]:
    """Make it; prints each name with the digest."""
    raise NotImplementedError
