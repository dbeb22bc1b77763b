"""A name with a password, a personal access token or a robot's secret becomes a principal.

Every refusal of a login says the same, and takes as long, whether the name exists or not.
What was right is remembered for a few minutes under a keyed hash, so that a client that
sends it with each request costs one; what it stands on is looked at each time.
"""

import hashlib
import hmac
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

from sqlalchemy import Connection

from argosy.access.identity.jobs import Job, looks_like_one
from argosy.access.identity.onboarding import onboard
from argosy.access.permissions import standing as standings
from argosy.access.permissions.authority import Authority
from argosy.access.permissions.principal import Principal
from argosy.access.secrets import Secret, hashed, is_secret, same
from argosy.access.signing_in.backends import Backend, Identity
from argosy.access.signing_in.passwords import Passwords
from argosy.access.signing_in.refused import Refused, Slowed
from argosy.access.signing_in.throttle import Throttle
from argosy.access.signing_in.uses import Uses
from argosy.catalog import schema as t
from argosy.catalog.actor import Actor
from argosy.catalog.caching.cache import Cache
from argosy.catalog.database import Database
from argosy.catalog.people import robots, tokens, users
from argosy.catalog.people.users import LOCAL, User
from argosy.meters import declared as meters
from argosy.tracing import span
from argosy.values import frozen

log = logging.getLogger("argosy.access")

_REMEMBERED: Final = 300.0
_REMEMBERED_ELSEWHERE: Final = 60.0  # what another back end said: nobody tells us when it changes
_MOST: Final = 20_000
ROBOT: Final = "robot$"

WRONG: Final = Refused(
    "wrong name, password or token",
    "log in again; if the account has a second factor or the token has expired, make a new"
    " personal access token",
)


@frozen(kw_only=True)
class SecondFactorNeeded(Refused):
    """The password is right, and not enough; `user` is the row of who it is."""

    user: int


class Jobs(Protocol):
    """What knows the tokens of CI jobs."""

    async def job(self, token: str, robot: str) -> Job | Refused:
        """The robot that a job may be; BackendUnavailable."""
        ...


@frozen
class Proven:
    """Who it is, what proves it, and until when (seconds since 1970) that is remembered."""

    principal: Principal
    proof: str
    until: float


