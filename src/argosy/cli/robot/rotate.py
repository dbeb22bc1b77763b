"""`argosy robot rotate`."""

import argparse

from argosy.cli.managing.options import add_registry, add_value
from argosy.cli.options import Parser

HELP = (
    "Give a robot a new secret, which is shown once. The one before is accepted for a while, so"
    " that jobs can be moved over; with --now it is not."
)


def arguments(parser: Parser) -> None:
    """The words of `robot rotate`."""
    parser.add_argument("robot", metavar="ROBOT", help="its whole name: robot$project+name")
    parser.add_switch("--now", help="refuse the secret before from now on")
    add_value(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Rotate it; prints the new secret."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.secrets import told_once
    from argosy.cli.managing.views import ROBOT_MADE, show

    async with managing(args) as api:
        made = await api.post(path("robots", args.robot, "rotate"), {"keep_old": not args.now})
    show(args, made, ROBOT_MADE)
    told_once("the secret")
    return 0
