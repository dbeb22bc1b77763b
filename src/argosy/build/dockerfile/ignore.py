""".dockerignore: which paths of a context are left out.

Patterns are Go's `filepath.Match` with `**` added; the last one that matches a path, or
a directory above it, decides. Source: moby/patternmatcher, and its ignorefile package.

Give `Matcher.ignores` paths relative to the context, with slashes, without `./`.
"""

import posixpath
import re
from collections.abc import Callable, Iterable

from argosy.build.dockerfile.source import Fault, Source, SourceRange
from argosy.build.files import glob
from argosy.values import frozen

MAX_BYTES = 1024 * 1024


@frozen
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
    try:
        _parts(cleaned)  # refuse now what could not be matched later
    except glob.BadPattern as e:
        raise Fault(str(e), at=e.text, why=e.why, remedy=e.remedy) from e
    return Pattern(cleaned or ".", keeps, number)


class Matcher:
    """Patterns made ready once, and asked for every path."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self.patterns = tuple(p for p in patterns if p.text != ".")
        self._rules = [(_rule(p.text), p.keeps) for p in self.patterns]
        self._fixed = [_fixed_part(p.text) for p in self.patterns if p.keeps]

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def ignores(self, path: str) -> bool:
        """Whether the path is left out: by itself, or because a directory above it is."""
        if path in ("", "."):
            return False
        ignored = False
        for matches, keeps in self._rules:
            if keeps == ignored and matches(path):
                ignored = not keeps
        return ignored

    def may_skip(self, directory: str) -> bool:
        """Whether the directory is left out with all that is in it, so need not be walked."""
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


# A pattern as parts: each a regular expression for one character, or one of these three.
_MANY = glob.MANY
_MANY_DIRS = "(?:.*/)?"
_REST = ".*"
_LOOPS = frozenset([_MANY, _MANY_DIRS, _REST])
_WILD = re.compile(r"[*?\[\]\\]")


def _rule(text: str) -> Callable[[str], object]:
    """What tells whether a path, or a directory above it, matches a cleaned pattern."""
    parts = _parts(text)
    if _may_explode(parts):
        return _Automaton(parts)
    # `(?:/|\Z)`: a match may end at any directory on the way down, which takes all below it.
    return re.compile(f"(?:{''.join(parts)})(?:/|\\Z)", re.DOTALL).match


def _may_explode(parts: list[str]) -> bool:
    """Whether a backtracking search would take more than quadratic time."""
    components = "\n".join("\t" if p in ("/", _MANY_DIRS) else p for p in parts).split("\t")
    return parts.count(_MANY_DIRS) > 2 or any(c.split("\n").count(_MANY) > 2 for c in components)


class _Automaton:
    """The same as the regular expression, in time linear in the path: all ways at once.

    A bit per part says that the parts before it have matched; the bit after the last
    one, that all have.
    """

    def __init__(self, parts: list[str]) -> None:
        self._singles = [
            (1 << n, re.compile(p, re.DOTALL)) for n, p in enumerate(parts) if p not in _LOOPS
        ]
        self._many = _bits(parts, _MANY)
        self._dirs = _bits(parts, _MANY_DIRS)
        self._rest = _bits(parts, _REST)
        self._accepts: dict[str, int] = {}
        self._all = 1 << len(parts)

    def __call__(self, path: str) -> bool:
        active, inside = self._closed(1), 0
        for char in path:
            if char == "/" and active & self._all:
                return True
            inside |= active & self._dirs
            after = (active & self._accepted(char)) << 1 | active & self._rest
            after |= inside << 1 if char == "/" else active & self._many
            active = self._closed(after)
        return bool(active & self._all)

    def _closed(self, active: int) -> int:
        """Loops may be left without a character; active bits of `_dirs` have only been entered."""
        while new := (active & (self._many | self._dirs | self._rest)) << 1 & ~active:
            active |= new
        return active

    def _accepted(self, char: str) -> int:
        if char not in self._accepts:
            self._accepts[char] = sum(bit for bit, single in self._singles if single.match(char))
        return self._accepts[char]


def _bits(parts: list[str], wanted: str) -> int:
    return sum(1 << n for n, part in enumerate(parts) if part == wanted)


def _parts(text: str) -> list[str]:
    """A cleaned pattern as parts; Fault if it is malformed."""
    if text.startswith("**") and not text.startswith("**/") and not _WILD.search(text, 2):
        return [_REST, *map(re.escape, text[2:])]  # `**x` alone: any end in x, in a name too
    parts: list[str] = []
    position = 0
    while position < len(text):
        part, position = _part(text, position)
        parts.append(part)
    return parts


def _part(text: str, position: int) -> tuple[str, int]:
    if text.startswith("**", position):
        return _stars(text, position)
    return glob.part(text, position)


def _stars(text: str, position: int) -> tuple[str, int]:
    position += 2
    while text.startswith(("/**", "**"), position):  # a run of them says no more than one
        position += 3 if text[position] == "/" else 2
    if text.startswith("/", position):
        position += 1
    return (_MANY_DIRS if position < len(text) else _REST), position
