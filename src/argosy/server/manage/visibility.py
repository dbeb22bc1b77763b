"""Which projects somebody may look into: the public ones, and those they have a role or grant in."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from argosy.access.permission import Action, Permission, Resource
from argosy.access.standing import Standing
from argosy.catalog import schema as t
from argosy.server.manage.operation import Call


async def visible(call: Call[Any, Any]) -> Sequence[str] | None:
    """The projects whose repositories the client may list; None: all of them."""
    access = call.services.access
    if call.principal.is_admin or access is None:
        return None
    standing = await access.authority.standing(call.principal)
    return await call.services.database.read(lambda conn: readable(conn, standing))


def readable(
    conn: Connection, standing: Standing, need: Resource = Resource.REPOSITORY
) -> list[str]:
    """The names of the projects in which somebody may list repositories."""
    p = t.projects.c
    rows = conn.execute(select(p.name, p.public).order_by(p.name))
    action = Action.LIST if need is Resource.REPOSITORY else Action.READ
    return [
        name
        for name, public in rows
        if standing.may(Permission(need, action, name), public=bool(public))
    ]
