"""What the value of a setting can be, and how it is read from a file and from the environment."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from argosy import settings
from argosy.values import frozen


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


@frozen(kw_only=True)
class Kind:
    """A kind of value: `read` takes a text and raises ValueError; `native` are TOML types it takes too."""

    name: str
    read: Callable[[str], Any]
    native: tuple[type, ...] = ()
    write: Callable[[Any], str] = _json  # as it stands in a settings file

    def take(self, value: object) -> Any:
        """The value as the program wants it; ValueError says what it should have been."""
        if isinstance(value, str):
            return self.read(value)
        # bool is an int in Python, and never one in a settings file.
        if isinstance(value, bool) and bool not in self.native:
            raise ValueError(f"{str(value).lower()} is not {self.name}")
        if isinstance(value, self.native):
            return tuple(value) if isinstance(value, list) else self.read(_text(value))
        raise ValueError(f"{_shown(value)} is not {self.name}")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(value: object) -> str:
    return "a table" if isinstance(value, dict) else repr(value)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError as e:
        raise ValueError(f"{text!r} is not a whole number") from e


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as e:
        raise ValueError(f"{text!r} is not a number") from e


def _share(text: str) -> float:
    found = _number(text)
    if not 0 <= found <= 1:
        raise ValueError(f"{text!r} is not between 0 and 1")
    return found


def _fitting(units: dict[str, float], value: float) -> str:
    """`"8MiB"`, `"1d"`: the largest unit that the value is a whole number of; else the number."""
    for unit, worth in units.items():
        if value and value % worth == 0:
            return json.dumps(f"{int(value // worth)}{unit}")
    return json.dumps(value)


def _sized(value: int) -> str:
    return _fitting({"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10}, value)


def _lasting(value: float) -> str:
    return _fitting({"d": 86400, "h": 3600, "m": 60, "s": 1}, value) if value else '"0s"'


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


class _Words(Kind):
    """A list: of texts in the file, with commas between in the environment."""

    def take(self, value: object) -> Any:
        if isinstance(value, list) and not all(isinstance(item, str) for item in value):
            raise ValueError(f"{value!r} is not {self.name}")
        return super().take(value)


TEXT: Final = Kind(name="a text", read=str)
WHOLE: Final = Kind(name="a whole number", read=_whole, native=(int,))
NUMBER: Final = Kind(name="a number", read=_number, native=(int, float))
SHARE: Final = Kind(name="a number between 0 and 1", read=_share, native=(int, float))
SWITCH: Final = Kind(name="true or false", read=settings.switch, native=(bool,))
SIZE: Final = Kind(
    name="a size such as 64k, 2GiB or 10GB", read=settings.amount, native=(int,), write=_sized
)
DURATION: Final = Kind(
    name="a duration such as 30s or 1h30m",
    read=settings.duration,
    native=(int, float),
    write=_lasting,
)
WORDS: Final = _Words(name="a list of texts", read=_words, native=(list,))


def at_least(least: int, kind: Kind) -> Kind:
    """A number, size or duration that is not below this."""

    def read(text: str) -> Any:
        found = kind.read(text)
        if not found >= least:  # NaN is below everything
            raise ValueError(f"{text!r} is less than {kind.write(least).strip(_QUOTE)}")
        return found

    return replace(kind, read=read)


_QUOTE: Final = '"'


def url(*schemes: str) -> Kind:
    """A URL of one of these schemes, or nothing."""
    known = " or ".join(f"{scheme}://" for scheme in schemes)

    def read(text: str) -> str:
        try:
            parts = urlsplit(text)
            there = parts.scheme in schemes and bool(parts.hostname or parts.path)
            _ = parts.port
        except ValueError:
            there = False
        if text and not there:  # without the text: a password may be in it
            raise ValueError(f"it is no URL that begins with {known}")
        return text

    return Kind(name="a URL", read=read)


def choice(*values: str) -> Kind:
    """One of these words."""

    def read(text: str) -> str:
        if text not in values:
            raise ValueError(f"{text!r} is none of {', '.join(values)}")
        return text

    return Kind(name="one of " + ", ".join(values), read=read)
