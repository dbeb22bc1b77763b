"""How much the disk gives to a directory, measured once: what does not change is not walked again.

One SQLite file beside the cache. It holds nothing that cannot be measured again.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sizes (
  place TEXT PRIMARY KEY, stamp INTEGER NOT NULL, size INTEGER NOT NULL) WITHOUT ROWID
"""
_BLOCK = 512  # bytes; st_blocks counts these, whatever the file system's own are


@dataclass(slots=True)
class Sizes:
    """Sizes of what is below `state` (blocking); `save` keeps what was measured."""

    state: str
    _known: dict[str, tuple[int, int]] | None = None
    _new: dict[str, tuple[int, int]] = field(default_factory=dict)
    _fresh: dict[str, int] = field(default_factory=dict)
    measured: int = 0  # directories that had to be walked

    def of(self, place: str, stamp: int = 0, *, settled: bool = True) -> int:
        """Bytes on the disk of a file or directory, as of `stamp`; one that is not settled is not kept."""
        known = self._all().get(place)
        if settled and known is not None and known[0] == stamp:
            return known[1]
        if place not in self._fresh:
            self._fresh[place] = usage(os.path.join(self.state, place))
            self.measured += 1
        if settled:
            self._all()[place] = self._new[place] = (stamp, self._fresh[place])
        return self._fresh[place]

    def save(self) -> None:
        """Keep what is new, and forget what is gone; without the table it is only slower."""
        gone = [(p,) for p in self._all() if not os.path.lexists(os.path.join(self.state, p))]
        if not self._new and not gone:
            return
        rows = [(place, *known) for place, known in self._new.items()]
        with suppress(sqlite3.Error, OSError), closing(self._opened()) as db, db:
            db.executemany("INSERT OR REPLACE INTO sizes VALUES (?, ?, ?)", rows)
            db.executemany("DELETE FROM sizes WHERE place = ?", gone)
        self._new = {}

    def _all(self) -> dict[str, tuple[int, int]]:
        if self._known is None:
            self._known = {}
            if os.path.exists(self._path):
                with suppress(sqlite3.Error, OSError), closing(self._opened()) as db:
                    rows = db.execute("SELECT place, stamp, size FROM sizes")
                    self._known = {place: (stamp, size) for place, stamp, size in rows}
        return self._known

    @property
    def _path(self) -> str:
        return os.path.join(self.state, "sizes.db")

    def _opened(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=5)
        db.execute("PRAGMA synchronous=OFF")  # it can be measured again
        db.execute(_SCHEMA)
        return db


def usage(path: str) -> int:
    """Bytes on the disk of a file, or of a directory and all below it (blocking); hard links once.

    What cannot be seen, or goes meanwhile, counts nothing. Other file systems that are
    mounted there are left out.
    """
    try:
        top = os.lstat(path)
    except OSError:
        return 0
    seen: set[int] = set()
    total = top.st_blocks
    for status in _below(path, top.st_dev):
        if status.st_nlink > 1 and not _is_folder(status):
            if status.st_ino in seen:
                continue
            seen.add(status.st_ino)
        total += status.st_blocks
    return total * _BLOCK


def _below(path: str, device: int) -> Iterator[os.stat_result]:
    pending = [path]
    while pending:
        with suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_dev != device:
                        continue
                    yield status
                    if _is_folder(status):
                        pending.append(entry.path)


def _is_folder(status: os.stat_result) -> bool:
    return status.st_mode & 0o170000 == 0o040000
