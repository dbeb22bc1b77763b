"""Items of the disk as buildx prints them."""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from argosy.cli.terminal.units import ago, human_size

if TYPE_CHECKING:
    from argosy.build.disk.items import Item

_HEADER = ("ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED")


def show(items: "Sequence[Item]", args: argparse.Namespace) -> None:
    """Print them in the format that was asked for, and what they come to."""
    from argosy.cli.terminal.table import print_json

    if args.json:
        print_json([item.to_json() for item in items])
    elif args.format in ("", "table", "pretty"):
        verbose = args.verbose or args.format == "pretty"
        (details if verbose else table)(items)
        sums(items)
    else:
        print(lines(items, args.format), end="")


def table(items: "Sequence[Item]") -> None:
    """A line each."""
    from argosy.cli.terminal.table import print_table

    now = time.time()
    rows = [
        (
            _short(item.id) + ("*" if item.mutable else ""),
            str(item.is_reclaimable).lower(),
            human_size(item.size) + ("*" if item.shared else ""),
            ago(now - item.used) if item.used else "",
        )
        for item in items
    ]
    print_table(_HEADER, rows)


def details(items: "Sequence[Item]") -> None:
    """A paragraph each."""
    now = time.time()
    for item in items:
        said = item.to_json()
        facts = {
            "ID": item.id,
            "Parents": ", ".join(item.parents),
            "Created at": said["CreatedAt"] or "",
            "Mutable": str(item.mutable).lower(),
            "Reclaimable": str(item.is_reclaimable).lower(),
            "Shared": str(item.shared).lower(),
            "In use": str(item.in_use).lower(),
            "Size": human_size(item.size),
            "Description": item.description,
            "Last used": ago(now - item.used) if item.used else "",
            "Type": item.kind,
        }
        width = max(map(len, facts)) + 3
        print("".join(f"{k + ':':{width}}{v}\n" for k, v in facts.items() if v))


def sums(items: "Sequence[Item]") -> None:
    """What they come to, of each sort."""
    from argosy.build.disk.items import Sums

    found = Sums.of(items)
    rows = {
        "Shared": found.shared,
        "Private": found.total - found.shared,
        "Reclaimable": found.reclaimable,
        "Total": found.total,
    }
    if not found.shared:
        del rows["Shared"], rows["Private"]
    print("".join(f"{name + ':':15}{human_size(size)}\n" for name, size in rows.items()), end="")


def lines(items: "Sequence[Item]", form: str) -> str:
    """A line each: JSON, or a template of Go's filled."""
    from argosy.cli.terminal.template import render

    template = "{{json .}}" if form == "json" else form.removeprefix("table ")
    return "".join(f"{render(template, item.to_json())}\n" for item in items)


def confirmed(question: str) -> bool:
    """Whether somebody at the terminal agrees."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _short(name: str) -> str:
    return name[7:32] if name.startswith("sha256:") else name[:32]
