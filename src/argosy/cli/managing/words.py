"""Arguments of the management verbs that need reading: amounts, limits, times from now."""

import argparse
import re
from typing import Any

from argosy.settings import duration, size

NONE = ("none", "unlimited", "-1")


_DECIMAL = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp])b", re.IGNORECASE)


def amount(text: str) -> int | None:
    """Bytes: 10GB is 10^10 as it is shown again, 10GiB and 10g are binary; None for `none`."""
    if text.lower() in NONE:
        return None
    if found := _DECIMAL.fullmatch(text):
        return int(float(found[1]) * 1000 ** (" kmgtp".index(found[2].lower())))
    try:
        return size(text)
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
