"""Values of the management API as people and scripts read them."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from argosy.cli.terminal.table import print_json, print_table
from argosy.cli.terminal.visible import visible

Json = Mapping[str, Any]
Column = tuple[str, str | Callable[[Json], str]]
"""A header, and the field below it or a function that gives the cell."""


def show_list(
    args: argparse.Namespace, items: Sequence[Json], columns: Sequence[Column], name: str = "name"
) -> None:
    """A list, as the flags say: table, names, JSON, a template for each."""
    if args.quiet:
        print("".join(f"{item[name]}\n" for item in items), end="")
    elif args.json:
        print_json(list(items))
    elif args.format in ("", "table"):
        rows = [tuple(_cell(item, what) for _, what in columns) for item in items]
        print_table([header for header, _ in columns], rows)
    else:
        from argosy.cli.terminal.template import render

        template = "{{json .}}" if args.format == "json" else args.format.removeprefix("table ")
        print("".join(f"{render(template, dict(item))}\n" for item in items), end="")


def show_value(args: argparse.Namespace, value: Json, facts: Sequence[Column] = ()) -> None:
    """One thing, as the flags say: in words, as JSON, by a template."""
    if args.json or args.format == "json":
        print_json(dict(value))
    elif args.format in ("", "pretty"):
        shown = [(title, _cell(value, what)) for title, what in facts]
        width = max((len(title) for title, text in shown if text), default=0) + 3
        print("".join(f"{title + ':':{width}}{text}\n" for title, text in shown if text), end="")
    else:
        from argosy.cli.terminal.template import render

        print(render(args.format, dict(value)))


def _cell(item: Json, what: str | Callable[[Json], str]) -> str:
    return visible(what(item) if callable(what) else _plain(item, what))


def _plain(item: Json, what: str) -> str:
    value = item.get(what)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def when(field: str, never: str = "") -> Callable[[Json], str]:
    """A cell with a time, to the second."""

    def cell(item: Json) -> str:
        text = item.get(field)
        if not text:
            return never
        moment = datetime.fromisoformat(text)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    return cell


def size(field: str, none: str = "") -> Callable[[Json], str]:
    """A cell with an amount of bytes."""

    def cell(item: Json) -> str:
        from argosy.cli.terminal.units import human_size

        value = item.get(field)
        return none if value is None else human_size(value)

    return cell
