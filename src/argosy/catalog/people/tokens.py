"""Rows of personal access tokens and of refresh tokens: hashes, never the tokens themselves."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, delete, insert, select, update

from argosy.catalog import schema as t
from argosy.catalog.databases.announcing import changed
from argosy.catalog.people.users import STANDINGS
from argosy.values import frozen


@frozen(kw_only=True)
class PersonalToken:
    """A personal access token of a user; no scopes: it may do what its owner may."""

    id: int
    user: int
    name: str
    scopes: Sequence[str]
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    revoked_at: int | None

    def good(self, now: int) -> bool:
        """Whether it opens anything."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@frozen(kw_only=True)
class RefreshToken:
    """What may be turned into access tokens of a principal, again and again."""

    kind: str
    principal: int
    data: Mapping[str, Any]
    expires_at: int
    revoked_at: int | None


_p = t.tokens.c
_f = t.refresh_tokens.c
_PERSONAL: Final[Select[Any]] = select(
    _p.id,
    _p.user_id,
    _p.name,
    _p.scopes,
    _p.created_at,
    _p.expires_at,
    _p.last_used_at,
    _p.revoked_at,
)


def token(conn: Connection, hashed: str) -> PersonalToken | None:
    """The token with that hash."""
    return _token(conn.execute(_PERSONAL.where(_p.hash == hashed)).one_or_none())


def token_by_id(conn: Connection, key: int) -> PersonalToken | None:
    """The token with that key."""
    return _token(conn.execute(_PERSONAL.where(_p.id == key)).one_or_none())


def tokens_page(conn: Connection, user: int, after: int, count: int) -> list[PersonalToken]:
    """At most `count` tokens of a user with keys above `after`, revoked ones too."""
    found = _PERSONAL.where(_p.user_id == user, _p.id > after).order_by(_p.id).limit(count)
    return [made for row in conn.execute(found) if (made := _token(row)) is not None]


def good_names(conn: Connection, user: int) -> list[str]:
    """What those of a user's tokens are called that open something."""
    good = _p.revoked_at.is_(None) & (_p.expires_at.is_(None) | (_p.expires_at > t.now()))
    return list(conn.execute(select(_p.name).where(_p.user_id == user, good)).scalars())


def add_token(conn: Connection, values: Mapping[str, Any]) -> int:
    """A new row; its key."""
    made = conn.execute(insert(t.tokens).values(created_at=t.now(), **values))
    return int(made.inserted_primary_key[0])  # type: ignore[index]  # None only for bulk inserts


def revoke_token(conn: Connection, key: int) -> None:
    """It opens nothing from now on, nor does what was made from it."""
    conn.execute(
        update(t.tokens).where(_p.id == key, _p.revoked_at.is_(None)).values(revoked_at=t.now())
    )
    conn.execute(delete(t.refresh_tokens).where(_f.kind == "token", _f.principal_id == key))
    changed(conn, STANDINGS)


def forget_old_tokens(conn: Connection, user: int, before: int) -> None:
    """Those of a user that have opened nothing since then; the audit log still tells of them."""
    old = (_p.revoked_at < before) | (_p.expires_at < before)
    conn.execute(delete(t.tokens).where(_p.user_id == user, old))


def touch_tokens(conn: Connection, used: Mapping[int, int]) -> None:
    """When tokens were used last, by key."""
    for key, at in sorted(used.items()):
        conn.execute(update(t.tokens).where(_p.id == key).values(last_used_at=at))


def refresh_token(conn: Connection, hashed: str) -> RefreshToken | None:
    """The refresh token with that hash."""
    row = conn.execute(select(t.refresh_tokens).where(_f.hash == hashed)).one_or_none()
    if row is None:
        return None
    return RefreshToken(
        kind=row.kind,
        principal=row.principal_id,
        data=row.data,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )


def add_refresh_token(conn: Connection, values: Mapping[str, Any]) -> None:
    """A new row."""
    conn.execute(insert(t.refresh_tokens).values(created_at=t.now(), **values))


def extend_refresh_token(conn: Connection, hashed: str, until: int) -> None:
    """It is in use: keep it longer."""
    conn.execute(update(t.refresh_tokens).where(_f.hash == hashed).values(expires_at=until))


def drop_refresh_tokens(conn: Connection, kind: str, principal: int) -> None:
    """No refresh token of a principal is good any more."""
    conn.execute(delete(t.refresh_tokens).where(_f.kind == kind, _f.principal_id == principal))


def sweep_refresh_tokens(conn: Connection, now: int) -> int:
    """Forget those whose time is over."""
    return conn.execute(delete(t.refresh_tokens).where(_f.expires_at < now)).rowcount


def _token(row: Row[Any] | None) -> PersonalToken | None:
    if row is None:
        return None
    return PersonalToken(
        id=row.id,
        user=row.user_id,
        name=row.name,
        scopes=tuple(row.scopes),
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )
