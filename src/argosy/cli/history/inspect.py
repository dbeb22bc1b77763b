"""`argosy history inspect`."""

import argparse

from argosy.cli.options import Parser, add_json

HELP = (
    "Show a build: what was asked for, how long it took, what came out, or why it failed. REF is"
    " the beginning of its ID, ^1 the build before the last; without it the last one is shown."
)


def arguments(parser: Parser) -> None:
    """The words of `history inspect`."""
    parser.add_argument("ref", metavar="REF", nargs="?", default="", help="which build")
    parser.add_argument(
        "--format", metavar="pretty|json|TEMPLATE", default="pretty", help="as what to print it"
    )
    add_json(parser, "print the record")


async def run(args: argparse.Namespace) -> int:
    """Print it."""
    from argosy.build.history.reading import History
    from argosy.cli.history.showing import fields, pretty
    from argosy.cli.session import settings_of
    from argosy.concurrency import in_thread

    record = await in_thread(History.of(settings_of(args).home).find, args.ref)
    if args.json or args.format == "json":
        from argosy.cli.terminal.table import print_json

        print_json(record.to_json())
    elif args.format == "pretty":
        print(pretty(record), end="")
    else:
        from argosy.cli.terminal.template import render

        print(render(args.format, fields(record)))
    return 0
