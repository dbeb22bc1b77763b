"""`argosy version`."""

import argparse
import platform
import sys

from argosy import __version__
from argosy.cli.options import add_json

HELP = "Show the version of Argosy, of Python, and the platform; `argosy --version` is shorter."


def arguments(parser: argparse.ArgumentParser) -> None:
    """The words of `version`."""
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print it."""
    from argosy.model.platform import Platform

    facts = {
        "version": __version__,
        "python": platform.python_version(),
        "platform": str(Platform.host()),
        "kernel": platform.release(),
        "executable": sys.executable,
    }
    if args.json:
        from argosy.cli.terminal.table import print_json

        print_json(facts)
        return 0
    print(f"argosy {__version__}")
    for name in ("python", "platform", "kernel"):
        print(f"  {name:9} {facts[name]}")
    return 0
