"""docs/api.md below its hand-written start: every operation, made from the table."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from argosy.server.manage.openapi import document, statuses
from argosy.server.manage.operation import IDENTIFIED, ONESELF, PUBLIC, Nothing, Operation

MARK = "<!-- what follows is made by `make docs` -->"
"""Ends what is written by hand."""


def page(start: str, operations: Sequence[Operation]) -> str:
    """The whole page: what stands before the mark, then the table."""
    head = start.partition(MARK)[0].rstrip()
    return "\n".join([head, "", MARK, "", *_groups(operations)]).rstrip() + "\n"


def _groups(operations: Sequence[Operation]) -> Iterator[str]:
    paths = document(operations)["paths"]
    for group in dict.fromkeys(one.group for one in operations):
        yield f"## {group.capitalize()}"
        yield ""
        for one in operations:
            if one.group == group:
                yield from _operation(one, paths[one.path][one.method.lower()])


def _operation(one: Operation, described: dict[str, Any]) -> Iterator[str]:
    yield f"### {one.summary}"
    yield ""
    yield f"`{one.method} /api/v1{one.path}` · {_permission(one)} · `{one.id}`"
    yield ""
    if one.description:
        yield from (one.description, "")
    rows = [_parameter(found) for found in described.get("parameters", ())]
    if rows:
        yield from ("| parameter | |", "|---|---|", *rows, "")
    if one.example is not None:
        kind = "body" if one.body is not Nothing else "answer"
        yield f"Example of the {kind}:"
        yield from ("", "```json", _example(one.example), "```", "")
    codes = ", ".join(str(code) for code in statuses(one))
    good = one.status if one.answer is not None else 204
    yield from (f"Answers {good}; refusals: {codes}.", "")


def _permission(one: Operation) -> str:
    if one.need == PUBLIC:
        return "everybody"
    if one.need == IDENTIFIED:
        return "whoever has logged in"
    if one.need == ONESELF:
        return "people, for themselves"
    assert not isinstance(one.need, str)
    return f"`{one.need[0].value}:{one.need[1].value}`"


def _parameter(found: dict[str, Any]) -> str:
    needed = " (needed)" if found.get("required") else ""
    about = found.get("description", "").replace("|", "\\|")
    where = "" if found["in"] == "query" else f" ({found['in']})"
    return f"| `{found['name']}`{where}{needed} | {about} |"


def _example(value: Any) -> str:
    if isinstance(value, str):
        return value.rstrip("\n")
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
