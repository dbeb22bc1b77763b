"""What a write changes, told by the write itself: `changed` on the connection it was handed."""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection

Key = tuple[str, ...]
"""What is kept in memory somewhere, named by its kind and its name: ("manifest", "team/app", "1.0")."""

_INFO: Final = "argosy.changed"


def changed(conn: Connection, *keys: Key) -> None:
    """Whoever keeps one of these must read it again, from when the transaction is committed on."""
    conn.info.setdefault(_INFO, []).extend(keys)


def begin(conn: Connection) -> list[Key]:
    """Begin to listen for `changed` on a connection; the list that will hold what was told."""
    keys: list[Key] = []
    conn.info[_INFO] = keys
    return keys


def unique(keys: Iterable[Key]) -> list[Key]:
    """Each once, in order."""
    return list(dict.fromkeys(keys))
