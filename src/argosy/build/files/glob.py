r"""One element of a pattern as Go's filepath.Match has it: `*`, `?`, `[a-z]`, `\\x`.

The one reading of it: sources of COPY, .dockerignore and --exclude all come here. What
is malformed is a BadPattern wherever it stands; Go tells some of it only for some names, and
moby/patternmatcher only when it first matches. There `^` outside of a class is no literal
beside a wildcard, by mistake; here it is.
"""

import re

MANY = "[^/]*"
WILD = re.compile(r"[*?\[\\]")


class BadPattern(ValueError):
    """A pattern cannot be read: which, and why."""

    def __init__(self, text: str, why: str) -> None:
        super().__init__(f"{text!r} is not a pattern")
        self.text = text
        self.why = why

    remedy = "write a backslash before a character that stands for itself"


def element(text: str) -> re.Pattern[str]:
    """What tells, with fullmatch, whether one name matches a pattern without slashes."""
    parts: list[str] = []
    position = 0
    while position < len(text):
        found, position = part(text, position)
        parts.append(found)
    return re.compile("".join(parts), re.DOTALL)


def part(text: str, position: int) -> tuple[str, int]:
    """One part as a regular expression, and where the next one begins."""
    char = text[position]
    if char == "*":
        return MANY, position + 1
    if char == "?":
        return "[^/]", position + 1
    if char == "[":
        return _class(text, position + 1)
    if char == "\\":
        if position + 1 == len(text):
            raise BadPattern(text, "it ends with a backslash that escapes nothing")
        return re.escape(text[position + 1]), position + 2
    return re.escape(char), position + 1


def _class(text: str, position: int) -> tuple[str, int]:
    """`[a-z]`, `[^a-z]`; as in Go, an empty class, or a `-` with no end, is an error."""
    negated = text.startswith("^", position)
    position += negated
    ranges: list[str] = []
    while not (text.startswith("]", position) and ranges):
        low, position = _class_char(text, position)
        high = low
        if text.startswith("-", position):
            high, position = _class_char(text, position + 1)
        if low > high:
            raise BadPattern(text, f"the range {low}-{high} runs backwards")
        ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    return f"[{'^' * negated}{''.join(ranges)}]", position + 1


def _class_char(text: str, position: int) -> tuple[str, int]:
    if text.startswith("\\", position):
        position += 1
    elif text.startswith(("-", "]"), position):
        raise BadPattern(text, f"{text[position]!r} must be escaped in a class of characters")
    if position >= len(text):
        raise BadPattern(text, "a class of characters is not closed by ]")
    return text[position], position + 1
