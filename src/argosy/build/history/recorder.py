"""A build being recorded: what it reports passes through, and is on the disk half a second later.

<folder>/<started, ms>-<ref>.json     the record: at first only how the build began
<folder>/<started, ms>-<ref>.log.gz   its events, a JSON list a line; flushed whole lines

The record's lock is held while the build runs, so one that says `running` and is not
locked was killed. Nothing is flushed to the disk itself, nothing here fails a build, and a
build that prints nothing writes both files once, at its end.
"""

import fcntl
import json
import os
import threading
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Self

from argosy.build.history.record import BuildRecord
from argosy.observe import Event, Report, silent

_EVERY = 0.5  # seconds between two writes of what a running build prints
_LARGEST_LOG = 64 << 20  # characters of output kept of one build
_GZIP = 31  # zlib's word for gzip with the largest window
_CLIPPED = "\n[more output was not kept]\n"


class Recorder:
    """Records one build in `folder`; a reporter in front of `report`. Events may come from any thread."""

    def __init__(self, folder: str, record: BuildRecord, report: Report = silent) -> None:
        self.record = record
        self._folder = folder
        self._report = report
        self._head = os.path.join(folder, f"{int(record.started * 1000):013d}-{record.ref}")
        self._lock = threading.Lock()
        self._waiting: list[tuple[float, Event]] = []
        self._steps: dict[str, dict[str, Any]] = {}
        self._said = 0
        self._held = -1
        self._log = -1
        self._packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
        self._writing: threading.Thread | None = None
        self._ended = threading.Event()
        self._began = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Pass an event on, and remember it."""
        self._report(event)
        if event.kind == "advanced" or self._ended.is_set():
            return
        now = time.monotonic() - self._began
        with self._lock:
            self._waiting.append((now, event))
            if event.kind == "log" and self._writing is None and self._held >= 0:
                self._writing = threading.Thread(target=self._write_on, name="argosy-history")
                self._writing.start()

    def begin(self) -> Self:
        """Say that the build runs (blocking)."""
        with suppress(OSError):
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            fd = os.open(f"{self._head}.json", flags, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.write(fd, _dumped(self.record.to_json()))
            self._held = fd
        return self

    def end(self, **outcome: Any) -> None:
        """Say what became of it (blocking)."""
        self._ended.set()
        if self._writing is not None:
            self._writing.join()
        with suppress(OSError):
            if self._held >= 0:
                self._write()
                self._pack(zlib.Z_FINISH)
                self.record = replace(self.record, steps=tuple(self._steps.values()), **outcome)
                _replaced(f"{self._head}.json", _dumped(self.record.to_json()))
        for fd in (self._held, self._log):
            if fd >= 0:
                os.close(fd)
        self._held = self._log = -1

    def _write_on(self) -> None:
        with suppress(OSError):
            while not self._ended.wait(_EVERY):
                self._write()
                self._pack(zlib.Z_SYNC_FLUSH)

    def _write(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        lines = [line for now, event in waiting if (line := self._noted(now, event))]
        if lines:
            self._append(self._packer.compress("".join(lines).encode("utf-8", "replace")))

    def _pack(self, mode: int) -> None:
        if self._log >= 0 or mode == zlib.Z_FINISH:
            self._append(self._packer.flush(mode))

    def _append(self, data: bytes) -> None:
        if self._log < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._log = os.open(f"{self._head}.log.gz", flags, 0o600)
        while data:
            data = data[os.write(self._log, data) :]

    def _noted(self, now: float, event: Event) -> str:
        """An event as a line of the log; `` once there was too much output."""
        note(self._steps, now, event)
        text = event.text
        if event.kind == "log":
            left = _LARGEST_LOG - self._said
            self._said += len(text)
            if left < 0:
                return ""
            text = text if len(text) <= left else text[:left] + _CLIPPED
        more = [event.current, event.total] if event.total is not None or event.current else []
        return json.dumps([round(now, 3), event.kind, event.key, event.name, text, *more]) + "\n"


def note(steps: dict[str, dict[str, Any]], now: float, event: Event) -> None:
    """What an event says of its step; `now` is seconds since the build began."""
    step = steps.setdefault(event.key, {"name": event.name, "started": round(now, 3)})
    if event.kind in ("started", "log", "retry"):
        step.setdefault("status", "started")
    elif event.kind == "warning":
        step.setdefault("warnings", []).append(event.text)
    else:
        step |= {"status": event.kind, "completed": round(now, 3)}
        if event.kind == "failed" and event.text:
            step["error"] = event.text


def _dumped(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), default=str).encode()


def _replaced(path: str, data: bytes) -> None:
    with open(f"{path}.new", "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(data)
    os.rename(f"{path}.new", path)
