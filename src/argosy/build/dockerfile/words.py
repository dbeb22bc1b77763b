"""How instructions cut their text: quoted words, JSON arrays, flags, comma lists, durations."""

import json
import re

from argosy.build.dockerfile.source import Fault
from argosy.values import frozen

BLANKS = "\t\v\f\r "
_BLANK_RUN = re.compile(r"[\t\v\f\r ]+")


def fields(text: str) -> list[str]:
    """Words between blanks; quotes mean nothing."""
    return [w for w in _BLANK_RUN.split(text) if w]


def cut(text: str) -> tuple[str, str]:
    """The first word and the rest, without blanks around."""
    parts = _BLANK_RUN.split(text.strip(), maxsplit=1)
    return parts[0], parts[1] if len(parts) == 2 else ""


def quoted_words(text: str, escape: str) -> list[str]:
    """Words between blanks, where quotes hold blanks together; quotes and escapes are kept."""
    words: list[str] = []
    word: list[str] = []
    quote = ""
    position, end = 0, len(text)
    while position < end:
        char = text[position]
        position += 1
        if not quote and char.isspace():
            if word:
                words.append("".join(word))
                word = []
            continue
        if char == escape and quote != "'":
            if position == end:
                break  # an escape at the very end is dropped
            word += char, text[position]
            position += 1
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        word.append(char)
    if word:
        words.append("".join(word))
    return words


def json_words(text: str) -> tuple[str, ...] | None:
    """The strings of a JSON array; None if the text is no JSON array, so is the shell form.

    An array with anything but strings in it is a Fault, as in Docker.
    """
    if not text.lstrip().startswith("["):
        return None
    try:
        # Numbers are refused below, whatever they are: never let them cost time.
        value = json.loads(text, parse_int=_no_number, parse_float=_no_number)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise Fault(
            "the JSON array holds something that is not a string",
            at="[",
            why="the exec form is an array of strings",
            remedy='put every word into double quotes: ["a", "1"]',
        )
    return tuple(_whole(word) for word in value)


def _no_number(_: str) -> None:
    return None


def _whole(word: str) -> str:
    if "\0" in word:
        raise Fault("a word holds a NUL character", why="no program can be given one")
    # Half of a surrogate pair, as in "\ud800", cannot be written as UTF-8.
    return word.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@frozen
class Flag:
    """`--name=value` of an instruction; `value` is None for a plain `--name`."""

    name: str
    value: str | None


def take_flags(text: str) -> tuple[tuple[Flag, ...], str]:
    """The flags at the start of an instruction's text, and what follows them."""
    flags: list[Flag] = []
    position, end = 0, len(text)
    while True:
        while position < end and text[position].isspace():
            position += 1
        if not text.startswith("--", position):
            return tuple(flags), text[position:].strip()
        word, position = _flag_word(text, position)
        if word == "--":
            return tuple(flags), text[position:].strip()
        name, equals, value = word[2:].partition("=")
        flags.append(Flag(name, value if equals else None))


def _flag_word(text: str, position: int) -> tuple[str, int]:
    """The word at `position` with its quotes removed, and where it ends."""
    word: list[str] = []
    quote, end = "", len(text)
    while position < end:
        char = text[position]
        if char == "\\":
            position += 1
            word.append(text[position : position + 1])
        elif quote:
            if char == quote:
                quote = ""
            else:
                word.append(char)
        elif char.isspace():
            break
        elif char in "'\"":
            quote = char
        else:
            word.append(char)
        position += 1
    return "".join(word), min(position, end)


def comma_fields(text: str) -> list[str]:
    """The fields of one line of CSV (RFC 4180), as --mount takes them."""
    found: list[str] = []
    position = 0
    while True:
        if text.startswith('"', position):
            field, position = _csv_quoted(text, position + 1)
        else:
            stop = text.find(",", position)
            stop = len(text) if stop < 0 else stop
            field, position = text[position:stop], stop
            if '"' in field:
                raise Fault('a quote in the middle of a field: quote the whole of it, or write ""')
        found.append(field)
        if position >= len(text):
            return found
        if text[position] != ",":
            raise Fault("text after the closing quote of a field", remedy="separate fields by ,")
        position += 1


def _csv_quoted(text: str, position: int) -> tuple[str, int]:
    parts: list[str] = []
    while True:
        stop = text.find('"', position)
        if stop < 0:
            raise Fault("a quoted field is not closed")
        parts.append(text[position:stop])
        if not text.startswith('""', stop):
            return "".join(parts), stop + 1
        parts.append('"')
        position = stop + 2


def boolean(name: str, value: str) -> bool:
    """A Go boolean: 1, t, T, true, True, TRUE and their opposites."""
    if value in ("1", "t", "T", "true", "True", "TRUE"):
        return True
    if value in ("0", "f", "F", "false", "False", "FALSE"):
        return False
    raise Fault(f"{name} is true or false, not {value!r}", at=value)


_DURATION = re.compile(
    r"(?:(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(?:ns|us|µs|μs|ms|s|m|h))+"
)
_DURATION_PART = re.compile(r"([0-9.]+)([a-zµμ]+)")
_NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6}
_NANOSECONDS |= {"s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def duration(name: str, value: str) -> int:
    """A Go duration (`1m30s`) in nanoseconds; 0, or at least one millisecond."""
    if value == "0":
        return 0
    if len(value) > 100 or not _DURATION.fullmatch(value):
        raise Fault(
            f"--{name}: {value[:60]!r} is not a duration",
            at=value[:60],
            why="it is a number with a unit: ns, us, ms, s, m or h",
            remedy="write for example 30s or 1m30s",
        )
    total = sum(_nanoseconds(n, unit) for n, unit in _DURATION_PART.findall(value))
    if total and total < 10**6:
        raise Fault(f"--{name} is less than one millisecond", at=value)
    if total >= 2**63:
        raise Fault(f"--{name} is longer than 292 years", at=value)
    return total


def _nanoseconds(number: str, unit: str) -> int:
    whole, _, part = number.partition(".")
    scale = _NANOSECONDS[unit]
    return int(whole or 0) * scale + int(part or 0) * scale // int(10 ** len(part))


_SIZE = re.compile(r"([0-9]{1,15})(?:\.[0-9]{1,6})? ?(?:([kmgtp]?)i?b?)", re.IGNORECASE)


def size(value: str) -> int:
    """A size as Docker writes them (`512m`, `1.5g`), in bytes, powers of 1024."""
    found = _SIZE.fullmatch(value)
    if not found:
        raise Fault(f"{value!r} is not a size", at=value, remedy="write for example 64m or 1g")
    number = float(value[: found.start(2)].strip())
    power = " kmgtp".index(found[2].lower() or " ")
    return int(number * (1 << 10 * power))
