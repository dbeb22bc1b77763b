"""The audit log: who did what to which digest, from where, written with the change itself."""

import json
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final

from sqlalchemy import Connection, String, insert

from argosy.catalog import schema as t
from argosy.catalog.actor import Actor
from argosy.values import frozen


@frozen(kw_only=True)
class Entry:
    """One thing that was done, or refused.

    `action` is `resource.verb` (`tag.move`, `robot.create`, `manifest.pull`); `resource`
    names what it was done to (`team/app:1.0`); `outcome` is done, denied or failed.
    """

    action: str
    resource: str
    project: str = ""
    digest: str = ""
    outcome: str = "done"
    details: Mapping[str, Any] = field(default_factory=dict)


_REPLACED: Final = "\N{REPLACEMENT CHARACTER}"
_MOST_DETAILS: Final = 8192
_WIDTHS: Final = {
    name: column.type.length
    for name, column in t.audit.c.items()
    if isinstance(column.type, String) and column.type.length
}
_INSERT: Final = insert(t.audit).inline()  # made once: with each push it would take 0.1 ms


def record(conn: Connection, by: Actor, entry: Entry) -> None:
    """Write an entry in the transaction of the change: both are there, or neither."""
    conn.execute(_INSERT, row(by, entry))


def row(by: Actor, entry: Entry) -> dict[str, Any]:
    """An entry as the table has it, not sealed yet.

    Whatever a name holds, it can be written: an entry must not fail the change it tells of.
    """
    said = {
        "actor": by.name,
        "actor_kind": by.kind,
        "address": by.address,
        "request": by.request,
        "action": entry.action,
        "project": entry.project,
        "resource": entry.resource,
        "digest": entry.digest,
        "outcome": entry.outcome,
    }
    fitting = {name: text(value, _WIDTHS[name]) for name, value in said.items()}
    return {"at": t.now(), **fitting, "details": _details(entry.details)}


def text(value: str, most: int) -> str:
    """What every database takes and every log can show: no control characters, not too long."""
    value = str(value)
    if not value.isprintable():
        value = "".join(c if c.isprintable() else _REPLACED for c in value)
    return value if len(value) <= most else value[: most - 1] + "…"


def _details(found: Mapping[str, Any]) -> dict[str, Any]:
    kept = {text(key, 64): _plain(value) for key, value in found.items()}
    if len(json.dumps(kept)) > _MOST_DETAILS:
        return {"omitted": sorted(kept)[:32], "why": "the details were too long"}
    return kept


def _plain(value: Any) -> Any:
    """JSON that is the same after it was in a database: no floats, no odd characters."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 53 else str(value)
    if isinstance(value, Mapping):
        return {text(key, 64): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in list(value)[:100]]
    return text(value, 1024)
