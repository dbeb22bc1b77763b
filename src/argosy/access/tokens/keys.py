"""The keys that sign access tokens: ES256, in the database, sealed; the same on every node.

A new key is published a while before it signs, so that every node knows it by then; the
old one is accepted until the last token that it signed has expired. Nothing stops for it.
"""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from argosy.access.tokens.sealing import Sealer
from argosy.catalog.actor import SYSTEM, Actor
from argosy.catalog.audit import Entry, record
from argosy.catalog.database import Database
from argosy.catalog.databases.locks import Space, exclusive
from argosy.catalog.people import signing_keys
from argosy.catalog.people.signing_keys import StoredKey
from argosy.concurrency import in_thread
from argosy.values import frozen

if TYPE_CHECKING:
    from joserfc.jwk import ECKey

log = logging.getLogger("argosy.access")

ALGORITHM: Final = "ES256"
_PURPOSE: Final = "signing-key"


@frozen(kw_only=True)
class KeyOptions:
    """How long keys sign, and how things overlap; in seconds."""

    life: float = 90 * 86400.0  # of a key
    ahead: float = 120.0  # between its publication and its first signature
    after: float = 900.0  # how long its tokens may live, and clocks be off, once it signs no more
    reload: float = 30.0  # how often a node looks for keys of others


@frozen(kw_only=True)
class SigningKey:
    """A key pair in memory."""

    kid: str
    key: "ECKey" = field(repr=False)
    signs_from: float
    accepted_until: float
    public: dict[str, Any] = field(repr=False)


class KeyRing:
    """The keys as this node knows them. `load` comes first."""

    def __init__(
        self, database: Database, sealer: Sealer, options: KeyOptions | None = None
    ) -> None:
        self._db = database
        self._sealer = sealer
        self._options: Final = options or KeyOptions()
        self._keys: list[SigningKey] = []
        self._loaded = 0.0
        self._tried = 0.0

    async def load(self) -> None:
        """Read the keys, make the first one, and the next one when its time has come."""
        stored = await self._db.read(lambda conn: signing_keys.keys(conn, _micro(time.time())))
        if not stored or self._is_late(stored):
            await self._rotate(SYSTEM, at_once=not stored, only_if_late=True)
            stored = await self._db.read(lambda conn: signing_keys.keys(conn, _micro(time.time())))
        # All of it now, off the loop, and not with the first token on it.
        await in_thread(import_module, "joserfc.jwt")
        known = {key.kid: key for key in self._keys}
        self._keys = [await in_thread(self._opened, one, known.get(one.kid)) for one in stored]
        self._loaded = time.time()

    async def refresh(self) -> None:
        """Load them again if that is some time ago."""
        if time.time() - self._loaded > self._options.reload:
            await self.load()

    async def rotate(self, by: Actor = SYSTEM, *, at_once: bool = False) -> str:
        """A new key, published now and signing soon; its id. `at_once`: signing now."""
        kid = await self._rotate(by, at_once=at_once, only_if_late=False)
        await self.load()
        return kid

    async def _rotate(self, by: Actor, *, at_once: bool, only_if_late: bool) -> str:
        # Only if late: not if another node has just done it.
        new = await in_thread(self._made, at_once)

        def write(conn: Connection) -> str:
            exclusive(conn, Space.WORK, "signing-keys")
            now = _micro(time.time())
            signing_keys.sweep_keys(conn, now)
            stored = signing_keys.keys(conn, now)
            if only_if_late and stored and not self._is_late(stored):
                return stored[-1].kid
            signing_keys.add_key(conn, new)
            until = new.signs_from + _micro(self._options.after)
            signing_keys.retire_keys(conn, new.kid, until)
            record(conn, by, Entry(action="signing-key.create", resource=new.kid))
            return new.kid

        kid = await self._db.write(write)
        log.info("signing key %s is published", kid)
        return kid

    def signing(self) -> SigningKey:
        """The key that signs now: the last one whose time has come."""
        now = time.time()
        ready = [key for key in self._keys if key.signs_from <= now]
        # Before the first one's time (a clock that is behind): the first one all the same.
        return ready[-1] if ready else self._keys[0]

    def find(self, kid: str) -> SigningKey | None:
        """The key of that id, if its tokens are accepted."""
        now = time.time()
        found = (key for key in self._keys if key.kid == kid and key.accepted_until > now)
        return next(found, None)

    async def look_for(self, kid: str) -> SigningKey | None:
        """As `find`, asking the database too; not more than once a second, whoever makes ids up."""
        if (found := self.find(kid)) is not None or time.time() - self._tried < 1.0:
            return found
        self._tried = time.time()
        await self.load()
        return self.find(kid)

    def jwks(self) -> dict[str, Any]:
        """What others verify our tokens with (RFC 7517)."""
        now = time.time()
        return {"keys": [key.public for key in self._keys if key.accepted_until > now]}

    def _is_late(self, stored: Sequence[StoredKey]) -> bool:
        return time.time() > stored[-1].signs_from / 1e6 + self._options.life

    def _made(self, at_once: bool) -> StoredKey:
        from joserfc.jwk import ECKey  # noqa: PLC0415 - 40 ms

        made = ECKey.generate_key("P-256")
        public = made.as_dict(private=False)
        kid = _thumbprint(public)
        now = time.time()
        return StoredKey(
            kid=kid,
            algorithm=ALGORITHM,
            private=self._sealer.seal(_PURPOSE, kid, made.as_pem(private=True)),
            public={**public, "kid": kid, "alg": ALGORITHM, "use": "sig"},
            created_at=_micro(now),
            signs_from=_micro(now if at_once else now + self._options.ahead),
            accepted_until=None,
        )

    def _opened(self, stored: StoredKey, known: SigningKey | None) -> SigningKey:
        from joserfc.jwk import ECKey  # noqa: PLC0415 - 40 ms

        pem = self._sealer.open(_PURPOSE, stored.kid, stored.private) if known is None else b""
        until = stored.accepted_until
        return SigningKey(
            kid=stored.kid,
            key=known.key if known is not None else ECKey.import_key(pem),
            signs_from=stored.signs_from / 1e6,
            accepted_until=float("inf") if until is None else until / 1e6,
            public=dict(stored.public),
        )


def _thumbprint(public: dict[str, Any]) -> str:
    """The key's name: what follows from it (RFC 7638)."""
    canonical = json.dumps(
        {name: public[name] for name in ("crv", "kty", "x", "y")},
        separators=(",", ":"),
        sort_keys=True,
    )
    return hashlib.sha256(canonical.encode()).hexdigest()[:43]


def _micro(seconds: float) -> int:
    return int(seconds * 1e6)
