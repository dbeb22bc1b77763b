"""The library on a registry's own database, for who owns the machine: beside a server, or without one."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from argosy.access.accounts.users import Users
from argosy.access.permissions.authority import Authority
from argosy.access.signing_in.logins import Logins
from argosy.access.signing_in.uses import Uses
from argosy.access.tokens.keys import KeyRing
from argosy.catalog.database import Database, open_database
from argosy.concurrency import in_thread
from argosy.errors import NotFound
from argosy.server.config.sections import ServerSettings
from argosy.server.guarding.admission import key_options, sealer
from argosy.server.starting.opening import database_options, where_database


@asynccontextmanager
async def database(settings: ServerSettings) -> AsyncIterator[Database]:
    """The registry's database; NotFound if there is none yet: this is not where one is made."""
    where = where_database(settings)
    if not settings.database.url and not os.path.exists(where):
        raise NotFound(
            f"no registry in {settings.server.data}",
            remedy="name its directory with --data or its settings with --config",
        )
    shared = settings.server.workers > 1
    async with open_database(where, database_options(settings.database, shared=shared)) as found:
        yield found


@asynccontextmanager
async def people(settings: ServerSettings) -> AsyncIterator[Users]:
    """Its users."""
    async with database(settings) as found:
        uses = Uses(found)
        yield Users(found, Logins(found, Authority(found), uses))


@asynccontextmanager
async def signing_keys(settings: ServerSettings) -> AsyncIterator[KeyRing]:
    """Its keys."""
    async with database(settings) as found:
        yield KeyRing(found, await in_thread(sealer, settings), key_options(settings))
