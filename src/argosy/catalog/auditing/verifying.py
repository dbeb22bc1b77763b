"""Walking the chain, from its start, from where it was trimmed, or from a checkpoint."""

import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

from sqlalchemy import Connection, select

from argosy.catalog import schema as t
from argosy.catalog.auditing import sealing
from argosy.catalog.auditing.chain import GENESIS, HASHED, Broken, Reader
from argosy.catalog.database import Database
from argosy.concurrency import in_thread
from argosy.errors import ContentError
from argosy.values import frozen

TRIMMED: Final = "audit.trim"
"""The action of the entry that tells of a trim; it holds where the chain begins since then."""

_PAGE: Final = 1000
_TRIMS: Final = 20  # that may come while we walk
_SEALED: Final = [*(t.audit.c[name] for name in HASHED), t.audit.c.hash]

Progress = Callable[[int], object]


class CheckpointInvalid(ContentError):
    """A checkpoint cannot be read, or was not made by this registry."""

    code = "checkpoint-invalid"


@frozen(kw_only=True)
class Checkpoint:
    """A place in the chain, to be kept elsewhere; signed with a key of the registry."""

    sequence: int
    hash: str
    at: int
    signature: str = ""

    def signed(self, key: bytes) -> "Checkpoint":
        """With a signature (HMAC-SHA256): only who has the key can make one."""
        mark = hmac.new(key, self._said(), hashlib.sha256).hexdigest()
        return Checkpoint(sequence=self.sequence, hash=self.hash, at=self.at, signature=mark)

    def check(self, key: bytes) -> None:
        """CheckpointInvalid unless it was signed with the key and says what it said then."""
        if not hmac.compare_digest(self.signed(key).signature, self.signature):
            raise CheckpointInvalid(
                f"the checkpoint at entry {self.sequence} has no valid signature",
                why="it was changed, or another registry (or another key) made it",
                remedy="use a checkpoint as `argosy audit checkpoint` wrote it",
            )

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            "sequence": self.sequence,
            "hash": self.hash,
            "at": self.at,
            "signature": self.signature,
        }

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Read what `to_json` gave; CheckpointInvalid."""
        try:
            found = json.loads(text)
            made = cls(**{name: found[name] for name in ("sequence", "hash", "at", "signature")})
            usable = len(bytes.fromhex(made.hash)) == 32
        except (ValueError, KeyError, TypeError) as e:
            raise CheckpointInvalid("the checkpoint cannot be read", why=str(e)) from e
        kinds = (type(made.sequence), type(made.at), type(made.signature))
        if not usable or kinds != (int, int, str):
            raise CheckpointInvalid("the checkpoint cannot be read", why="it has other types")
        return made

    def _said(self) -> bytes:
        return f"argosy audit checkpoint\n{self.sequence}\n{self.hash}\n{self.at}".encode()


@frozen(kw_only=True)
class Verified:
    """What a walk found: entries `first` to `last`, and the first one that is not right, if any."""

    first: int
    last: int
    hash: str
    count: int
    broken: Broken | None = None


async def checkpoint(database: Database, key: bytes | None = None) -> Checkpoint:
    """Where the chain ends now."""
    sequence, sealed = await database.read(sealing.head)
    made = Checkpoint(sequence=sequence, hash=sealed, at=t.now())
    return made.signed(key) if key else made


async def verify(
    database: Database,
    checkpoints: Sequence[Checkpoint] = (),
    *,
    progress: Progress = int,
) -> Verified:
    """Walk over every sealed entry there is.

    The chain has to reach each checkpoint, and to pass through it. A part that was
    trimmed before a checkpoint was made cannot be compared with it, and is not.
    """
    for _ in range(_TRIMS):
        walk = _Walk(database, checkpoints, progress)
        found = await walk.whole()
        if found is not None:
            return found
    raise ContentError("the audit log was trimmed while it was verified", remedy="try again")


class _Walk:
    """One way along the chain."""

    def __init__(
        self, database: Database, checkpoints: Sequence[Checkpoint], progress: Progress
    ) -> None:
        self._db = database
        self._marks = {mark.sequence: mark.hash for mark in checkpoints}
        self._progress = progress

    async def whole(self) -> Verified | None:
        """What it found; None if the log was trimmed meanwhile: begin anew."""
        anchor, sealed = await self._db.read(anchored)
        position, _ = await self._db.read(sealing.head)
        reader = Reader(anchor, sealed)
        told = anchor == 0
        broken = self._mismatch(reader)
        while broken is None:
            rows = await self._db.read(lambda conn: _page(conn, reader.sequence))
            if not rows:
                break
            told = told or any(_tells(row, anchor, sealed) for row in rows)
            broken = await in_thread(self._take, reader, rows)
            self._progress(reader.sequence)
        if broken is None and reader.sequence < position:
            broken = Broken(
                reader.sequence + 1, f"entries up to {position} were sealed and are gone"
            )
        broken = broken or self._beyond(reader)
        if broken is None and not told and not await self._db.read(_told_of(anchor, sealed)):
            broken = Broken(anchor, "no entry of the log says that it was trimmed up to here")
        if broken is not None and (await self._db.read(anchored))[0] != anchor:
            return None
        return Verified(
            first=anchor + 1,
            last=reader.sequence,
            hash=reader.hash,
            count=reader.sequence - anchor,
            broken=broken,
        )

    def _take(self, reader: Reader, rows: Sequence[dict[str, Any]]) -> Broken | None:
        for row in rows:
            if (broken := reader.take(row) or self._mismatch(reader)) is not None:
                return broken
        return None

    def _mismatch(self, reader: Reader) -> Broken | None:
        wanted = self._marks.get(reader.sequence)
        if wanted is None or hmac.compare_digest(wanted, reader.hash):
            return None
        return Broken(reader.sequence, "the log up to here is another one than at the checkpoint")

    def _beyond(self, reader: Reader) -> Broken | None:
        """A checkpoint that lies after the end: the log was longer once."""
        last = max(self._marks, default=0)
        if last <= reader.sequence:
            return None
        why = f"there were entries up to {last} at the checkpoint, and they are gone"
        return Broken(reader.sequence + 1, why)


def anchored(conn: Connection) -> tuple[int, str]:
    """After which sequence and hash the chain begins."""
    anchors = t.audit_anchors
    found = select(anchors.c.sequence, anchors.c.hash).order_by(anchors.c.sequence.desc()).limit(1)
    row = conn.execute(found).one_or_none()
    return (0, GENESIS) if row is None else (int(row.sequence), str(row.hash))


def _page(conn: Connection, after: int) -> list[dict[str, Any]]:
    sequence = t.audit.c.sequence
    found = select(*_SEALED).where(sequence > after).order_by(sequence).limit(_PAGE)
    return [dict(row) for row in conn.execute(found).mappings()]


def _told_of(sequence: int, sealed: str) -> Callable[[Connection], bool]:
    """Whether an entry that is not sealed yet tells of the trim."""

    def look(conn: Connection) -> bool:
        fresh = select(t.audit.c.action, t.audit.c.details)
        fresh = fresh.where(t.audit.c.sequence.is_(None), t.audit.c.action == TRIMMED)
        return any(_tells(dict(row), sequence, sealed) for row in conn.execute(fresh).mappings())

    return look


def _tells(row: dict[str, Any], sequence: int, sealed: str) -> bool:
    """Whether this entry tells of the trim that left this anchor."""
    details = row["details"]
    return (
        row["action"] == TRIMMED
        and isinstance(details, dict)
        and (details.get("through"), details.get("hash")) == (sequence, sealed)
    )
