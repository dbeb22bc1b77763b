"""What the verbs of the management API share: their flags, and the client that the flags give."""

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from argosy.cli.options import Parser, add_json, add_tls

if TYPE_CHECKING:
    from argosy.cli.managing.client import ManageClient

HERE = "127.0.0.1:5000"
"""Where `argosy serve` listens when nobody says otherwise."""


def add_registry(parser: Parser) -> None:
    """Which registry, and how it is reached."""
    parser.add_argument(
        "--registry",
        metavar="HOST",
        default="",
        help=f"the registry (default: $ARGOSY_REGISTRY, else {HERE})",
    )
    add_tls(parser)


def add_list(parser: Parser) -> None:
    """How a list is printed."""
    parser.add_argument(
        "--format",
        metavar="table|json|TEMPLATE",
        default="",
        help="json and a template give a line each",
    )
    add_json(parser, "print a list")
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="print only the names, one a line"
    )


def add_value(parser: Parser) -> None:
    """How one thing is printed."""
    parser.add_argument(
        "--format", metavar="pretty|json|TEMPLATE", default="", help="as what to print it"
    )
    add_json(parser, "print it as JSON")


def add_amounts(parser: Parser) -> None:
    """What a project may hold."""
    from argosy.cli.managing.words import amount, number

    parser.add_argument(
        "--bytes",
        metavar="SIZE",
        type=amount,
        default=...,
        help="bytes it may hold: 10GB; none lifts the limit",
    )
    parser.add_argument(
        "--artifacts",
        metavar="N",
        type=number,
        default=...,
        help="manifests and indexes it may hold; none lifts the limit",
    )


def registry_of(args: argparse.Namespace) -> str:
    """The host meant."""
    from argosy.cli.access import host_of

    return host_of(args.registry or os.environ.get("ARGOSY_REGISTRY") or HERE)


@asynccontextmanager
async def managing(args: argparse.Namespace, host: str = "") -> AsyncIterator["ManageClient"]:
    """The client of the registry that the flags name, or of `host`."""
    from argosy.cli.access import client
    from argosy.cli.managing.client import ManageClient
    from argosy.cli.session import settings_of
    from argosy.observe import silent

    host = host or registry_of(args)
    async with client(args, settings_of(args), silent) as registries:
        yield ManageClient(host, await registries.exchange(host))
