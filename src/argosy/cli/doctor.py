"""`argosy doctor`."""

import argparse
from collections.abc import Coroutine
from typing import Any

from argosy.cli.options import Parser, Switch, add_json, add_tls, listed

HELP = (
    "Find out why a push, pull or build fails: look at this machine (disk, OCI runtime, emulation)"
    " and, with an image or registry, at the way there (name, connection, TLS, clock, credentials,"
    " permissions, the image itself). Exits with 1 if something is broken."
)


def arguments(parser: Parser) -> None:
    """The words of `doctor`."""
    parser.add_argument(
        "image", metavar="IMAGE", nargs="?", help="an image or a registry that makes trouble"
    )
    parser.add_argument(
        "--only",
        metavar="CHECK[,…]",
        action="extend",
        type=listed,
        default=[],
        help="only these: disk, runtime, binfmt, rootless, dns, connect, tls, clock, auth, scope, image",
    )
    parser.add_argument(
        "--push",
        action=Switch,
        default=False,
        help="try pushing as well: an upload is opened and given up",
    )
    parser.add_argument(
        "--fix", action=Switch, default=False, help="repair what can be repaired (root)"
    )
    add_json(parser, "print a list of {check, state, summary, evidence, next}")
    add_tls(parser)


def run(args: argparse.Namespace) -> Coroutine[Any, Any, int]:
    """Print every finding; 1 if one is a failure."""
    from argosy.build.rootless.namespaces import try_entering
    from argosy.cli.health.machine import repair

    args.repaired = repair() if args.fix else None
    args.entered = try_entering()  # as builds do, so that the runtime is tried as they use it
    return _examine(args)


async def _examine(args: argparse.Namespace) -> int:
    from argosy.cli.health import findings
    from argosy.cli.health.finding import words

    found = []
    async for finding in findings(args):
        found.append(finding)
        if not args.json:
            print(words(finding), flush=True)
    if args.json:
        from argosy.cli.terminal.table import print_json

        print_json([finding.to_json() for finding in found])
    return 1 if any(finding.state == "fail" for finding in found) else 0
