"""`argosy history logs`."""

import argparse
import sys
from typing import TYPE_CHECKING

from argosy.cli.options import Parser

if TYPE_CHECKING:
    from argosy.build.history.reading import History
    from argosy.build.history.record import BuildRecord

HELP = (
    "Print what a build printed, with the times it took then. REF is the beginning of its ID, ^1"
    " the build before the last; without it the last one is meant. One that still runs is printed"
    " as far as it is."
)


def arguments(parser: Parser) -> None:
    """The words of `history logs`."""
    parser.add_argument("ref", metavar="REF", nargs="?", default="", help="which build")
    parser.add_argument(
        "--progress",
        choices=("plain", "rawjson"),
        metavar="plain|rawjson",
        default="plain",
        help="as what to print it (default: plain)",
    )


async def run(args: argparse.Namespace) -> int:
    """Replay it."""
    from argosy.build.history.reading import History
    from argosy.cli.session import settings_of
    from argosy.concurrency import in_thread

    history = History.of(settings_of(args).home)
    record = await in_thread(history.find, args.ref)
    await in_thread(_replay, history, record, args.progress)
    return 0


def _replay(history: "History", record: "BuildRecord", kind: str) -> None:
    from datetime import UTC, datetime

    from argosy.cli.terminal.plain import Plain
    from argosy.cli.terminal.rawjson import RawJSON

    now = 0.0

    def clock() -> float:
        return now

    def time() -> str:
        moment = datetime.fromtimestamp(record.started + now, UTC)
        return moment.isoformat().replace("+00:00", "Z")

    with Plain(sys.stdout, clock) if kind == "plain" else RawJSON(sys.stdout, time) as report:
        for moment, event in history.events(record.ref):
            now = moment
            report(event)
