"""Access control put together: who people are, what they may, and what they are given for it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import field
from typing import Final

from argosy.access.accounts.members import Members
from argosy.access.accounts.personal import PersonalTokens
from argosy.access.accounts.robots import Robots
from argosy.access.accounts.users import Users
from argosy.access.permissions.authority import Authority
from argosy.access.signing_in.backends import Backend
from argosy.access.signing_in.logins import Logins
from argosy.access.signing_in.uses import EVERY, Uses
from argosy.access.tokens.access_tokens import TokenOptions
from argosy.access.tokens.keys import KeyOptions, KeyRing
from argosy.access.tokens.refreshing import RefreshTokens
from argosy.access.tokens.sealing import Sealer
from argosy.background import beside
from argosy.catalog.database import Database
from argosy.errors import ArgosyError
from argosy.values import frozen

log = logging.getLogger("argosy.access")

_SWEEP_EVERY: Final = 60  # writes of uses between two sweeps


@frozen(kw_only=True)
class AccessOptions:
    """How access is controlled."""

    tokens: TokenOptions = field(default_factory=TokenOptions)
    keys: KeyOptions = field(default_factory=KeyOptions)
    refresh_life: float = 30 * 86400.0  # of a refresh token since it was used last
    anonymous: bool = True  # whether public projects are open to who gives no name
    fresh: float = 30.0  # seconds that what somebody may is believed without asking again


class Access:
    """Everything that knows people. Made by `open_access`."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        options: AccessOptions,
        backends: Sequence[Backend] = (),
    ) -> None:
        self.options: Final = options
        self.sealer: Final = sealer
        self.uses: Final = Uses(database)
        self.authority: Final = Authority(database, fresh=options.fresh)
        self.logins: Final = Logins(database, self.authority, self.uses, backends)
        self.keys: Final = KeyRing(database, sealer, options.keys)
        self.refreshing: Final = RefreshTokens(
            database, self.authority, self.uses, life=options.refresh_life
        )
        self.users: Final = Users(database, self.logins)
        self.robots: Final = Robots(database, self.authority)
        self.personal: Final = PersonalTokens(database)
        self.members: Final = Members(database)

    async def tend(self) -> None:
        """Write uses, look after keys, forget what is old; for as long as the server runs."""
        rounds = 0
        while True:
            await asyncio.sleep(min(EVERY, self.options.keys.reload))
            rounds += 1
            try:
                await self.keys.refresh()
                await self.uses.write()
                if rounds % _SWEEP_EVERY == 0:
                    await self.logins.throttle.sweep()
                    await self.refreshing.sweep()
            except ArgosyError as e:
                log.warning("housekeeping of access failed, and will be tried again: %s", e)


@asynccontextmanager
async def open_access(
    database: Database,
    sealer: Sealer,
    options: AccessOptions | None = None,
    backends: Sequence[Backend] = (),
) -> AsyncIterator[Access]:
    """Access control on a database, looked after until the block ends."""
    access = Access(database, sealer, options or AccessOptions(), backends)
    await access.keys.load()
    try:
        async with beside({"tending access": access.tend}):
            yield access
    finally:
        await access.uses.write()
