"""Locks that last until the transaction ends, by name, over every node of a cluster.

SQLite has one writer, which is lock enough. PostgreSQL's advisory locks know numbers:
a name becomes 64 bits of its hash, and two names that share one only wait for each other.
Take locks in the order of `Space`, so that no two transactions wait for each other.
"""

import hashlib
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from sqlalchemy import Connection, TextClause, text


class Space(IntEnum):
    """What is locked, in the order in which one transaction may take several."""

    PROJECT = 1  # shared by who makes a repository in it, exclusive for who removes it
    REPOSITORY = 2  # shared by who puts, exclusive for who deletes
    TAG = 3  # exclusive for who moves it
    WORK = 4  # what one node does for all
    QUOTA = 5  # of a project, the last lock of a push: see quotas.py


_SHARED: Final = text("SELECT pg_advisory_xact_lock_shared(:key)")
_EXCLUSIVE: Final = text("SELECT pg_advisory_xact_lock(:key)")
_ATTEMPT: Final = text("SELECT pg_try_advisory_xact_lock(:key)")


def shared(conn: Connection, space: Space, name: str) -> None:
    """Hold off who wants it exclusively, until the transaction ends."""
    _lock(conn, _SHARED, space, name)


def exclusive(conn: Connection, space: Space, name: str) -> None:
    """Hold off everybody, until the transaction ends."""
    _lock(conn, _EXCLUSIVE, space, name)


def attempt(conn: Connection, space: Space, name: str) -> bool:
    """Hold off everybody, until the transaction ends, if nobody else does now."""
    if conn.dialect.name != "postgresql":
        return True
    return bool(conn.execute(_ATTEMPT, {"key": number(space, name)}).scalar())


def hold_tags(conn: Connection, repository: str, tags: Iterable[str]) -> None:
    """Hold off deletions in the repository, and who else would move these tags."""
    shared(conn, Space.REPOSITORY, repository)
    for tag in sorted(set(tags)):  # in one order, so that no two wait for each other
        exclusive(conn, Space.TAG, f"{repository}:{tag}")


def _lock(conn: Connection, asked: TextClause, space: Space, name: str) -> None:
    if conn.dialect.name == "postgresql":
        conn.execute(asked, {"key": number(space, name)})


def number(space: Space, name: str) -> int:
    """The signed 64 bits PostgreSQL knows a lock by."""
    found = hashlib.blake2b(f"{space.value}:{name}".encode(), digest_size=8).digest()
    return int.from_bytes(found, "big", signed=True)
