""".dockerignore: which paths of a context are left out.

Patterns are Go's `filepath.Match` with `**` added; the last one that matches a path, or
a directory above it, decides. Source: moby/patternmatcher, and its ignorefile package.

Give `Matcher.ignores` paths relative to the context, with slashes, without `./`.
"""

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from argosy.build.dockerfile.source import Fault, Source, SourceRange

MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line: a cleaned pattern; `keeps` if it began with `!`."""

    text: str
    keeps: bool
    line: int = 0


def parse(content: bytes, file: str = ".dockerignore") -> tuple[Pattern, ...]:
    """The patterns of an ignore file; DockerfileError for a pattern that cannot be read."""
    # Names of files need not be UTF-8: os.fsdecode gives them in the same form.
    text = content.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    source = Source(file, tuple(line.rstrip("\r") for line in text.split("\n")))
    if len(content) > MAX_BYTES:
        raise source.error(Fault(f"longer than {MAX_BYTES} bytes"), SourceRange(file))
    found: list[Pattern] = []
    for number, line in enumerate(source.lines, 1):
        if line.startswith("#") or not line.strip():
            continue
        try:
            found.append(read_pattern(line, number))
        except Fault as fault:
            raise source.error(fault, SourceRange(file, number, number)) from fault
    return tuple(found)


def patterns(lines: Iterable[str]) -> tuple[Pattern, ...]:
    """Patterns given one by one, as with --exclude; Fault for one that cannot be read."""
    return tuple(read_pattern(line) for line in lines if line.strip())


def read_pattern(line: str, number: int = 0) -> Pattern:
    """One pattern, cleaned: no slash at either end, no `.` and no `..` that can be resolved."""
    text = line.strip()
    keeps = text.startswith("!")
    text = text[1:].strip() if keeps else text
    if not text:
        raise Fault("`!` alone is no pattern", at="!", remedy="write what to keep: !keep/this")
    cleaned = posixpath.normpath(text)
    cleaned = ("/" + cleaned.lstrip("/") if cleaned[0] == "/" else cleaned).removeprefix("/")
    _expression(cleaned)  # refuse now what could not be matched later
    return Pattern(cleaned or ".", keeps, number)


class Matcher:
    """Patterns compiled to regular expressions, made once and asked for every path."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self.patterns = tuple(p for p in patterns if p.text != ".")
        self._rules = [(_compiled(p.text), p.keeps) for p in self.patterns]
        self._fixed = [_fixed_part(p.text) for p in self.patterns if p.keeps]
        self._only_ignores = not self._fixed
        # One expression is one call into C, however many patterns there are.
        self._any = re.compile("|".join(f"(?:{r.pattern})" for r, _ in self._rules), re.DOTALL)

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def ignores(self, path: str) -> bool:
        """Whether the path is left out: by itself, or because a directory above it is."""
        if not self._rules or path in ("", "."):
            return False
        if self._only_ignores:
            return self._any.match(path) is not None
        ignored = False
        for rule, keeps in self._rules:
            if keeps == ignored and rule.match(path):
                ignored = not keeps
        return ignored

    def may_skip(self, directory: str) -> bool:
        """Whether nothing below an ignored directory can be kept, so need not be walked."""
        if not self.ignores(directory):
            return False
        below = directory + "/"
        return not any(
            fixed.startswith(below) or (open_ended and below.startswith(fixed))
            for fixed, open_ended in self._fixed
        )


def _fixed_part(text: str) -> tuple[str, bool]:
    """The directories of a pattern before its first wildcard, and whether a wildcard follows."""
    wild = re.search(r"[*?\[\\]", text)
    if not wild:
        return text, False
    return text[: text.rfind("/", 0, wild.start()) + 1], True


def _compiled(text: str) -> re.Pattern[str]:
    # `(?:/|\\Z)`: a match may end at any directory on the way down, which takes all below it.
    return re.compile(f"(?:{_expression(text)})(?:/|\\Z)", re.DOTALL)


_WILD = re.compile(r"[*?\[\]\\]")
_MANY = "[^/]*"
_MANY_DIRS = "(?:.*/)?"


def _expression(text: str) -> str:
    """A regular expression for a cleaned pattern; Fault if it is malformed."""
    if text.startswith("**") and not text.startswith("**/") and not _WILD.search(text, 2):
        return ".*" + re.escape(text[2:])  # `**x` alone is any end in x, even of a longer name
    parts: list[str] = []
    since_star: int | None = None  # where in `parts` the last `*` of this component is
    position = 0
    while position < len(text):
        part, position = _part(text, position)
        if part == _MANY and since_star is not None:
            _settle(parts, since_star)
        if part == _MANY:
            since_star = len(parts)
        elif part in ("/", _MANY_DIRS, ".*"):
            since_star = None
        parts.append(part)
    return "".join(parts)


def _settle(parts: list[str], star: int) -> None:
    """Fix what follows an earlier `*` of the component at its first place.

    That leaves the most room for the next `*`, so it loses no match, and saves the
    backtracking that makes `*a*a*a*a*b` explode.
    """
    parts[star] = "(?>[^/]*?"
    parts.append(")")


def _part(text: str, position: int) -> tuple[str, int]:
    char = text[position]
    if char == "*":
        return _stars(text, position)
    if char == "?":
        return "[^/]", position + 1
    if char == "[":
        return _class(text, position + 1)
    if char == "\\":
        if position + 1 == len(text):
            raise _bad(text, "it ends with a backslash that escapes nothing")
        return re.escape(text[position + 1]), position + 2
    return re.escape(char), position + 1


def _stars(text: str, position: int) -> tuple[str, int]:
    if not text.startswith("**", position):
        return _MANY, position + 1
    position += 2
    while text.startswith(("/**", "**"), position):  # a run of them says no more than one
        position += 3 if text[position] == "/" else 2
    if text.startswith("/", position):
        position += 1
    return (_MANY_DIRS if position < len(text) else ".*"), position


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
            raise _bad(text, f"the range {low}-{high} runs backwards")
        ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    return f"[{'^' * negated}{''.join(ranges)}]", position + 1


def _class_char(text: str, position: int) -> tuple[str, int]:
    if text.startswith("\\", position):
        position += 1
    elif text.startswith(("-", "]"), position):
        raise _bad(text, f"{text[position]!r} must be escaped in a class of characters")
    if position >= len(text):
        raise _bad(text, "a class of characters is not closed by ]")
    return text[position], position + 1


def _bad(text: str, why: str) -> Fault:
    return Fault(
        f"{text!r} is not a pattern",
        at=text,
        why=why,
        remedy="write a backslash before a character that stands for itself",
    )
