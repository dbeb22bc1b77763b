"""`argosy history rm`."""

import argparse

from argosy.cli.options import Parser, Switch
from argosy.errors import UsageError

HELP = "Forget builds: their records and logs. Nothing they made is touched."


def arguments(parser: Parser) -> None:
    """The words of `history rm`."""
    parser.add_argument(
        "refs", metavar="REF", nargs="*", help="which: the beginning of an ID, or ^1"
    )
    parser.add_argument("--all", action=Switch, default=False, help="every build that has ended")


async def run(args: argparse.Namespace) -> int:
    """Forget them; prints each ID."""
    from argosy.build.history.reading import History
    from argosy.cli.session import settings_of
    from argosy.concurrency import in_thread

    if bool(args.refs) is args.all:
        raise UsageError("say which builds to forget", remedy="give their IDs, or --all")
    history = History.of(settings_of(args).home)
    if args.all:
        found = [r.ref for r in await in_thread(history.records) if r.status != "running"]
    else:
        found = [(await in_thread(history.find, ref)).ref for ref in args.refs]
    await in_thread(history.remove, *found)
    print("".join(f"{ref}\n" for ref in found), end="")
    return 0
