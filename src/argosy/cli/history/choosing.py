"""`--filter` of `history ls`: the words are those of buildx."""

import re
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from argosy.errors import UsageError

if TYPE_CHECKING:
    from argosy.build.history.record import BuildRecord

Chosen = Callable[["BuildRecord"], bool]

_FORM = re.compile(r"(?P<key>[A-Za-z]+)(?P<sign>!=|<=|>=|=|<|>)(?P<value>.+)", re.DOTALL)
_TEXTS: dict[str, Callable[["BuildRecord"], str]] = {
    "ref": lambda record: record.ref,
    "repository": lambda record: str(record.git.get("remote") or ""),
    "status": lambda record: record.status,
}
_NUMBERS: dict[str, Callable[["BuildRecord"], float]] = {
    "startedat": lambda record: record.started,
    "completedat": lambda record: record.completed,
    "duration": lambda record: record.duration,
}
_STATUS = {"success": "completed", "failed": "error", "cancelled": "canceled"}
_KNOWN = ("running", "completed", "error", "canceled", "interrupted")


def chosen(words: Sequence[str], now: float | None = None) -> Chosen:
    """Whether a build is meant by all of the words; UsageError for one that cannot be read."""
    now = time.time() if now is None else now
    found = [_one(word, now) for word in words]
    return lambda record: all(one(record) for one in found)


def _one(word: str, now: float) -> Chosen:
    read = _FORM.fullmatch(word)
    if read is None:
        raise _unreadable(word, "it is not KEY=VALUE, KEY!=VALUE, KEY<VALUE or KEY>VALUE")
    key, sign, value = read["key"].lower(), read["sign"], read["value"]
    if key in _TEXTS and sign in ("=", "!="):
        return _text(word, key, sign, value)
    if key in _NUMBERS and sign not in ("=", "!="):
        number = _NUMBERS[key]
        wanted = _wanted(word, key, value, now)
        return lambda record: bool(number(record)) and _compared(number(record), sign, wanted)
    raise _unreadable(
        word,
        "ref, repository and status take = and !=;"
        " startedAt, completedAt and duration take < and >",
    )


def _text(word: str, key: str, sign: str, value: str) -> Chosen:
    if key == "status":
        value = _STATUS.get(value.lower(), value.lower())
        if value not in _KNOWN:
            raise _unreadable(word, f"a status is one of {', '.join(_KNOWN)}")
    text = _TEXTS[key]
    return lambda record: (text(record) == value) is (sign == "=")


def _wanted(word: str, key: str, value: str, now: float) -> float:
    from argosy.build.disk.filters import moment
    from argosy.settings import duration

    try:
        return duration(value) if key == "duration" else moment(value, now)
    except (ValueError, UsageError) as e:
        raise _unreadable(word, "write 30s or 24h, or a time as 2026-01-31T12:00:00Z") from e


def _compared(one: float, sign: str, other: float) -> bool:
    if one == other:
        return "=" in sign
    return one < other if "<" in sign else one > other


def _unreadable(word: str, why: str) -> UsageError:
    return UsageError(
        f"--filter {word!r} cannot be read",
        why=why,
        remedy="write for example --filter status=error or --filter 'duration>30s'",
    )
