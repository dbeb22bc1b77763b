"""`--filter` of `du` and `prune`: which items are meant. The words are those of buildx."""

import re
import time
from collections.abc import Callable, Iterable
from datetime import datetime

from argosy.build.disk.items import Item
from argosy.errors import UsageError
from argosy.settings import duration

Filter = Callable[[Item], bool]

_FORM = re.compile(r"(?P<key>[a-z]+)(?:(?P<sign>~=|!=|=)(?P<value>.*))?", re.DOTALL)
_TEXTS: dict[str, Callable[[Item], tuple[str, ...]]] = {
    "id": lambda item: (item.id,),
    "parents": lambda item: item.parents,
    "description": lambda item: (item.description,),
    "type": lambda item: (item.kind,),
}
_FACTS: dict[str, Callable[[Item], bool]] = {
    "inuse": lambda item: item.in_use,
    "mutable": lambda item: item.mutable,
    "immutable": lambda item: not item.mutable,
    "shared": lambda item: item.shared,
    "private": lambda item: not item.shared,
}
_TRUE, _FALSE = ("true", "1", "t"), ("false", "0", "f")


def filters_of(words: Iterable[str], now: float | None = None) -> Filter:
    """Whether an item is meant by all of the words; UsageError for one that cannot be read."""
    now = time.time() if now is None else now
    found = [_filter(word, now) for word in words]
    return lambda item: all(one(item) for one in found)


def _filter(word: str, now: float) -> Filter:
    read = _FORM.fullmatch(word)
    if read is None:
        raise _unreadable(word, "it is not KEY, KEY=VALUE, KEY!=VALUE or KEY~=EXPRESSION")
    key, sign, value = read["key"], read["sign"] or "", read["value"] or ""
    if key == "until" and sign == "=":
        before = moment(value, now)
        return lambda item: item.used <= before
    if key in _TEXTS and sign:
        return _text(word, _TEXTS[key], sign, value)
    if key in _FACTS and sign != "~=":
        return _fact(word, _FACTS[key], sign, value)
    known = ", ".join(["until", *_TEXTS, *_FACTS])
    why = f"{key} takes another form" if key in ("until", *_TEXTS, *_FACTS) else f"use {known}"
    raise _unreadable(word, why)


def _text(word: str, texts: Callable[[Item], tuple[str, ...]], sign: str, value: str) -> Filter:
    if sign == "~=":
        try:
            wanted = re.compile(value)
        except re.error as e:
            raise _unreadable(word, f"the expression is wrong: {e}") from e
        return lambda item: any(wanted.search(text) for text in texts(item))
    if sign == "!=":
        return lambda item: value not in texts(item)
    return lambda item: value in texts(item)


def _fact(word: str, fact: Callable[[Item], bool], sign: str, value: str) -> Filter:
    if sign and value.lower() not in (*_TRUE, *_FALSE):
        raise _unreadable(word, "its value is true or false")
    wanted = (not sign or value.lower() in _TRUE) is (sign != "!=")
    return lambda item: fact(item) is wanted


def moment(text: str, now: float) -> float:
    """Seconds since 1970 of `24h` (ago), an RFC 3339 time or a Unix time. UsageError for others."""
    try:
        return float(text) if text.isdecimal() else now - duration(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError as e:
        raise _unreadable(f"until={text}", "write 24h, 30m or 2026-01-31T12:00:00Z") from e


def _unreadable(word: str, why: str) -> UsageError:
    return UsageError(
        f"--filter {word!r} cannot be read",
        why=why,
        remedy="write for example --filter until=24h or --filter type=exec.cachemount",
    )
