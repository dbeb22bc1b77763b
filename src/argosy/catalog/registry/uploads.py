"""Uploads that any node may go on with: a row each, held by one request at a time.

Who holds an upload has written his token into its row, and renews the time until which
that counts; what he writes later counts only while his token stands there. So a node that
dies, or sleeps too long, loses the upload to another one and can do nothing to it any more.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, select, update

from argosy.catalog import schema as t
from argosy.catalog.database import Database
from argosy.catalog.databases.announcing import EVERYTHING, changed
from argosy.catalog.databases.dialects import clock
from argosy.content.blob_storage import Claim, Stored, UploadLost
from argosy.content.upload_ledger import Held, Part, State
from argosy.model.digest import Digest

_MICRO: Final = 1_000_000


class UploadRows:
    """The ledger of uploads in the catalog's database."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def begin(self, owner: str, id: str, algorithm: str) -> None:  # noqa: A002
        """Note a new upload; nobody holds it."""
        row: dict[str, Any] = {"id": id, "repository": owner, "algorithm": algorithm, "key": ""}

        def begin(conn: Connection) -> None:
            times = {"started_at": clock(conn), "touched_at": clock(conn)}
            conn.execute(insert(t.uploads).values(row | times))

        await self._db.write(begin)

    async def find(self, owner: str, id: str) -> State | None:  # noqa: A002
        """What it was when it was last given back; None if there is none of that name and owner."""
        found = select(t.uploads).where(t.uploads.c.id == id, t.uploads.c.repository == owner)
        row = await self._db.glance(lambda conn: conn.execute(found).one_or_none())
        return None if row is None else _state(row)

    async def take(self, claim: Claim, seconds: float, *, idle: float | None = None) -> Held | None:
        """Hold it; None while somebody else does. UploadLost if it has ended.

        With `idle`, None also if somebody has touched it within so many seconds.
        """
        longest = None if idle is None else round(idle * _MICRO)
        length = round(seconds * _MICRO)
        return await self._db.write(lambda conn: _take(conn, claim, length, longest))

    async def keep(self, claim: Claim, seconds: float) -> None:
        """Hold what is ours for so much longer. UploadLost if it was taken over, even if given back."""
        length = round(seconds * _MICRO)

        def keep(conn: Connection) -> None:
            values = {"held_until": clock(conn) + length, "touched_at": clock(conn)}
            if not conn.execute(update(t.uploads).where(_ours(claim)).values(values)).rowcount:
                raise _lost(claim)

        await self._db.write(keep)

    async def give(self, claim: Claim, state: State) -> None:
        """Write down what it is now, and let others have it. UploadLost if it was taken over."""
        values = _values(state) | {"holder": "", "held_until": 0}

        def give(conn: Connection) -> None:
            given = update(t.uploads).where(_ours(claim)).values(**values, touched_at=clock(conn))
            if not conn.execute(given).rowcount:
                raise _lost(claim)

        await self._db.write(give)

    async def drop(self, claim: Claim, before: str) -> bool:
        """Let others have it as it was; they find `before` never gave it back. Whether it was ours."""
        values = {"holder": before, "held_until": 0}
        dropped = update(t.uploads).where(_ours(claim)).values(values)
        return await self._db.write(lambda conn: conn.execute(dropped).rowcount > 0)

    async def end(self, claim: Claim) -> None:
        """Forget it, if it is still ours."""
        await self._db.write(
            lambda conn: conn.execute(delete(t.uploads).where(_ours(claim))) and None
        )

    async def mend(self, digest: Digest, lost: Stored, stored: Stored) -> None:
        """Put what is stored now in the place of a blob whose bytes are gone."""
        b, claim = t.blobs, stored.claim
        same = and_(b.c.digest == digest, b.c.key == lost.key)

        def mend(conn: Connection) -> None:
            found = conn.execute(update(b).where(same).values(key=stored.key, size=stored.size))
            if claim is None or not found.rowcount:
                return
            if not conn.execute(delete(t.uploads).where(_ours(claim))).rowcount:
                raise _lost(claim)
            changed(conn, EVERYTHING)  # whichever repositories have it

        await self._db.write(mend)

    async def untouched(self, seconds: float, most: int) -> Sequence[str]:
        """Uploads that nobody holds or has given back for so long, the oldest first."""
        u = t.uploads.c

        def find(conn: Connection) -> Sequence[str]:
            now = clock(conn)
            old = u.touched_at <= now - round(seconds * _MICRO)
            found = select(u.id).where(old, u.held_until < now).order_by(u.touched_at)
            return conn.execute(found.limit(most)).scalars().all()

        return await self._db.read(find)

    async def known(self, names: Iterable[str]) -> frozenset[str]:
        """Which of these multipart uploads and tokens belong to an upload that is under way."""
        u, asked = t.uploads.c, list(names)
        found = select(u.multipart, u.holder).where(u.multipart.in_(asked) | u.holder.in_(asked))
        rows = await self._db.read(lambda conn: conn.execute(found).all())
        return frozenset(name for row in rows for name in row if name in asked)


