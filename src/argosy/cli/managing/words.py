"""Arguments of the management verbs that need reading: amounts, limits, times from now."""

import argparse
from typing import Any

from argosy import settings
from argosy.settings import duration

NONE = ("none", "unlimited", "-1")


def amount(text: str) -> int | None:
    """Bytes, as `settings.amount` reads them; None for `none`."""
    if text.lower() in NONE:
        return None
    try:
        return settings.amount(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"{e}, nor `none`") from e


def number(text: str) -> int | None:
    """A whole number from 0; None for `none`."""
    if text.lower() in NONE:
        return None
    if text.isdecimal():
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor `none`")


def days(text: str) -> int:
    """A number of days: `90`, `90d`, `2160h`."""
    plain = f"{text}d" if text.isdecimal() else text
    try:
        found = round(duration(plain) / 86400)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from e
    if found < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is less than a day")
    return found


def given(**fields: Any) -> dict[str, Any]:
    """Those of the fields that a flag was given for (SUPPRESS leaves the others out as Ellipsis)."""
    return {name: value for name, value in fields.items() if value is not ...}


ROLES = ("limited-guest", "guest", "developer", "maintainer", "project-admin")


def pairs(texts: list[str]) -> dict[str, str]:
    """`name=value` words; UsageError names the one that is none."""
    from argosy.errors import UsageError

    found = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not name or not mark:
            raise UsageError(f"{text!r} is not of the form NAME=PATTERN")
        found[name] = value
    return found