class Logins:
    """Checks what clients show."""

    def __init__(
        self, database: Database, authority: Authority, uses: Uses, backends: Sequence[Backend] = ()
    ) -> None:
        self._db = database
        self._authority = authority
        self._uses = uses
        self._backends: Final = {backend.name: backend for backend in backends}
        self.jobs: Jobs | None = None  # whether CI jobs may be robots, and who judges them
        self.passwords: Final = Passwords()
        self.throttle: Final = Throttle(database)
        self._key: Final = os.urandom(32)
        self._proven: Cache[bytes, Proven] = Cache(_MOST)

    def remembered(self, name: str, password: str) -> Principal | None:
        """Who that is if memory knows, and it still holds."""
        found = self._proven.get(self._hash(name, password))
        if found is None or found.until < time.time():
            return None
        standing = self._authority.known(found.principal)
        if standing is None or not standing.proven(found.proof):
            return None
        self._uses.note(standing.principal)
        return _as_shown(standing.principal, found)

    async def basic(self, name: str, password: str, address: str) -> Principal | Refused:
        """Who that is: a user with a password or a personal access token, or a robot."""
        if (known := await self._still(name, password)) is not None:
            return known
        key = self._hash(name, password)
        if self._proven.get(key) is not None:  # only then: others may be waiting for a first look
            self._proven.drop(key)
        found = await self._prove(key, name, password, address)
        if isinstance(found, Refused):
            return found
        standing = await self._authority.standing(found.principal)
        if not standing.proven(found.proof):
            self._proven.drop(key)
            return CHANGE_FIRST if standing.gone == standings.MUST_CHANGE else WRONG
        self._uses.note(standing.principal)
        return _as_shown(standing.principal, found)

    async def _still(self, name: str, password: str) -> Principal | None:
        """Who that is, if it was right a moment ago and what it stands on has not changed."""
        found = self._proven.get(self._hash(name, password))
        if found is None or found.until < time.time():
            return None
        standing = await self._authority.standing(found.principal)
        if not standing.proven(found.proof):
            return None
        self._uses.note(standing.principal)
        return _as_shown(standing.principal, found)

    async def _prove(self, key: bytes, name: str, password: str, address: str) -> Proven | Refused:
        refused: list[Refused] = []

        async def look() -> Proven | None:
            found = await self._looked_at(name, password, address)
            _count(name, password, found)
            if isinstance(found, Proven):
                return found
            refused.append(found)
            return None

        # One check for all who send the same at the same time: a fleet that starts at once.
        found = await self._proven.load(key, look)
        if found is not None:
            return found
        return refused[0] if refused else WRONG

    async def _looked_at(self, name: str, password: str, address: str) -> Proven | Refused:
        if not name or not password or "\0" in name:
            return WRONG
        if is_secret(password, Secret.PERSONAL):
            return await self._by_token(name, password)
        if name.startswith(ROBOT):
            return await self._by_robot(name, password)
        async with self.throttle.turn(name, address) as seconds:
            if seconds > 0:
                return Slowed(
                    "too many wrong passwords",
                    f"wait {seconds:.0f} s; personal access tokens go on working",
                    seconds=seconds,
                )
            found = await self._by_password(name, password, address)
            if found is WRONG:
                await self.throttle.failed(name, address)
            elif isinstance(found, Proven):
                await self.throttle.succeeded(name, address)
            return found

    async def by_secret(self, secret: str) -> Principal | Refused:
        """Whose personal access token that is, without a name: as APIs take it (Bearer)."""
        if not is_secret(secret, Secret.PERSONAL):
            return WRONG
        owner = await self._db.read(lambda conn: _owner(conn, hashed(secret)))
        return WRONG if owner is None else await self.basic(owner.name, secret, "")

    async def exchange(self, token: str, robot: str) -> Principal | Refused:
        """The robot that a CI job may be by its token; `robot` chooses where several fit."""
        if self.jobs is None or not looks_like_one(token):
            return Refused("that is no token of a CI job")
        found = await self.jobs.job(token, robot)
        if isinstance(found, Refused):
            return found
        return await self.basic(found.principal.name, token, "")

    async def _by_token(self, name: str, secret: str) -> Proven | Refused:
        owner = await self._db.read(lambda conn: _owner(conn, hashed(secret)))
        if owner is None or owner.name != name:
            return WRONG
        return _proven(owner, standings.token_proof(owner.credential))

    async def _by_robot(self, name: str, secret: str) -> Proven | Refused:
        if self.jobs is not None and looks_like_one(secret):
            found = await self.jobs.job(secret, name)
            if isinstance(found, Refused):
                return found
            return Proven(found.principal, found.proof, min(found.expires, _until()))
        return await self._by_robots_secret(name, secret)

    async def _by_robots_secret(self, name: str, secret: str) -> Proven | Refused:
        shown = hashed(secret)
        found = await self._db.glance(lambda conn: robots.robot(conn, name))
        if found is None:
            return WRONG
        current = same(shown, found.secret)
        if not current and not same(shown, found.previous_secret):
            return WRONG
        # Whether it has expired, or the old secret has, is the standing's to say.
        return _proven(Principal(name=name, kind="robot", id=found.id), shown)

    async def _by_password(self, name: str, password: str, address: str) -> Proven | Refused:
        user, stored = await self._db.read(lambda conn: users.with_password(conn, name))
        if user is not None and user.backend == LOCAL:
            return await self._local(user, stored, password)
        # Nobody's name here takes as long as somebody's with a wrong password.
        if not self._backends:
            await self.passwords.verify(None, password)
            return WRONG
        return await self._elsewhere(user, name, password, address)

    async def _local(self, user: User, stored: str | None, password: str) -> Proven | Refused:
        if not await self.passwords.verify(stored, password) or stored is None:
            return WRONG
        if user.disabled:
            return WRONG
        if user.second_factor:
            return _needs_token(user)
        if user.must_change:
            return CHANGE_FIRST
        stored = await self._settled(user, stored, password)
        return _proven(
            Principal(name=user.name, kind="user", id=user.id), standings.password_proof(stored)
        )

    async def _settled(self, user: User, stored: str, password: str) -> str:
        """Note the login; the hash as it is then, made anew if its parameters are of the past."""
        values: dict[str, object] = {"last_login_at": t.now()}
        if self.passwords.outdated(stored):
            values["password"] = await self.passwords.hash(password)

        def settle(conn: Connection) -> str:
            users.hold_user(conn, user.name)  # or the old one, hashed anew, would replace a new one
            if users.password_of(conn, user.id) != stored:
                return stored  # changed meanwhile: what was proven proves nothing any more
            users.touch_user(conn, user.id, values)
            return str(values.get("password", stored))

        return await self._db.write(settle)

    async def _elsewhere(
        self, user: User | None, name: str, password: str, address: str
    ) -> Proven | Refused:
        for backend in self._backends.values():
            if user is not None and backend.name != user.backend:
                continue
            with span(f"login.{backend.name}"):
                identity = await backend.verify(name, password)
            if identity is not None:
                return await self._onboarded(identity, address)
        return WRONG

    async def _onboarded(self, identity: Identity, address: str) -> Proven | Refused:
        by = Actor(name=identity.name, kind="user", address=address)
        found = await self._db.write(lambda conn: onboard(conn, identity, by))
        if isinstance(found, Refused):
            return found
        if found.second_factor:
            return _needs_token(found)
        principal = Principal(name=found.name, kind="user", id=found.id)
        proof = standings.backend_proof(identity.backend)
        return Proven(principal, proof, time.time() + _REMEMBERED_ELSEWHERE)

    def forget(self) -> None:
        """Remember nobody."""
        self._proven.clear()

    def _hash(self, name: str, password: str) -> bytes:
        text = f"{name}\0{password}".encode(errors="surrogateescape")
        return hmac.digest(self._key, text, hashlib.sha256)


