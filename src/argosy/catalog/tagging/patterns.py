"""Patterns of names, as Harbor's rules have them (doublestar).

    *   any characters but /        **   any components, also none (a component of its own)
    ?   one character but /         {a,b}  either            [a-z] [!a-z]  one of these

`team/**` is `team` and everything below it. Matching takes time in proportion to the
lengths, whatever the pattern: people of different projects write them for one server.
"""

import fnmatch
import math
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from argosy.errors import UsageError

_LONGEST: Final = 255
_MOST: Final = 64  # patterns that braces may stand for
_MOST_PARTS: Final = 128  # of all of them: each is tried at each part of a name
_ANY: Final = "**"
_BRACES: Final = re.compile(r"\{([^{}]*)\}")


class PatternInvalid(UsageError):
    """A pattern of names cannot be read."""

    code = "invalid-pattern"


def check(pattern: str) -> str:
    """The pattern itself, if it can be read; PatternInvalid says what is wrong with it."""
    _compiled(pattern)
    return pattern


@lru_cache(maxsize=65536)
def matches(pattern: str, name: str) -> bool:
    """Whether a name fits a pattern; PatternInvalid as `check`."""
    parts = name.split("/")
    return any(_fits(alternative, parts) for alternative in _compiled(pattern))


_Component = re.Pattern[str] | None  # none: `**`


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> Sequence[Sequence[_Component]]:
    if not pattern or len(pattern) > _LONGEST or not pattern.isprintable():
        raise _bad(pattern, f"a pattern has 1 to {_LONGEST} visible characters")
    found: list[Sequence[_Component]] = []
    length = 0
    for plain in _expanded(pattern):
        parts = plain.split("/")
        if "" in parts:
            raise _bad(pattern, "there is nothing before, between or after a /")
        if any(_ANY in part and part != _ANY for part in parts):
            raise _bad(pattern, "** stands between slashes alone")
        length += len(parts)
        if length > _MOST_PARTS:
            raise _bad(pattern, f"with its braces spelled out it has more than {_MOST_PARTS} parts")
        found.append([None if part == _ANY else _component(pattern, part) for part in parts])
    return found


def _component(pattern: str, part: str) -> re.Pattern[str]:
    # fnmatch's expressions have atomic groups: they do not backtrack.
    try:
        return re.compile(fnmatch.translate(part))
    except re.error as e:
        raise _bad(pattern, f"{part!r}: {e.msg}") from e


def _expanded(pattern: str) -> Iterator[str]:
    """The patterns that one with braces stands for; braces do not nest."""
    # Before any of them is made: a few braces stand for more than there is memory.
    if math.prod(inner.count(",") + 1 for inner in _BRACES.findall(pattern)) > _MOST:
        raise _bad(pattern, f"its braces stand for more than {_MOST} patterns")
    head, brace, rest = pattern.partition("{")
    inner, closing, tail = rest.partition("}")
    if "}" in head or (brace and not closing) or "{" in inner:
        raise _bad(pattern, "braces come in pairs, and not in one another")
    if not brace:
        yield pattern
        return
    tails = list(_expanded(tail)) if tail else [""]
    for choice in inner.split(","):
        for following in tails:
            yield f"{head}{choice}{following}"


def _fits(pattern: Sequence[_Component], parts: Sequence[str]) -> bool:
    """Whether components fit: one after the other, which places of the name they lead to."""
    reached = {0}  # i: the pattern so far fits parts[:i]
    for component in pattern:
        if component is None:
            reached = set(range(min(reached), len(parts) + 1))
        else:
            reached = {i + 1 for i in reached if i < len(parts) and component.match(parts[i])}
        if not reached:
            return False
    return len(parts) in reached


def _bad(pattern: str, why: str) -> PatternInvalid:
    return PatternInvalid(
        f"{pattern[:300]!r} is not a pattern of names",
        why=why,
        remedy="write a name, with * for any characters in a component and ** for any components:"
        " team/app-*, team/**",
    )
