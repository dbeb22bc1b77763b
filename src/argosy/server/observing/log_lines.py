"""One event as one line: JSON for machines, key=value for people.

Nothing that a client sent can begin a line, forge a field or move a cursor: what is not
printable is escaped, in both forms.
"""

import re
import time
import traceback
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final

import msgspec

Fields = Mapping[str, Any]
Format = Callable[[Fields], bytes]

_PLAIN: Final = re.compile(r"[!#-<>-~]+")  # neither blank nor quote nor `=`
_LONGEST: Final = 4000
_BACKSLASH: Final = "\\"
_QUOTE: Final = '"'


def as_json(fields: Fields) -> bytes:
    """`{"time":…,"level":…}` and a line break."""
    cleaned = {k: _clean(v) if isinstance(v, str) else v for k, v in fields.items()}
    return msgspec.json.encode(cleaned) + b"\n"


def as_text(fields: Fields) -> bytes:
    """`time=… level=… message="…"`; a traceback follows on lines of its own, each marked `  | `."""
    trace = fields.get("exception", "")
    line = " ".join(f"{k}={_worded(v)}" for k, v in fields.items() if k != "exception")
    if trace:
        line += "".join(f"\n  | {_clean(part)}" for part in str(trace).splitlines())
    return line.encode("utf-8", "replace") + b"\n"


FORMATS: Final[Mapping[str, Format]] = {"text": as_text, "json": as_json}


def stamp(seconds: float) -> str:
    """`2026-11-21T10:00:00.123Z`."""
    whole = int(seconds)
    return f"{_second(whole)}.{int((seconds - whole) * 1000):03}Z"


def told(error: tuple[type[BaseException], BaseException, TracebackType | None]) -> str:
    """A traceback as text, its middle cut out if it is long."""
    text = "".join(traceback.format_exception(*error)).strip()
    if len(text) <= 2 * _LONGEST:
        return text
    return f"{text[:_LONGEST]}\n…\n{text[-_LONGEST:]}"


_last: tuple[int, str] = (0, "")


def _second(whole: int) -> str:
    global _last  # noqa: PLW0603 - most lines of a second share it
    second, text = _last
    if second != whole:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        _last = (whole, text)
    return text


def _worded(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    return (
        f'"{_clean(text.replace(_BACKSLASH, _BACKSLASH * 2).replace(_QUOTE, _BACKSLASH + _QUOTE))}"'
    )


def _clean(text: str) -> str:
    """The text without control characters, bidirectional tricks and halves of surrogate pairs."""
    if len(text) > 4 * _LONGEST:
        text = text[: 4 * _LONGEST] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    if character == "\n":
        return "\\n"
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
