"""Things that were begun and are to be finished soon, once, by whom they were begun: login flows.

A row goes by the hash of a random handle that only the other end has; its contents are
sealed. Any node can finish what another began.
"""

import json
import secrets
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from argosy.access.secrets import hashed
from argosy.access.tokens.sealing import Sealer
from argosy.catalog import schema as t
from argosy.catalog.database import Database

_PURPOSE: Final = "login-flow"
_f = t.login_flows.c


class Flows:
    """The table of flows, with the seal on it."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    async def begin(self, kind: str, data: dict[str, Any], *, minutes: float) -> str:
        """Keep `data` for a while; the handle that it is found by."""
        handle = secrets.token_urlsafe(32)
        await self.begin_as(handle, kind, data, minutes=minutes)
        return handle

    async def begin_as(
        self, handle: str, kind: str, data: dict[str, Any], *, minutes: float
    ) -> None:
        """Keep `data` under a handle that was chosen elsewhere; it has to be hard to guess."""
        key = hashed(handle)
        row = {"hash": key, "kind": kind, "data": self._sealed(key, data)}
        until = t.now() + int(minutes * 60e6)

        def write(conn: Connection) -> None:
            conn.execute(delete(t.login_flows).where(_f.expires_at < t.now()))
            conn.execute(insert(t.login_flows).values(**row, expires_at=until))

        await self._database.write(write)

    async def take(self, kind: str, handle: str) -> dict[str, Any] | None:
        """What was kept, which is then gone: whoever comes second finds nothing."""
        key = hashed(handle)
        same = (_f.hash == key, _f.kind == kind)

        def write(conn: Connection) -> bytes | None:
            found = conn.execute(
                select(_f.data).where(*same, _f.expires_at > t.now())
            ).scalar_one_or_none()
            gone = conn.execute(delete(t.login_flows).where(*same)).rowcount
            return found if gone else None  # two at once: one of them deletes it

        found = await self._database.write(write)
        return None if found is None else self._opened(key, found)

    async def look(self, kind: str, handle: str) -> dict[str, Any] | None:
        """What is kept, which stays."""
        key = hashed(handle)
        wanted = select(_f.data).where(_f.hash == key, _f.kind == kind, _f.expires_at > t.now())
        found = await self._database.read(lambda conn: conn.execute(wanted).scalar_one_or_none())
        return None if found is None else self._opened(key, found)

    async def change(self, kind: str, handle: str, data: dict[str, Any]) -> bool:
        """Keep other data under a handle, for as long as before; False when it is gone."""
        key = hashed(handle)
        changed = (
            update(t.login_flows)
            .where(_f.hash == key, _f.kind == kind, _f.expires_at > t.now())
            .values(data=self._sealed(key, data))
        )
        return await self._database.write(lambda conn: conn.execute(changed).rowcount) > 0

    def _sealed(self, key: str, data: dict[str, Any]) -> bytes:
        return self._sealer.seal(_PURPOSE, key, json.dumps(data).encode())

    def _opened(self, key: str, sealed: bytes) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._sealer.open(_PURPOSE, key, sealed))
        return found
