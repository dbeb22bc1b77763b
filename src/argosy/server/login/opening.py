"""The pages, and what stands behind them, from the settings."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from argosy.access.identity.flows import Flows
from argosy.access.identity.oidc.values import OidcOptions
from argosy.access.identity.recalling import Recalling
from argosy.access.identity.workload import WorkloadOptions, Workloads
from argosy.access.service import Access
from argosy.access.signing_in.backends import Backend
from argosy.background import beside
from argosy.catalog.database import Database
from argosy.concurrency import in_thread
from argosy.server.config.sections import OidcSection, ServerSettings, options_as
from argosy.server.login.door import Door
from argosy.server.observing.addresses import Front
from argosy.values import frozen

if TYPE_CHECKING:  # slow to import, and only where there is a provider
    from argosy.access.identity.oidc.login import Oidc


@frozen(kw_only=True, eq=False)
class Entrance:
    """The pages; and who judges the tokens of CI jobs."""

    door: Door
    workloads: Workloads


@asynccontextmanager
async def open_entrance(
    settings: ServerSettings,
    access: Access,
    database: Database,
    front: Front,
    backends: Sequence[Backend] = (),
) -> AsyncIterator[Entrance]:
    """The pages for a registry with access control; from now on its robots may be CI jobs.

    Users of `backends` are looked for again as long as the block runs.
    """
    async with AsyncExitStack() as stack:
        flows, oidc = Flows(database, access.sealer), None
        if "oidc" in settings.auth.backends:
            oidc = await in_thread(_oidc, settings.oidc, flows)
            stack.push_async_callback(oidc.close)
        workloads = Workloads(database, options_as(WorkloadOptions, settings.workload))
        stack.push_async_callback(workloads.close)
        access.logins.jobs = workloads
        recalling = partial(Recalling(database, backends).keep, settings.auth.recheck)
        await stack.enter_async_context(beside({"looking for users": recalling}))
        yield Entrance(door=Door(access, database, front, oidc), workloads=workloads)


def _oidc(section: OidcSection, flows: Flows) -> "Oidc":
    from argosy.access.identity.oidc.login import Oidc  # noqa: PLC0415 - see above

    return Oidc(options_as(OidcOptions, section), flows)
