"""The server's log: what goes wrong, and (as one wishes) a line for each request."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Literal

from argosy.server.guarding.who import address
from argosy.server.http.messages import Request
from argosy.server.observing import log_lines
from argosy.server.observing.log_lines import Format, stamp, told
from argosy.server.observing.log_writer import LogWriter
from argosy.values import frozen

serving: Final[ContextVar[Request | None]] = ContextVar("argosy-request", default=None)
"""The request that is being answered: lines logged meanwhile carry its id."""

_EXPECTED: Final = frozenset(
    {401, 404}
)  # every client's first request, and its looks for what is new

_PROBES: Final = frozenset({"/healthz", "/readyz"})  # several a second, and all the same while good


@frozen(kw_only=True)
class LogOptions:
    """What is logged, and how. `sample`: the part of the good answers that get a line."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"
    access: Literal["all", "failed", "off"] = "all"
    sample: float = 1.0


class AccessLog:
    """A line for each answer, made and written off the event loop."""

    def __init__(self, writer: LogWriter, options: LogOptions) -> None:
        self._writer = writer
        self._format = log_lines.FORMATS[options.format]
        shown = options.level in ("debug", "info") and options.access == "all"
        self._share = min(max(options.sample, 0.0), 1.0) if shown else 0.0
        self._failed = options.access != "off"
        self._due = 0.0

    def tell(self, request: Request, status: int, sent: int, seconds: float) -> None:
        """One answer."""
        if status < 400 and request.target in _PROBES:
            return
        if status < 400 or status in _EXPECTED:
            self._due += self._share
            if self._due < 1.0:
                return
            self._due -= 1.0
        elif not self._failed:
            return
        now = time.time()
        self._writer.put(
            lambda: self._format(_answered(request, status, sent, seconds) | {"time": stamp(now)})
        )


def _answered(request: Request, status: int, sent: int, seconds: float) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "time": "",  # here is its place
        "level": "error" if status >= 500 else "info",
        "event": "request",
        "request": request.id,
        "method": request.method,
        "path": request.target.partition("?")[0],
        "status": status,
        "bytes": sent,
        "seconds": round(seconds, 6),
        "address": address(request),
    }
    more = {
        "trace": request.trace,
        "received": request.body.received,
        "principal": getattr(request.principal, "name", ""),
        "project": request.repository.partition("/")[0],
        "agent": (request.headers.get("user-agent") or "")[:200],
    }
    return fields | {key: value for key, value in more.items() if value}


class _Records(logging.Handler):
    """Takes what the code logs."""

    def __init__(self, writer: LogWriter, form: Format) -> None:
        super().__init__()
        self._writer = writer
        self._form = form

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.put(self._form(_fields(record)))
        except Exception:  # noqa: BLE001 - logging has to go on, and says so in its own way
            self.handleError(record)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "time": stamp(record.created),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
    }
    if (request := serving.get()) is not None:
        fields["request"] = request.id
        if request.trace:
            fields["trace"] = request.trace
    if record.exc_info and record.exc_info[1] is not None:
        kind, error, trace = record.exc_info
        assert kind is not None
        fields["exception"] = told((kind, error, trace))
    return fields


@contextmanager
def logging_to(fd: int, options: LogOptions) -> Iterator[AccessLog]:
    """Everything logged goes to `fd` until the end; what logged before does so again afterwards."""
    form = log_lines.FORMATS[options.format]

    def dropped(count: int) -> bytes:
        message = f"{count} lines of the log were dropped: who reads it is too slow"
        return form({"time": stamp(time.time()), "level": "warning", "message": message})

    root, ours = logging.getLogger(), logging.getLogger("argosy")
    before, level = list(root.handlers), ours.level
    with LogWriter(fd, dropped) as writer:
        root.handlers[:] = [_Records(writer, form)]
        ours.setLevel(options.level.upper())  # of other libraries, only what warns
        try:
            yield AccessLog(writer, options)
        finally:
            root.handlers[:] = before
            ours.setLevel(level)
