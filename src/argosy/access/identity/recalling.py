"""Users of other back ends are looked for again from time to time: who is gone there is out here.

A password is asked for at a login, but a personal access token or what `docker login` keeps is
not. So that nobody goes on with those after they left, users of back ends that can tell are
looked for every hour: groups are brought up to date, and who is gone is disabled, to be enabled
by an admin. When more are gone than plausible, the settings are rather wrong than the
people gone, and nobody is disabled.
"""

import asyncio
import logging
import secrets
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, select

from argosy.access.identity.onboarding import bring_up_to_date, external
from argosy.access.signing_in.backends import Backend, BackendUnavailable, Identity, Recalls
from argosy.catalog import schema as t
from argosy.catalog.actor import SYSTEM
from argosy.catalog.audit import Entry, record
from argosy.catalog.database import Database
from argosy.catalog.databases import leases
from argosy.catalog.people import users
from argosy.errors import ArgosyError
from argosy.values import frozen

log = logging.getLogger("argosy.access")

_LEASE: Final = "recall-users"
_LOOK_EVERY: Final = 300.0
_PAGE: Final = 200
_FEW: Final = 5  # so many may be gone at once, however few users there are
_u = t.users.c


@frozen(kw_only=True)
class Recalled:
    """What a round found."""

    seen: int = 0
    gone: tuple[str, ...] = ()
    disabled: bool = False


@frozen
class _Known:
    key: int
    name: str
    external_id: str


class Recalling:
    """Looks for the users of back ends that can tell who is there."""

    def __init__(self, database: Database, backends: Sequence[Backend]) -> None:
        self._db = database
        self._backends = [b for b in backends if isinstance(b, Recalls) and b.recalls]
        self._holder = secrets.token_hex(8)

    async def keep(self, every: float) -> None:
        """A round each `every` seconds, on one node of all; for as long as the server runs."""
        if not self._backends or every <= 0:
            return
        wait = min(_LOOK_EVERY, every)
        while True:
            await asyncio.sleep(wait)
            try:
                if await self._is_ours(every):
                    await self.round()
                    wait = every
            except ArgosyError as e:
                log.warning("users could not be looked for, and will be again: %s", e)

    async def round(self) -> dict[str, Recalled]:
        """Look for everybody once; what was found, by back end."""
        found = {}
        for backend in self._backends:
            try:
                found[backend.name] = await self._of(backend)
            except BackendUnavailable as e:
                log.warning("%s: %s", e.summary, e.why)
        return found

    async def _is_ours(self, every: float) -> bool:
        return await self._db.write(
            lambda conn: leases.take(conn, _LEASE, self._holder, every + 2 * _LOOK_EVERY)
        )

    async def _of(self, backend: Backend) -> Recalled:
        assert isinstance(backend, Recalls)
        seen, after = 0, 0
        gone: list[_Known] = []
        while page := await self._db.read(lambda conn: _page(conn, backend.name, after)):  # noqa: B023
            for known in page:
                identity = await backend.recall(known.name, known.external_id)
                if identity is None or external(identity) != known.external_id:
                    gone.append(known)
                else:
                    await self._db.write(lambda conn: _refresh(conn, known, identity))  # noqa: B023
            seen, after = seen + len(page), page[-1].key
        return await self._let_go(backend.name, seen, gone)

    async def _let_go(self, backend: str, seen: int, gone: Sequence[_Known]) -> Recalled:
        names = tuple(known.name for known in gone)
        if len(gone) > max(_FEW, seen // 2):
            log.error(
                "%d of %d users are not in %s any more: nobody is disabled, since the settings"
                " of it are rather wrong",
                len(gone),
                seen,
                backend,
            )
            return Recalled(seen=seen, gone=names)
        for known in gone:
            await self._db.write(lambda conn: _disable(conn, known, backend))  # noqa: B023
            log.warning("%s is not in %s any more, and disabled", known.name, backend)
        return Recalled(seen=seen, gone=names, disabled=bool(gone))


def _page(conn: Connection, backend: str, after: int) -> list[_Known]:
    """Some users of a back end who may log in, by key."""
    wanted = select(_u.id, _u.name, _u.external_id).where(
        _u.backend == backend, _u.id > after, ~_u.disabled, _u.external_id.is_not(None)
    )
    rows = conn.execute(wanted.order_by(_u.id).limit(_PAGE))
    return [_Known(row.id, row.name, row.external_id) for row in rows]


def _refresh(conn: Connection, known: _Known, identity: Identity) -> None:
    user = users.user_by_id(conn, known.key)
    if user is not None and not user.disabled:
        bring_up_to_date(conn, user, identity, SYSTEM)


def _disable(conn: Connection, known: _Known, backend: str) -> None:
    """Out everywhere: tokens, sessions, robots that stand on them."""
    users.change_user(conn, known.key, {"disabled": True})
    users.log_out(conn, known.key)
    details = {"disabled": True, "reason": f"gone from {backend}"}
    record(conn, SYSTEM, Entry(action="user.update", resource=known.name, details=details))
