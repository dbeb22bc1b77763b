"""Personal access tokens: made by their owners, shown once, revoked; of whatever back end the owner is."""

import time
from collections.abc import Sequence

from sqlalchemy import Connection

from argosy.access.accounts.conflicts import Conflict, beyond
from argosy.access.permissions.grants import parse_grants, texts
from argosy.access.permissions.principal import Principal
from argosy.access.secrets import Secret, hashed, new_secret
from argosy.catalog import schema as t
from argosy.catalog.actor import Actor
from argosy.catalog.audit import Entry, record
from argosy.catalog.database import Database
from argosy.catalog.people import tokens, users
from argosy.catalog.people.tokens import PersonalToken
from argosy.errors import NotFound, UsageError
from argosy.values import frozen

_LONGEST = 100
_MOST = 200
_SHOWN = 90 * 86_400_000_000  # microseconds that one is listed after it was revoked or expired


@frozen(kw_only=True)
class NewToken:
    """A token to make. No scopes: all that its owner may. `expires_at` in microseconds; None: never."""

    name: str
    scopes: Sequence[str] = ()
    expires_at: int | None = None


class PersonalTokens:
    """The personal access tokens of a registry."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def page(self, owner: str, after: int, count: int) -> list[PersonalToken]:
        """At most `count` tokens of a user with keys above `after`; NotFound."""
        return await self._db.read(
            lambda conn: tokens.tokens_page(conn, _user(conn, owner), after, count)
        )

    async def get(self, owner: str, key: int) -> PersonalToken:
        """One token of a user; NotFound."""
        return await self._db.read(lambda conn: _known(conn, owner, key))

    async def create(self, by: Actor, owner: Principal, new: NewToken) -> tuple[PersonalToken, str]:
        """A token and its secret, which nobody can show again; Denied but for people themselves."""
        if owner.kind != "user":
            raise beyond(
                f"a {owner.kind} cannot make personal access tokens",
                why="they would outlive it",
                remedy="log in as a user, with a password",
            )
        if not 0 < len(new.name) <= _LONGEST or not new.name.isprintable():
            raise UsageError(f"a token's name has 1 to {_LONGEST} visible characters")
        if new.expires_at is not None and new.expires_at <= time.time() * 1e6:
            raise UsageError("it would have expired already", remedy="give a time to come")
        scopes, secret = texts(parse_grants(new.scopes)), new_secret(Secret.PERSONAL)

        def write(conn: Connection) -> PersonalToken:
            users.hold_user(conn, owner.name)  # so that _MOST is the most, and a name is one's
            tokens.forget_old_tokens(conn, owner.id, t.now() - _SHOWN)
            good = tokens.good_names(conn, owner.id)
            if len(good) >= _MOST:
                raise Conflict(
                    f"{owner.name} has {_MOST} tokens", remedy="revoke some that are not in use"
                )
            if new.name in good:
                raise Conflict(f"there is a token {new.name!r}", remedy="choose another name")
            values = {"user_id": owner.id, "name": new.name, "hash": hashed(secret)}
            values |= {"scopes": scopes, "expires_at": new.expires_at}
            key = tokens.add_token(conn, values)
            details = {"name": new.name, "scopes": scopes, "expires_at": new.expires_at}
            record(
                conn,
                by,
                Entry(action="token.create", resource=f"{owner.name}/{key}", details=details),
            )
            return _known(conn, owner.name, key)

        return await self._db.write(write), secret

    async def revoke(self, by: Actor, owner: str, key: int) -> None:
        """It opens nothing from now on; NotFound."""

        def write(conn: Connection) -> None:
            found = _known(conn, owner, key)
            if found.revoked_at is None:
                tokens.revoke_token(conn, key)
                details = {"name": found.name}
                record(
                    conn,
                    by,
                    Entry(action="token.revoke", resource=f"{owner}/{key}", details=details),
                )

        await self._db.write(write)


def _user(conn: Connection, name: str) -> int:
    if (found := users.user(conn, name)) is None:
        raise NotFound(f"no user {name}")
    return found.id


def _known(conn: Connection, owner: str, key: int) -> PersonalToken:
    found = tokens.token_by_id(conn, key)
    if found is None or found.user != _user(conn, owner):
        raise NotFound(f"{owner} has no token {key}")
    return found
