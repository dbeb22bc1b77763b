"""Refresh tokens: what `docker login` keeps instead of a password.

One is its principal's for a while (30 days) since it was last used, and no longer than what it was
made from: another password or secret, a revoked token, a disabled account end it. What was made
from a CI job's token lasts an hour, used or not.
"""

import time
from typing import Final

from argosy.access.permissions.authority import Authority
from argosy.access.permissions.principal import Kind, Principal
from argosy.access.permissions.standing import Standing
from argosy.access.secrets import Secret, hashed, is_secret, new_secret
from argosy.access.signing_in.logins import WRONG
from argosy.access.signing_in.refused import Refused
from argosy.access.signing_in.uses import Uses
from argosy.catalog.database import Database
from argosy.catalog.people import tokens
from argosy.catalog.people.tokens import RefreshToken

_EXTENDED_AFTER: Final = 86400.0  # not with each use: that would be a write for each
_FOR_JOBS: Final = 3600.0  # a build may take longer than its job's own token is good
_KINDS: Final[dict[str, Kind]] = {"user": "user", "robot": "robot", "token": "token"}


class RefreshTokens:
    """Gives refresh tokens, and takes them."""

    def __init__(
        self, database: Database, authority: Authority, uses: Uses, *, life: float
    ) -> None:
        self._db = database
        self._life: Final = life
        self._authority = authority
        self._uses = uses

    async def give(self, principal: Principal, client: str) -> str:
        """A refresh token for who has just shown who they are."""
        text = new_secret(Secret.REFRESH)
        standing = await self._authority.standing(principal)
        life = min(self._life, _FOR_JOBS) if principal.until else self._life
        data = {"name": principal.name, "id": principal.id, "proofs": sorted(standing.proofs)}
        data |= {"fixed": True} if principal.until else {}
        values = {
            "hash": hashed(text),
            "kind": principal.kind,
            "principal_id": principal.credential or principal.id,
            "client": client[:255],
            "data": data,
            "expires_at": int((time.time() + life) * 1e6),
        }
        await self._db.write(lambda conn: tokens.add_refresh_token(conn, values))
        return text

    async def redeem(self, text: str) -> Principal | Refused:
        """Whose it is, if it is still good."""
        if not is_secret(text, Secret.REFRESH):
            return WRONG
        wanted = hashed(text)
        found = await self._db.glance(lambda conn: tokens.refresh_token(conn, wanted))
        now = time.time()
        if found is None or found.revoked_at is not None or found.expires_at <= now * 1e6:
            return WRONG
        principal = _principal(found)
        standing = await self._authority.standing(principal)
        if not _holds(found, standing):
            return WRONG
        late = found.expires_at < (now + self._life - _EXTENDED_AFTER) * 1e6
        if late and not found.data.get("fixed"):
            until = int((now + self._life) * 1e6)
            await self._db.write(lambda conn: tokens.extend_refresh_token(conn, wanted, until))
        self._uses.note(standing.principal)
        return standing.principal

    async def sweep(self) -> int:
        """Forget those whose time is over; how many."""
        now = int(time.time() * 1e6)
        return await self._db.write(lambda conn: tokens.sweep_refresh_tokens(conn, now))


def _principal(found: RefreshToken) -> Principal:
    kind, name = _KINDS[found.kind], str(found.data.get("name", ""))
    if kind == "token":
        return Principal(name=name, kind=kind, id=int(found.data["id"]), credential=found.principal)
    return Principal(name=name, kind=kind, id=found.principal)


def _holds(found: RefreshToken, standing: Standing) -> bool:
    """Whether what it was made from still proves who it is."""
    return any(standing.proven(str(proof)) for proof in found.data.get("proofs", ()))
