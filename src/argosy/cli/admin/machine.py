"""What the verbs need that work on the registry of this machine, not through its API."""

import argparse
from typing import TYPE_CHECKING

from argosy.cli.options import Parser

if TYPE_CHECKING:
    from argosy.server.config.sections import ServerSettings


def add_settings(parser: Parser) -> None:
    """The flags that say which registry: those of `serve`."""
    parser.add_argument("--config", metavar="FILE", default="", help="argosy.toml of the server")
    parser.add_argument("--data", metavar="DIR", help="its data (default: in ARGOSY_HOME)")


def settings_of(args: argparse.Namespace) -> "ServerSettings":
    """The settings of that registry."""
    from argosy.server.config.loading import load
    from argosy.server.starting.running import with_data
    from argosy.settings import Settings

    flags = {"server.data": args.data} if args.data else {}
    return with_data(load(args.config, flags=flags), Settings.load().home)
