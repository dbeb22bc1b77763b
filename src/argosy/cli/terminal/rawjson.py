"""Progress as BuildKit's `--progress=rawjson`: one SolveStatus object per line.

Fields as in BuildKit's client/graph.go: vertexes, statuses, logs, warnings.
"""

import base64
import datetime as dt
import hashlib
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TextIO

from argosy.cli.terminal.board import Board, Line
from argosy.observe import Event


class RawJSON:
    """A reporter of JSON lines; events may come from any thread."""

    def __init__(self, stream: TextIO, now: Callable[[], str] | None = None) -> None:
        self._stream = stream
        self._now = now or _now
        self._board = Board()
        self._started: dict[str, str] = {}  # vertex digest: when, RFC 3339
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _tb: TracebackType | None
    ) -> None:
        return

    def __call__(self, event: Event) -> None:
        """Write what the event says."""
        with self._lock, suppress(OSError, ValueError):
            line = self._board.take(event)
            self._stream.write(json.dumps(self._status(event, line)) + "\n")
            self._stream.flush()

    def _status(self, event: Event, line: Line) -> dict[str, Any]:
        vertex, now = vertex_digest(event.key), self._now()
        if event.kind == "log":
            data = base64.b64encode(event.text.encode()).decode()
            return {"logs": [{"vertex": vertex, "stream": 1, "data": data, "timestamp": now}]}
        if event.kind in ("warning", "retry"):
            short = base64.b64encode(event.text.encode()).decode()
            return {"warnings": [{"vertex": vertex, "level": 1, "short": short}]}
        if event.kind == "advanced":
            return {"statuses": [self._transfer(vertex, line, now)]}
        return {"vertexes": [self._vertex(event, vertex, line, now)]}

    def _vertex(self, event: Event, vertex: str, line: Line, now: str) -> dict[str, Any]:
        started = self._started.setdefault(vertex, now)
        value: dict[str, Any] = {"digest": vertex, "name": line.name, "started": started}
        if line.finished:
            value["completed"] = now
        if event.kind in ("cached", "skipped", "mounted"):
            value["cached"] = True
        if event.kind == "failed":
            value["error"] = event.text
        return value

    def _transfer(self, vertex: str, line: Line, now: str) -> dict[str, Any]:
        return {
            "id": line.name,
            "vertex": vertex,
            "name": "transferring",
            "current": line.current,
            "total": line.total or 0,
            "timestamp": now,
            "started": self._started.setdefault(vertex, now),
        }


def vertex_digest(key: str) -> str:
    """The digest a vertex is known by: the key if it is one, else the key's hash."""
    if key.startswith(("sha256:", "sha512:")):
        return key
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")
