"""What of the audit log a verb asks for, and where its export goes."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

from argosy.cli.options import Parser

_FILTERS = ("actor", "action", "resource", "digest", "outcome", "since", "until")


def add_audit_filters(parser: Parser) -> None:
    """Which entries: of several filters all must hold."""
    group = parser.add_argument_group("filters")
    add = group.add_argument
    add("--actor", metavar="NAME", default="", help="done by this user or robot")
    add(
        "--action",
        metavar="ACTION",
        default="",
        help="this was done: manifest.push, robot.create; all of a kind: tag.",
    )
    add("--project", metavar="PROJECT", default="", help="done in this project")
    add("--resource", metavar="NAME", default="", help="done to this: team/app:v1")
    add("--digest", metavar="DIGEST", default="", help="about this digest")
    add(
        "--outcome",
        choices=("done", "denied", "failed"),
        default="",
        metavar="OUTCOME",
        help="done, denied or failed",
    )
    add("--since", metavar="TIME", type=moment, default=None, help="from then on: 24h, 2026-11-21")
    add("--until", metavar="TIME", type=moment, default=None, help="before then")


def audit_query(args: argparse.Namespace) -> dict[str, Any]:
    """The filters as the API takes them."""
    return {name: getattr(args, name) for name in _FILTERS if getattr(args, name)}


def audit_path(args: argparse.Namespace) -> str:
    """Where the log is: a project's own, which its maintainers may read, or all of it."""
    from argosy.cli.managing.client import path

    return path("projects", args.project, "audit") if args.project else path("audit")


def moment(text: str) -> str:
    """A time as the API reads it, from a date, a time, or how long ago (`24h`)."""
    from argosy.settings import duration

    try:
        found = datetime.now(UTC) - timedelta(seconds=duration(text))
    except (ValueError, OverflowError):
        try:
            found = datetime.fromisoformat(text)
        except ValueError as e:
            raise argparse.ArgumentTypeError(f"{text!r} is no time: write 24h or 2026-11-21") from e
    known = found if found.tzinfo else found.replace(tzinfo=UTC)
    return known.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """A file to write to; `-` is stdout."""
    if name == "-":
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with open(name, "wb") as out:
            yield out
