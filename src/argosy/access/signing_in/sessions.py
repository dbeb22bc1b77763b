"""Sessions of browsers: a random name in a cookie, everything else in the catalog.

Whoever is disabled, or has logged out, is out at once on every node.
"""

import secrets
from dataclasses import field
from typing import Final

from sqlalchemy import Connection, delete, insert, select

from argosy.access.secrets import hashed
from argosy.catalog import schema as t
from argosy.catalog.database import Database
from argosy.catalog.people import users
from argosy.catalog.people.users import User
from argosy.values import frozen

LIFE: Final = 8 * 3600.0  # seconds
_MOST: Final = 50  # of one user: the oldest go first
_s = t.sessions.c


@frozen(kw_only=True)
class Session:
    """A browser of somebody. `form_key` has to come with every form it sends."""

    user: User
    form_key: str = field(repr=False)
    expires_at: int


class Sessions:
    """The sessions in the catalog."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def begin(self, user: int) -> str:
        """A new session; what its cookie holds."""
        token = secrets.token_urlsafe(32)
        now = t.now()
        row = {"hash": hashed(token), "user_id": user, "created_at": now}
        row |= {"data": {"form_key": secrets.token_urlsafe(24)}}

        def write(conn: Connection) -> None:
            conn.execute(delete(t.sessions).where(_s.expires_at < now))
            kept = select(_s.hash).where(_s.user_id == user).order_by(_s.created_at.desc())
            for old in list(conn.execute(kept).scalars())[_MOST - 1 :]:
                conn.execute(delete(t.sessions).where(_s.hash == old))
            conn.execute(insert(t.sessions).values(**row, expires_at=now + int(LIFE * 1e6)))

        await self._db.write(write)
        return token

    async def of(self, token: str) -> Session | None:
        """The session of a cookie, if it is still good and so is its user."""
        if not token:
            return None
        wanted = select(t.sessions).where(_s.hash == hashed(token), _s.expires_at > t.now())

        def read(conn: Connection) -> Session | None:
            row = conn.execute(wanted).one_or_none()
            user = users.user_by_id(conn, row.user_id) if row else None
            if row is None or user is None or user.disabled:
                return None
            return Session(user=user, form_key=row.data["form_key"], expires_at=row.expires_at)

        return await self._db.read(read)

    async def end(self, token: str) -> None:
        """Log out this browser."""
        gone = delete(t.sessions).where(_s.hash == hashed(token))
        await self._db.write(lambda conn: conn.execute(gone))
