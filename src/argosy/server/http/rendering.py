"""Responses as bytes: status lines, fields, the date, and the answers the engine gives itself."""

import json
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from argosy.server.http.messages import FileBody, Response

_STATUS_LINES: Final = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n" for s in HTTPStatus}
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
)
BODILESS: Final = frozenset({204, 304})
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
NO_LENGTH: Final = b"\r\nContent-Length: 0\r\n"
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"


def http_date(second: int) -> str:
    """An IMF-fixdate (RFC 9110 §5.6.7), whatever the locale. (`email.utils` would load a megabyte.)"""
    now = time.gmtime(second)
    day, month = _DAYS[now.tm_wday], _MONTHS[now.tm_mon - 1]
    clock = f"{now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
    return f"{day}, {now.tm_mday:02} {month} {now.tm_year} {clock} GMT"


class Clock:
    """The Date field, made once per second by whoever ticks."""

    __slots__ = ("_second", "date", "date_and_end")

    def __init__(self) -> None:
        self._second = 0
        self.date = self.date_and_end = b""
        self.tick()

    def tick(self) -> None:
        """Bring `date` up to now."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self.date = f"Date: {http_date(second)}\r\n".encode("ascii")
            self.date_and_end = self.date + b"\r\n"


def render(response: Response) -> bytes:
    """Status line and fields, up to Date and the blank line; kept at the response.

    ValueError when a field holds a line break: it would forge another field.
    """
    status = response.status
    lines = [_STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n"]
    declared = None
    for name, value in response.headers:
        lower = name.lower()
        if lower == "content-length":
            declared = value
        elif lower not in {"date", "connection", "transfer-encoding"}:
            lines.append(f"{name}: {value}\r\n")
    length = _content_length(response, declared)
    if length is not None and status not in BODILESS and status >= 200:
        lines.append(f"Content-Length: {length}\r\n")
    text = "".join(lines)
    if text.count("\n") != len(lines) or text.count("\r") != len(lines) or "\0" in text:
        raise ValueError("a response field holds a line break")
    response.rendered = text.encode("latin-1")
    return response.rendered


def _content_length(response: Response, declared: str | None) -> str | int | None:
    body = response.body
    if isinstance(body, bytes):
        # An empty body with a length of its own is a HEAD answered from metadata.
        return declared if declared is not None and not body else len(body)
    if isinstance(body, FileBody):
        return body.length
    return declared


def declared_length(response: Response) -> int | None:
    """The Content-Length its own headers give, if any."""
    for name, value in response.headers:
        if name.lower() == "content-length":
            return int(value)
    return None


def problem(status: int, message: str, *, detail: Mapping[str, str] | None = None) -> Response:
    """The engine's own error answer, in the shape registry clients read."""
    error = {"code": "UNKNOWN", "message": message, "detail": dict(detail or {})}
    body = json.dumps({"errors": [error]}).encode()
    return Response(status, (("Content-Type", "application/json"),), body)
