"""The whole table: every operation of the management API, in the order of the docs."""

from functools import cache
from typing import Final

import msgspec

from argosy.server.manage.operation import Operation
from argosy.server.manage.resources import (
    audit,
    members,
    repositories,
    robots,
    system,
    tokens,
    users,
)

OPERATIONS: Final[tuple[Operation, ...]] = (
    *system.OPERATIONS,
    *repositories.OPERATIONS,
    *members.OPERATIONS,
    *robots.OPERATIONS,
    *users.OPERATIONS,
    *tokens.OPERATIONS,
    *audit.OPERATIONS,
)


@cache
def described() -> msgspec.Raw:
    """The OpenAPI document of the table, as JSON; made when somebody first asks for it."""
    from argosy.server.manage.openapi import document  # noqa: PLC0415 - few ask

    return msgspec.Raw(msgspec.json.encode(document(OPERATIONS)))
