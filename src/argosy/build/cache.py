"""The step cache on disk: which snapshot has which key, and which layer a snapshot became.

One SQLite file. A record is written only after its snapshot was committed, and a
record whose snapshot is gone is a miss, so a kill at any moment costs at most a step.
Builds in several processes share the file (WAL). It holds nothing that cannot be made
again: a file that cannot be read is put aside and begun anew.
"""

import fcntl
import json
import os
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Self
from urllib.parse import quote

from argosy.build.graph import Layer, Snapshot
from argosy.concurrency import in_thread
from argosy.errors import StorageError
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.values import frozen

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
  key TEXT PRIMARY KEY, chain TEXT NOT NULL, description TEXT NOT NULL,
  created REAL NOT NULL, used REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS layers (
  snapshot TEXT NOT NULL, form TEXT NOT NULL, descriptor TEXT NOT NULL, diff_id TEXT NOT NULL,
  created REAL NOT NULL, PRIMARY KEY (snapshot, form)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pins (
  reference TEXT NOT NULL, platform TEXT NOT NULL, descriptor TEXT NOT NULL,
  created REAL NOT NULL, PRIMARY KEY (reference, platform)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS births (
  image TEXT PRIMARY KEY, created TEXT NOT NULL) WITHOUT ROWID;
"""
_BUSY_SECONDS = 30.0
GIVEN = "given"  # the form of a layer that was not packed here: of a base image, or of a cache


@frozen(kw_only=True)
class Record:
    """One remembered step: what it came to, and since when."""

    key: Digest
    snapshot: Snapshot | None
    description: str
    created: float  # seconds since the epoch
    used: float


async def _trusting(_snapshot: Snapshot) -> bool:
    return True


class BuildCache:
    """The records of one home; open it with `async with`. Calls may come from any task."""

    def __init__(
        self,
        path: str,
        exists: Callable[[Snapshot], Awaitable[bool]] = _trusting,
        *,
        frozen: bool = False,
    ) -> None:
        self._path = path
        # Only read, without a byte of disk; what is in the log of a killed process is not seen.
        self.is_frozen = frozen
        self._exists = exists
        self._lock = threading.Lock()
        self._touched: set[str] = set()
        self._db: sqlite3.Connection | None = None
        self.births: dict[Digest, str] = {}  # of the images that were asked about
        self.births_elsewhere: dict[Digest, str] = {}  # what other machines say (remote caches)

    async def __aenter__(self) -> Self:
        await in_thread(self._open)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await in_thread(self._close)

    def _open(self) -> None:
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        try:
            with _alone(self._path):
                self._db = _frozen(self._path) if self.is_frozen else _opened(self._path)
        except sqlite3.Error as e:
            raise _unusable(self._path, e) from e

    def _close(self) -> None:
        if self._db is None:
            return
        try:
            self._write_touched()
        except sqlite3.Error:
            pass  # only says when a record was last used
        finally:
            self._db.close()
            self._db = None

    async def find(self, key: Digest) -> Record | None:
        """The record of a key, if its snapshot is still there."""
        row = await in_thread(self._one, "SELECT * FROM records WHERE key = ?", (key,))
        if row is None:
            return None
        found = _record(row, await in_thread(self._given, json.loads(row[1])))
        if found.snapshot is not None and not await self._exists(found.snapshot):
            return None
        self._touched.add(key)
        return found

    async def keep(self, key: Digest, snapshot: Snapshot | None, description: str) -> None:
        """Remember what a key came to; call it after the snapshot was committed."""
        now = time.time()
        chain = json.dumps(snapshot.chain if snapshot else ())
        await in_thread(self._keep_given, snapshot)
        await in_thread(
            self._execute,
            "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?)",
            (key, chain, description, now, now),
        )

    async def layer(self, snapshot: Snapshot, form: str = "") -> tuple[Descriptor, Digest] | None:
        """The layer and diffID that a snapshot was packed as, in a form (compression, times)."""
        sql = "SELECT descriptor, diff_id FROM layers WHERE snapshot = ? AND form = ?"
        row = await in_thread(self._one, sql, (snapshot.id, form))
        return row and (_descriptor(row[0]), Digest(row[1]))

    async def keep_layer(
        self, snapshot: Snapshot, layer: Descriptor, diff_id: Digest, form: str = ""
    ) -> None:
        """Remember the layer of a snapshot."""
        await in_thread(
            self._execute,
            "INSERT OR REPLACE INTO layers VALUES (?, ?, ?, ?, ?)",
            (snapshot.id, form, json.dumps(layer.to_json()), diff_id, time.time()),
        )

    async def pin(self, reference: str, platform: str) -> Descriptor | None:
        """The manifest that a base image's reference stood for when it was last fetched."""
        sql = "SELECT descriptor FROM pins WHERE reference = ? AND platform = ?"
        row = await in_thread(self._one, sql, (reference, platform))
        return row and _descriptor(row[0])

    async def keep_pin(self, reference: str, platform: str, manifest: Descriptor) -> None:
        """Remember what a base image's reference stands for."""
        await in_thread(
            self._execute,
            "INSERT OR REPLACE INTO pins VALUES (?, ?, ?, ?)",
            (reference, platform, json.dumps(manifest.to_json()), time.time()),
        )

    async def born(self, image: Digest, now: str) -> str:
        """When an image with this identity was first made: `now`, if it never was.

        That is what makes a build that is all cache come to the same digest again.
        """
        now = self.births_elsewhere.get(image, now)
        await in_thread(self._execute, "INSERT OR IGNORE INTO births VALUES (?, ?)", (image, now))
        row = await in_thread(self._one, "SELECT created FROM births WHERE image = ?", (image,))
        self.births[image] = str(row[0]) if row else now
        return self.births[image]

    async def keys(self, snapshot: Snapshot) -> list[Digest]:
        """The keys that came to this very snapshot, those used last first; at most 16."""
        sql = "SELECT key FROM records WHERE chain = ? ORDER BY used DESC, key LIMIT 16"
        rows = await in_thread(self._all, sql, (json.dumps(snapshot.chain),))
        return [Digest(row[0]) for row in rows]

    async def records(self) -> list[Record]:
        """Every record, the least recently used first; those without snapshot included."""
        rows = await in_thread(self._all, "SELECT * FROM records ORDER BY used, key", ())
        return [_record(row) for row in rows]

    async def layers(self) -> list[tuple[str, str, Descriptor]]:
        """Every layer that is known: of which snapshot, in which form, and the layer."""
        rows = await in_thread(self._all, "SELECT snapshot, form, descriptor FROM layers", ())
        return [(snapshot, form, _descriptor(text)) for snapshot, form, text in rows]

    async def forget(self, snapshots: Collection[str]) -> None:
        """Forget these snapshots, by id, and every record that stands on one of them."""
        rows = await in_thread(self._all, "SELECT key, chain FROM records", ())
        keys = [(key,) for key, chain in rows if not set(json.loads(chain)).isdisjoint(snapshots)]
        await in_thread(self._execute_all, "DELETE FROM records WHERE key = ?", keys)
        ids = [(name,) for name in snapshots]
        await in_thread(self._execute_all, "DELETE FROM layers WHERE snapshot = ?", ids)

    async def shrink(self) -> None:
        """Give the disk back what deleted records took; not if others are at work."""
        with suppress(StorageError):
            await in_thread(self._shrink)

    def _shrink(self) -> None:
        db = self._connection()
        try:
            with self._lock:
                db.execute("PRAGMA busy_timeout=100")
                db.execute("VACUUM")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as e:
            raise _unusable(self._path, e) from e

    def _keep_given(self, snapshot: Snapshot | None) -> None:
        """Remember the layers that snapshots came as: they may not be unpacked here."""
        rows = []
        while snapshot is not None:
            if (layer := snapshot.layer) is not None:
                text = json.dumps(layer.descriptor.to_json())
                rows.append((snapshot.id, GIVEN, text, layer.diff_id, time.time()))
            snapshot = snapshot.parent
        if rows:
            self._execute_all("INSERT OR REPLACE INTO layers VALUES (?, ?, ?, ?, ?)", rows)

    def _given(self, chain: list[str]) -> dict[str, Layer]:
        marks = ",".join("?" * len(chain))
        sql = (
            "SELECT snapshot, descriptor, diff_id FROM layers"  # noqa: S608 - only question marks
            f" WHERE form = ? AND snapshot IN ({marks})"
        )
        rows = self._all(sql, (GIVEN, *chain)) if chain else ()
        return {row[0]: Layer(_descriptor(row[1]), Digest(row[2])) for row in rows}

    def _write_touched(self) -> None:
        now = time.time()
        rows = [(now, key) for key in self._touched]
        if rows and self._db is not None:
            with self._lock, self._db:
                self._db.executemany("UPDATE records SET used = ? WHERE key = ?", rows)

    def _execute(self, sql: str, values: Iterable[Any]) -> None:
        self._execute_all(sql, [tuple(values)])

    def _execute_all(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
        db = self._connection()
        try:
            with self._lock, db:
                db.executemany(sql, rows)
        except sqlite3.Error as e:
            raise _unusable(self._path, e) from e

    def _all(self, sql: str, values: Iterable[Any]) -> list[Any]:
        db = self._connection()
        try:
            with self._lock:
                return db.execute(sql, tuple(values)).fetchall()
        except sqlite3.Error as e:
            raise _unusable(self._path, e) from e

    def _one(self, sql: str, values: Iterable[Any]) -> Any:
        return next(iter(self._all(sql, values)), None)

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise StorageError("the build cache is closed")
        return self._db


def _opened(path: str) -> sqlite3.Connection:
    try:
        return _connected(path)
    except sqlite3.DatabaseError as e:
        if isinstance(e, sqlite3.OperationalError):
            raise
        _put_aside(path)  # not a database: begin anew
        return _connected(path)


def _frozen(path: str) -> sqlite3.Connection:
    where = f"file:{quote(os.path.abspath(path))}?mode=ro&immutable=1"
    return sqlite3.connect(where, uri=True, check_same_thread=False)


def _put_aside(path: str) -> None:
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(path + suffix):
            os.replace(path + suffix, f"{path}.damaged{suffix}")


@contextmanager
def _alone(path: str) -> Iterator[None]:
    """One process at a time: the switch to WAL does not wait for others as statements do."""
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _connected(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False)
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version != _VERSION:
            _create(db, version)
        db.execute("PRAGMA synchronous=NORMAL")
    except BaseException:
        db.close()
        raise
    return db


def _create(db: sqlite3.Connection, version: int) -> None:
    db.execute("PRAGMA journal_mode=WAL")
    drop = "".join(
        f"DROP TABLE IF EXISTS {t};" for t in ("records", "layers", "pins", "births") if version
    )
    db.executescript(f"BEGIN IMMEDIATE; {drop} {_SCHEMA} PRAGMA user_version={_VERSION}; COMMIT;")


def _record(row: Any, given: Mapping[str, Layer] | None = None) -> Record:
    key, chain, description, created, used = row
    snapshot: Snapshot | None = None
    for name in json.loads(chain):
        snapshot = Snapshot(name, snapshot, given.get(name) if given else None)
    return Record(
        key=Digest(key), snapshot=snapshot, description=description, created=created, used=used
    )


def _descriptor(text: str) -> Descriptor:
    return Descriptor.from_json(json.loads(text))


def _unusable(path: str, error: sqlite3.Error) -> StorageError:
    if type(error) is sqlite3.DatabaseError:  # damaged further in than opening it looks
        with suppress(OSError):
            _put_aside(path)
            return StorageError(
                f"the build cache {path} is damaged",
                why=str(error),
                remedy="build again: it was put aside, and a new one is begun",
            )
    return StorageError(
        f"the build cache {path} cannot be used",
        why=str(error),
        remedy="check the disk and the file's owner; the cache can be removed at any time",
    )