def publish(conn: Connection, digest: Digest, stored: Stored, claim: Claim) -> Stored:
    """What is in force of a blob whose row is there: the upload's, if that was the first.

    Then the row of the upload goes. UploadLost if it was taken over: whoever did may
    already be removing the bytes.
    """
    b = t.blobs
    row = conn.execute(select(b.c.size, b.c.key).where(b.c.digest == digest)).one()
    if row.key == "":  # files of a time when this registry kept its blobs in files
        first = update(b).where(b.c.digest == digest, b.c.key == "").values(key=stored.key)
        if not conn.execute(first).rowcount:
            return publish(conn, digest, stored, claim)  # somebody else was
        changed(conn, EVERYTHING)  # whichever repositories have it
    elif row.key != stored.key:
        return Stored(row.size, row.key)
    if not conn.execute(delete(t.uploads).where(_ours(claim))).rowcount:
        raise _lost(claim)
    return Stored(row.size, stored.key)


def _take(conn: Connection, claim: Claim, length: int, idle: int | None) -> Held | None:
    u = t.uploads.c
    found = select(t.uploads, clock(conn).label("now")).where(u.id == claim.upload)
    row = conn.execute(found.with_for_update()).one_or_none()
    if row is None:
        raise _lost(claim)
    if row.holder and row.held_until > row.now:
        return None
    if idle is not None and row.touched_at > row.now - idle:
        return None
    # That is no sign of life yet: it may be the sweeper.
    mine = {"holder": claim.holder, "held_until": row.now + length}
    conn.execute(update(t.uploads).where(u.id == claim.upload).values(mine))
    return Held(_state(row), row.holder)


def _ours(claim: Claim) -> ColumnElement[bool]:
    return and_(t.uploads.c.id == claim.upload, t.uploads.c.holder == claim.holder)


def _lost(claim: Claim) -> UploadLost:
    return UploadLost(
        f"no upload {claim.upload!r}",
        why="it has ended, or another request has taken it over",
        remedy="begin a new upload",
    )


def _state(row: Row[Any]) -> State:
    stored = row.parts or {}  # a new upload has an empty list
    return State(
        algorithm=row.algorithm,
        offset=row.offset,
        key=row.key,
        multipart=row.multipart,
        parts=tuple(Part(*part) for part in stored.get("parts", ())),
        drop=tuple(stored.get("drop", ())),
        tail=bytes(row.tail or b""),
        tail_key=row.tail_key,
        hash_state=bytes(row.hash_state or b""),
        hash_tag=row.hash_tag,
    )


def _values(state: State) -> dict[str, Any]:
    return {
        "key": state.key,
        "multipart": state.multipart,
        "parts": {
            "parts": [[part.number, part.etag, part.size] for part in state.parts],
            "drop": list(state.drop),
        },
        "offset": state.offset,
        "tail": state.tail,
        "tail_key": state.tail_key,
        "hash_state": state.hash_state,
        "hash_tag": state.hash_tag,
    }
