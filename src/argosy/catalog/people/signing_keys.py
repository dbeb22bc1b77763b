"""Rows of the keys that access tokens are signed with."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from argosy.catalog import schema as t
from argosy.values import frozen


@frozen(kw_only=True)
class StoredKey:
    """A key pair: the private half sealed, the public half a JWK. Times in microseconds."""

    kid: str
    algorithm: str
    private: bytes = field(repr=False)
    public: Mapping[str, Any]
    created_at: int
    signs_from: int
    accepted_until: int | None


_k = t.signing_keys.c


def keys(conn: Connection, now: int) -> list[StoredKey]:
    """Those that sign, will sign, or whose tokens are still good; the oldest first."""
    good = _k.accepted_until.is_(None) | (_k.accepted_until > now)
    rows = conn.execute(select(t.signing_keys).where(good).order_by(_k.signs_from, _k.kid))
    return [
        StoredKey(
            kid=row.kid,
            algorithm=row.algorithm,
            private=bytes(row.private),
            public=row.public,
            created_at=row.created_at,
            signs_from=row.signs_from,
            accepted_until=row.accepted_until,
        )
        for row in rows
    ]


def add_key(conn: Connection, new: StoredKey) -> None:
    """One more."""
    row = {name: getattr(new, name) for name in ("kid", "algorithm", "private", "public")}
    row |= {name: getattr(new, name) for name in ("created_at", "signs_from", "accepted_until")}
    conn.execute(insert(t.signing_keys).values(row))


def retire_keys(conn: Connection, but: str, until: int) -> None:
    """Every other key: accepted until then, unless it ends before."""
    conn.execute(
        update(t.signing_keys)
        .where(_k.kid != but, _k.accepted_until.is_(None))
        .values(accepted_until=until)
    )


def sweep_keys(conn: Connection, now: int) -> int:
    """Forget those whose time is over."""
    return conn.execute(delete(t.signing_keys).where(_k.accepted_until < now)).rowcount
