"""The audit log: who did what to which digest, from where, written with the change itself."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from sqlalchemy import Connection, insert

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


def record(conn: Connection, by: Actor, entry: Entry) -> None:
    """Write an entry in the transaction of the change: both are there, or neither."""
    conn.execute(insert(t.audit).values(**row(by, entry)))


def row(by: Actor, entry: Entry) -> dict[str, Any]:
    """An entry as the table has it, not sealed yet."""
    return {
        "at": t.now(),
        "actor": by.name,
        "actor_kind": by.kind,
        "address": by.address,
        "request": by.request,
        "action": entry.action,
        "project": entry.project,
        "resource": entry.resource[:512],
        "digest": entry.digest,
        "outcome": entry.outcome,
        "details": dict(entry.details),
    }
