"""What became of a transaction whose connection was lost during COMMIT: read from a mark it left.

The last statement of each writing transaction sets a row, its node's and connection's own,
to a number that no other has. Afterwards the same row is written by somebody who waits for
whoever still writes it: if he finds the number, it was committed; if not, it was not and
never will be. That holds after a crash and on a promoted standby, where PostgreSQL's own
pg_xact_status could take another transaction, which was given the lost number, for ours.
"""

import itertools
import os
from typing import Final

from sqlalchemy import Connection, text

from argosy.catalog.schema import now
from argosy.values import frozen

_LEAVE: Final = text("""
INSERT INTO commit_marks (slot, token, at)
SELECT CAST(:slot AS text), CAST(:token AS bigint), CAST(:at AS bigint)
WHERE pg_current_xact_id_if_assigned() IS NOT NULL
ON CONFLICT (slot) DO UPDATE SET token = excluded.token, at = excluded.at
RETURNING token
""")
_FIND: Final = text("""
INSERT INTO commit_marks (slot, token, at) VALUES (:slot, 0, :at)
ON CONFLICT (slot) DO UPDATE SET at = excluded.at RETURNING token
""")
_FORGET: Final = text("DELETE FROM commit_marks WHERE at < :at")
_INFO: Final = "argosy.slot"
_KEPT: Final = 24 * 3600 * 1_000_000  # microseconds; a lost transaction is looked up within seconds


@frozen
class Mark:
    """The mark of one transaction."""

    slot: str
    token: int


class Marks:
    """The marks of one process.

    A connection has a slot, which ends with it: so who has the connection is the only one to
    write the slot, and a dead one holds up nobody.
    """

    def __init__(self) -> None:
        self._node = os.urandom(8).hex()
        self._slots = itertools.count()
        self._tokens = itertools.count(1)

    def mark(self, conn: Connection) -> Mark:
        """A mark for the transaction on this connection."""
        slot = conn.info.get(_INFO)
        if slot is None:
            slot = conn.info[_INFO] = f"{self._node}:{next(self._slots)}"
        return Mark(slot, next(self._tokens))


def leave(conn: Connection, mark: Mark) -> bool:
    """Leave the mark, last of all; False if the transaction has written nothing.

    Fails if an error of a statement before was swallowed: COMMIT would say nothing of it.
    """
    words = {"slot": mark.slot, "token": mark.token, "at": now()}
    return conn.execute(_LEAVE, words).first() is not None


def was_committed(conn: Connection, mark: Mark) -> bool:
    """Whether the transaction of the mark is there; if not, it will never be."""
    found = conn.execute(_FIND, {"slot": mark.slot, "at": now()}).scalar_one()
    return bool(found == mark.token)


def forget_old(conn: Connection) -> None:
    """Remove what nodes of the past have left."""
    conn.execute(_FORGET, {"at": now() - _KEPT})
