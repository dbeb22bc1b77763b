"""What the value of a setting can be, and how it is read from a file and from the environment."""

from collections.abc import Callable
from typing import Any, Final

from argosy import settings
from argosy.values import frozen


@frozen(kw_only=True)
class Kind:
    """A kind of value: `read` takes a text and raises ValueError; `native` are TOML types it takes too."""

    name: str
    read: Callable[[str], Any]
    native: tuple[type, ...] = ()

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
SIZE: Final = Kind(name="a size such as 64k or 2GiB", read=settings.size, native=(int,))
DURATION: Final = Kind(
    name="a duration such as 30s or 1h30m", read=settings.duration, native=(int, float)
)
WORDS: Final = _Words(name="a list of texts", read=_words, native=(list,))


def choice(*values: str) -> Kind:
    """One of these words."""

    def read(text: str) -> str:
        if text not in values:
            raise ValueError(f"{text!r} is none of {', '.join(values)}")
        return text

    return Kind(name="one of " + ", ".join(values), read=read)
