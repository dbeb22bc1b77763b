"""Requests that may be sent twice and count once: `Idempotency-Key` on POST.

The first answer is kept for a day, per principal and key, and given again; another body
under the same key is refused (422), the same one while the first is at work too (409).
Only successes are kept: who failed has changed nothing and may try again.

An answer may hold a secret that is shown once. So it is kept encrypted with a key that
only the client has (its Idempotency-Key); the table holds a hash of that.
"""

import hashlib
import os
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from argosy.access.permissions.principal import Principal
from argosy.catalog import schema as t
from argosy.catalog.database import Database
from argosy.catalog.databases.locks import Space, exclusive
from argosy.server.http.messages import Request, Response
from argosy.server.manage.problems import Refusal, invalid

KEPT: Final = 24 * 3600 * 1_000_000  # microseconds
_WORKING: Final = 60 * 1_000_000  # a node that has not answered by then is gone
_SHORTEST: Final = 16
_LONGEST: Final = 255
_NONCE: Final = 12
_REPLAYED: Final = ("Idempotent-Replayed", "true")


class Turn:
    """One request under one key: `begin`, then `keep` its answer or `give_up`."""

    def __init__(self, database: Database, principal: Principal, key: str) -> None:
        self._db = database
        self._key = key
        self._who = f"{principal.kind}:{principal.id}:{principal.name}"[:300]
        self._row = hashlib.sha256(key.encode()).hexdigest()

    async def begin(self, request: Request, raw: bytes) -> Response | None:
        """The answer given before, if there is one; else the turn is ours. Refusal 409 or 422."""
        mark = hashlib.sha256(b"\0".join([request.method.encode(), request.target.encode(), raw]))
        found = await self._db.write(lambda conn: self._claim(conn, mark.hexdigest()))
        if found is None:
            return None
        if found.fingerprint != mark.hexdigest():
            raise Refusal(
                422,
                "idempotency-key-reused",
                "this Idempotency-Key came with another request before",
                remedy="use a new key for a new request, such as a random UUID",
            )
        if not found.status:
            raise Refusal(
                409,
                "still-at-work",
                "the same request is being worked on",
                remedy="send it again in a moment",
                headers=[("Retry-After", "1")],
            )
        headers = [(name, value) for name, value in found.headers]
        return Response(found.status, [*headers, _REPLAYED], self._opened(bytes(found.body)))

    async def keep(self, response: Response) -> None:
        """Remember the answer, if it is a success; else let the next one try."""
        if response.status >= 300 or not isinstance(response.body, bytes):
            await self.give_up()
            return
        values = {
            "status": response.status,
            "headers": [list(pair) for pair in response.headers],
            "body": self._sealed(response.body),
        }
        await self._db.write(lambda conn: conn.execute(self._mine(update(_T)).values(**values)))

    async def give_up(self) -> None:
        """Forget the turn."""
        await self._db.write(lambda conn: conn.execute(self._mine(delete(_T))))

    def _claim(self, conn: Connection, mark: str) -> Any:
        now = t.now()
        exclusive(conn, Space.WORK, f"idempotency:{self._who}:{self._row}")
        conn.execute(delete(_T).where(_T.c.created_at < now - KEPT))
        found = conn.execute(self._mine(select(_T))).one_or_none()
        if found is not None and (found.status or found.created_at > now - _WORKING):
            return found
        if found is not None:
            conn.execute(self._mine(delete(_T)))
        row = {"principal": self._who, "key": self._row, "fingerprint": mark, "created_at": now}
        conn.execute(insert(_T).values(**row, status=0, headers=[], body=b""))
        return None

    def _mine(self, statement: Any) -> Any:
        return statement.where(_T.c.principal == self._who, _T.c.key == self._row)

    def _sealed(self, body: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + bytes(self._cipher().encrypt(nonce, body, None))

    def _opened(self, kept: bytes) -> bytes:
        return bytes(self._cipher().decrypt(kept[:_NONCE], kept[_NONCE:], None))

    def _cipher(self) -> Any:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - 30 ms

        derived = hashlib.blake2b(self._key.encode(), digest_size=32, person=b"argosy-answers")
        return AESGCM(derived.digest())


_T: Final = t.idempotency


def key_of(request: Request) -> str | None:
    """The client's key, if it sent one; Refusal 400 if it cannot be one."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not (_SHORTEST <= len(key) <= _LONGEST and key.isascii() and key.isprintable()):
        raise invalid(
            "Idempotency-Key",
            f"it has to have {_SHORTEST} to {_LONGEST} characters of ASCII",
            remedy="send a random UUID",
        )
    return key
