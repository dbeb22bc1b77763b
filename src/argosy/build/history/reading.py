"""The builds there were: listed, found, replayed, removed (blocking). The newest come first."""

import fcntl
import json
import os
import re
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, get_args

from argosy.build.history.record import HISTORY, BuildRecord
from argosy.build.history.recorder import note
from argosy.errors import NotFound, StorageError
from argosy.observe import Event, Kind
from argosy.values import frozen

_NAME = re.compile(r"(?P<ms>\d{13})-(?P<ref>[0-9a-z]+)\.json")
_PIECE = 1 << 20
_KINDS = get_args(Kind)


@frozen
class History:
    """The records in one folder."""

    folder: str

    @classmethod
    def of(cls, home: str) -> "History":
        """Of an ARGOSY_HOME."""
        return cls(os.path.join(home, "build", HISTORY))

    def records(self) -> list[BuildRecord]:
        """Every build; what cannot be read is left out."""
        return [r for name in self._names() if (r := self._read(name)) is not None]

    def find(self, ref: str = "") -> BuildRecord:
        """The build of a ref, or of the beginning of one; `` is the last, ^1 the one before. NotFound."""
        wanted = ref.rpartition("/")[2]
        names = self._names()
        if not wanted or re.fullmatch(r"\^\d+", wanted):
            found = names[int(wanted[1:] or "0") :][:1]
        else:
            found = [n for n in names if _ref(n).startswith(wanted)]
        if len(found) > 1 and wanted not in map(_ref, found):
            raise NotFound(
                f"{len(found)} builds begin with {wanted}", remedy="give more of the ref"
            )
        record = self._read(found[0]) if found else None
        if record is None:
            raise NotFound(
                f"there is no build {ref}" if ref else "there is no build yet",
                why="builds are remembered for some days only" if ref else "",
                remedy="`argosy history ls` lists them" if ref else "",
            )
        return record

    def events(self, ref: str) -> Iterator[tuple[float, Event]]:
        """What a build reported: seconds since its start, and the event; as far as it can be read."""
        for name in self._names():
            if _ref(name) == ref:
                yield from _events(os.path.join(self.folder, name[:-5] + ".log.gz"))

    def remove(self, *refs: str) -> None:
        """Forget builds, by whole refs; no matter if they are gone."""
        for name in self._names():
            if _ref(name) in refs:
                self._remove(name)

    def tidy(self, entries: int, age: float) -> None:
        """Forget all but the newest so many, and those older than `age` seconds; running ones stay."""
        names = self._names()
        oldest = (time.time() - age) * 1000
        for number, name in enumerate(names):
            if number >= entries or int(name[:13]) < oldest:
                record = self._read(name)
                if record is None or record.status != "running":
                    self._remove(name)

    def _names(self) -> list[str]:
        try:
            return sorted(filter(_NAME.fullmatch, os.listdir(self.folder)), reverse=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as e:
            raise StorageError(
                f"cannot read the history in {self.folder}",
                why=e.strerror or str(e),
                remedy="look at its rights",
            ) from e

    def _read(self, name: str) -> BuildRecord | None:
        path = os.path.join(self.folder, name)
        try:
            with open(path, "rb") as file:
                record = BuildRecord.from_json(json.load(file))
                if record.status != "running" or _is_locked(file.fileno()):
                    return record
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return self._interrupted(record)

    def _interrupted(self, record: BuildRecord) -> BuildRecord:
        """What is known of a build that was killed."""
        steps: dict[str, dict[str, Any]] = {}
        last = 0.0
        for last, event in self.events(record.ref):
            note(steps, last, event)
        return replace(
            record,
            status="interrupted",
            completed=record.started + last,
            steps=tuple(steps.values()),
        )

    def _remove(self, name: str) -> None:
        for suffix in (".json", ".json.new", ".log.gz"):
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self.folder, name[:-5] + suffix))


def _ref(name: str) -> str:
    return name[14:-5]


def _is_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def _events(path: str) -> Iterator[tuple[float, Event]]:
    for line in _lines(path):
        with suppress(ValueError, TypeError, IndexError):
            now, kind, key, name, text, *more = json.loads(line)
            if kind in _KINDS:
                current, total = more or (0, None)
                yield float(now), Event(kind, key, name, current, total, text)


def _lines(path: str) -> Iterator[bytes]:
    """The lines of a gzip file as far as it goes: a killed build's has no end."""
    unpacker, rest = zlib.decompressobj(31), b""
    with suppress(OSError, zlib.error), open(path, "rb") as file:
        while piece := file.read(_PIECE):
            *whole, rest = (rest + unpacker.decompress(piece)).split(b"\n")
            yield from whole