CHANGE_FIRST: Final = Refused(
    "the one-time password has to be changed first",
    "change it with `argosy user password`",
)


def _needs_token(user: User) -> SecondFactorNeeded:
    return SecondFactorNeeded(
        reason="this account has a second factor, which this way of logging in cannot ask for",
        remedy="make a personal access token and use it as the password",
        user=user.id,
    )


def _proven(principal: Principal, proof: str) -> Proven:
    return Proven(principal, proof, _until())


def _as_shown(principal: Principal, proven: Proven) -> Principal:
    """Who it is now, as far as what they showed goes."""
    until = proven.principal.until
    return replace(principal, until=until) if until else principal


def _until() -> float:
    return time.time() + _REMEMBERED


def _owner(conn: Connection, wanted: str) -> Principal | None:
    """Whose personal access token has that hash, if it is still good."""
    found = tokens.token(conn, wanted)
    if found is None or not found.good(t.now()):
        return None
    owner = users.user_by_id(conn, found.user)
    if owner is None:
        return None
    return Principal(name=owner.name, kind="token", id=owner.id, credential=found.id)


def _count(name: str, password: str, found: Proven | Refused) -> None:
    if is_secret(password, Secret.PERSONAL):
        how = "token"
    else:
        how = "robot" if name.startswith(ROBOT) else "password"
    if isinstance(found, Slowed):
        meters.THROTTLED.add("login")
        meters.LOGINS.add(how, "throttled")
    elif isinstance(found, Refused):
        meters.LOGINS.add(how, "wrong" if found is WRONG else "refused")
    else:
        meters.LOGINS.add(how, "ok")
