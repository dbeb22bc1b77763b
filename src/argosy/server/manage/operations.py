"""The whole table: every operation of the management API, in the order of the docs."""

from functools import cache
from typing import Final

import msgspec

from argosy.server.manage.operation import PUBLIC, Call, Nothing, Operation, Reply
from argosy.server.manage.resources import (
    audit,
    factors,
    groups,
    keys,
    members,
    projects,
    quotas,
    repositories,
    robots,
    system,
    tags,
    tokens,
    users,
    workloads,
)


async def openapi(_call: Call[Nothing, Nothing]) -> Reply:
    """The document of all this."""
    return Reply(value=described())


OPERATIONS: Final[tuple[Operation, ...]] = (
    *system.OPERATIONS,
    Operation(
        id="getOpenAPI",
        group="system",
        method="GET",
        path="/openapi.json",
        summary="This API as an OpenAPI 3.1 document",
        need=PUBLIC,
        handler=openapi,
        answer=msgspec.Raw,
        example={"openapi": "3.1.1"},
    ),
    *projects.OPERATIONS,
    *quotas.OPERATIONS,
    *repositories.OPERATIONS,
    *tags.OPERATIONS,
    *members.OPERATIONS,
    *robots.OPERATIONS,
    *workloads.OPERATIONS,
    *users.OPERATIONS,
    *groups.OPERATIONS,
    *tokens.OPERATIONS,
    *factors.OPERATIONS,
    *audit.OPERATIONS,
    *keys.OPERATIONS,
)


@cache
def described() -> msgspec.Raw:
    """The OpenAPI document of the table, as JSON; made when somebody first asks for it."""
    from argosy.server.manage.openapi import document  # noqa: PLC0415 - few ask

    return msgspec.Raw(msgspec.json.encode(document(OPERATIONS)))
