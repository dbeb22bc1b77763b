"""Variables in words: `$x`, `${x:-word}` and the rest, by Docker's rules of quoting.

Source: Dockerfile reference, Environment replacement; BuildKit's frontend, shell/lex.go,
whose results are the norm here, its oddities included unless a comment says so. Every
form takes time linear in text and value: patterns never backtrack.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from argosy.build.dockerfile.source import Fault

Env = Mapping[str, str]

# Linux takes no environment string longer than this (MAX_ARG_STRLEN), and without a cap
# ENV A=$A$A, thirty times over, would fill the memory.
MAX_VALUE = 131_072
MAX_TEXT = 16 * 1024 * 1024  # of an expanded here-document
_MAX_DEPTH = 40
_MAX_PATTERN = 4096
_SPECIAL = "@*#?-$!"

_ANY = None  # in a pattern: one character, whatever it is


class Watched(dict[str, str]):
    """Variables that note which of them were asked for; what the build checks look at.

    `asked` are the names in any form, `missing` those of them that have no value. As with
    BuildKit, one that is asked for with a default is missing all the same: an ARG that
    was forgotten is what hides behind a default most often.
    """

    def __init__(self, values: Env) -> None:
        super().__init__(values)
        self.asked: set[str] = set()
        self.missing: set[str] = set()

    def forget(self) -> None:
        """Begin anew."""
        self.asked = set()
        self.missing = set()

    def ask(self, name: str) -> None:
        """Note a name."""
        self.asked.add(name)
        if name not in self:
            self.missing.add(name)


def expand(word: str, env: Env, escape: str = "\\") -> str:
    """The word with its variables replaced and its quotes removed."""
    return _Scanner(word, env, escape).until("").text()


def expand_words(word: str, env: Env, escape: str = "\\") -> list[str]:
    """As expand, then split at the blanks that are not quoted; for EXPOSE."""
    return _Scanner(word, env, escape).until("").words()


def expand_document(text: str, env: Env) -> str:
    """A here-document with its variables replaced: quotes mean nothing in it."""
    return _Scanner(text, env, "\\", quotes=False, limit=MAX_TEXT).until("").text()


def unquote(word: str) -> str:
    """The word with its quotes removed and its variables left alone."""
    return _Scanner(word, {}, "\\", dollars=False).until("").text()


@dataclass(slots=True)
class _Pieces:
    """A word under construction: pieces, and whether blanks in a piece split words."""

    limit: int
    found: list[tuple[str, bool]] = field(default_factory=list)
    length: int = 0

    def add(self, piece: str, *, splits: bool) -> None:
        self.length += len(piece)
        if self.length > self.limit:
            raise Fault(f"a value grows longer than {self.limit} bytes by its variables")
        self.found.append((piece, splits))

    def text(self) -> str:
        return "".join(piece for piece, _ in self.found)

    def words(self) -> list[str]:
        words: list[str] = []
        current: list[str] = []
        for piece, splits in self.found:
            if not splits:
                current.append(piece)
                continue
            for part in re.split(r"(\s+)", piece):
                if part and part.isspace():
                    words.append("".join(current))
                    current = []
                else:
                    current.append(part)
        words.append("".join(current))
        return [w for w in words if w]


@dataclass(slots=True)
class _Scanner:
    """Reads one word from left to right."""

    source: str
    env: Env
    escape: str
    quotes: bool = True
    dollars: bool = True
    limit: int = MAX_VALUE
    position: int = 0
    depth: int = 0

    def until(self, stop: str, *, raw: bool = False) -> _Pieces:
        """Everything up to `stop` (`` is the end), which is passed; `raw` keeps the escapes."""
        pieces = _Pieces(max(self.limit, len(self.source)))
        special = {stop, self.escape}
        special |= {"$"} if self.dollars else set()
        special |= {"'", '"'} if self.quotes else set()
        while self.position < len(self.source):
            char = self.source[self.position]
            if char not in special:
                pieces.add(self._plain(special), splits=True)
                continue
            if char == stop:
                self.position += 1
                return pieces
            if char == "$":
                pieces.add(self._dollar(), splits=True)
            elif char == self.escape:
                pieces.add(self._escaped(raw=raw), splits=False)
            else:
                pieces.add(self._quoted(char, raw=raw), splits=False)
        if stop:
            raise self._missing(stop)
        return pieces

    def _plain(self, special: set[str]) -> str:
        start = self.position
        while self.position < len(self.source) and self.source[self.position] not in special:
            self.position += 1
        return self.source[start : self.position]

    def _next(self) -> str:
        """The character here, passed; `` at the end."""
        char = self.source[self.position : self.position + 1]
        self.position += len(char)
        return char

    def _escaped(self, *, raw: bool) -> str:
        escape, char = self._next(), self._next()
        return escape + char if raw else char

    def _quoted(self, quote: str, *, raw: bool) -> str:
        return self._single() if quote == "'" else self._double(raw=raw)

    def _single(self) -> str:
        stop = self.source.find("'", self.position + 1)
        if stop < 0:
            raise self._missing("'")
        text = self.source[self.position + 1 : stop]
        self.position = stop + 1
        return text

    def _double(self, *, raw: bool) -> str:
        self.position += 1
        parts: list[str] = []
        while char := self._next():
            if char == '"':
                return "".join(parts)
            if char == "$" and self.dollars:
                self.position -= 1
                parts.append(self._dollar())
            elif char == self.escape:
                parts.append(self._escaped_in_double(raw=raw))
            else:
                parts.append(char)
        raise self._missing('"')

    def _escaped_in_double(self, *, raw: bool) -> str:
        # Only these can be escaped here; before anything else the escape stays.
        follows = self.source[self.position : self.position + 1]
        if follows not in ('"', "$", self.escape):
            return self.escape if follows else ""
        self.position += 1
        return self.escape + follows if raw else follows

    def _dollar(self) -> str:
        self.position += 1
        if not self.source.startswith("{", self.position):
            name = self._name()
            return self._value(name) if name else "$"
        self.position += 1
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise Fault(f"variables are nested more than {_MAX_DEPTH} deep", at="${")
        value = self._braced()
        self.depth -= 1
        return value

    def _value(self, name: str) -> str:
        return self._lookup(name) or ""

    def _lookup(self, name: str) -> str | None:
        if isinstance(self.env, Watched):
            self.env.ask(name)
        return self.env.get(name)

    def _name(self) -> str:
        start, source = self.position, self.source
        if start < len(source) and source[start] in _SPECIAL:
            self.position += 1
        elif start < len(source) and source[start].isdigit():
            while self.position < len(source) and source[self.position].isdigit():
                self.position += 1
        else:
            while self.position < len(source) and _in_name(source[self.position]):
                self.position += 1
        return source[start : self.position]

    def _braced(self) -> str:
        """What follows `${`, up to its `}`."""
        if self.position >= len(self.source):
            raise self._missing("}")
        name = "" if self.source[self.position] in "{}:" else self._name()
        if not name:
            raise self._bad("no variable's name follows ${")
        operator = self._next()
        if operator == "}":
            return self._value(name)
        if not operator:
            raise self._missing("}")
        if operator in "#%":
            return self._trim(name, operator)
        if operator == "/":
            return self._replace(name)
        empty_is_unset = operator == ":"
        operator = self._next() if empty_is_unset else operator
        if operator not in ("-", "+", "?"):
            shown = (":" if empty_is_unset else "") + operator
            raise self._bad(f"${{{name}{shown}… is no form of substitution known here")
        return self._conditional(name, operator, empty_is_unset=empty_is_unset)

    def _conditional(self, name: str, operator: str, *, empty_is_unset: bool) -> str:
        word = self.until("}").text()
        value = self._lookup(name)
        missing = value is None or (empty_is_unset and not value)
        if operator == "-":
            return word if missing else value or ""
        if operator == "+":
            return "" if missing else word
        if missing:
            default = "is empty" if value is not None else "is not set"
            raise Fault(
                f"{name}: {word or default}",
                at=f"${{{name}",
                why=f"the Dockerfile asks for a value of {name} at this place",
                remedy=f"pass --build-arg {name}=VALUE (ARG {name} must be declared), or set it",
            )
        return value or ""

    def _trim(self, name: str, operator: str) -> str:
        longest = self.source.startswith(operator, self.position)
        self.position += longest
        tokens = _tokens(self.until("}", raw=True).text())
        value = self._value(name)
        if operator == "#":
            return value[_prefix(tokens, value, longest=longest) :]
        return value[::-1][_prefix(tokens[::-1], value[::-1], longest=longest) :][::-1]

    def _replace(self, name: str) -> str:
        everywhere = self.source.startswith("/", self.position)
        self.position += everywhere
        tokens = _tokens(self.until("/", raw=True).text())
        replacement = self.until("}", raw=True).text()
        return _replaced(self._value(name), tokens, replacement, everywhere=everywhere)

    def _missing(self, stop: str) -> Fault:
        what = {"'": "single quote", '"': "double quote"}.get(stop, stop)
        return Fault(
            f"a closing {what} is missing in {self.source[:80]}",
            at=self.source if len(self.source) < 80 else self.source[:20],
            remedy=f"close it, or write {self.escape} before the opening character to mean itself",
        )

    def _bad(self, why: str) -> Fault:
        return Fault(
            f"bad substitution in {self.source[:80]}",
            at="${",
            why=why,
            remedy="see ${x} ${x:-word} ${x:+word} ${x:?text} ${x#glob} ${x%glob} ${x/glob/text}",
        )


def _in_name(char: str) -> bool:
    return char.isalpha() or char.isdigit() or char == "_"


# Patterns: literal characters, `?` and `*`, no [classes]; as segments between the stars.

Tokens = list[str | None]  # "*" is told from an escaped star by being _STAR
_STAR = "**"


def _tokens(pattern: str) -> Tokens:
    if len(pattern) > _MAX_PATTERN:
        raise Fault(f"a pattern is longer than {_MAX_PATTERN} characters")
    tokens: Tokens = []
    chars = iter(pattern)
    for char in chars:
        if char == "*":
            tokens.append(_STAR)
        elif char == "?":
            tokens.append(_ANY)
        elif char == "\\":
            follows = next(chars, "")
            if not follows or follows not in "*?\\}/":
                raise Fault(
                    f"\\{follows} is no escape of a pattern",
                    at=pattern,
                    remedy=r"only \* \? \\ \} and \/ can be escaped in a pattern",
                )
            tokens.append(follows)
        else:
            tokens.append(char)
    return tokens


def _finder(segment: Tokens) -> Callable[[str, int], int]:
    """Where the segment, which has no star, first occurs at or after a position; -1 if nowhere."""
    if _ANY not in segment:
        literal = "".join(t for t in segment if t is not None)
        return lambda text, start: text.find(literal, start)
    fixed = "".join("." if t is _ANY else re.escape(t) for t in segment)
    search = re.compile(fixed, re.DOTALL).search  # of fixed length: nothing to backtrack

    def find(text: str, start: int) -> int:
        found = search(text, start)
        return found.start() if found else -1

    return find


def _segments(tokens: Tokens) -> list[Tokens]:
    segments: list[Tokens] = [[]]
    for token in tokens:
        if token is _STAR:
            segments.append([])
        else:
            segments[-1].append(token)
    return segments


def _prefix(tokens: Tokens, text: str, *, longest: bool) -> int:
    """The length of the shortest or longest prefix of `text` the pattern matches; 0 if none."""
    first, *rest = _segments(tokens)
    if len(first) > len(text) or _finder(first)(text[: len(first)], 0) != 0:
        return 0
    return max(0, _rest(rest, text, len(first), longest=longest))


def _rest(segments: list[Tokens], text: str, end: int, *, longest: bool) -> int:
    """Where a match that has come to `end` ends after the other segments; -1 if it fails.

    Each at its first place leaves the most room for the others; only the last one
    decides between shortest and longest.
    """
    for number, segment in enumerate(segments):
        last = number == len(segments) - 1
        if last and longest:
            return _last_end(segment, text, end)
        found = _finder(segment)(text, end)
        if found < 0:
            return -1
        end = found + len(segment)
    return end


def _last_end(segment: Tokens, text: str, start: int) -> int:
    """Where the last occurrence of the segment at or after `start` ends; -1 if there is none."""
    found = _finder(segment[::-1])(text[start:][::-1], 0)
    return -1 if found < 0 else len(text) - found


def _replaced(text: str, tokens: Tokens, replacement: str, *, everywhere: bool) -> str:
    if not tokens:
        return text  # as in a shell; BuildKit would put the replacement between all characters
    first, *rest = _segments(tokens)
    find = _finder(first)
    parts: list[str] = []
    length, position = 0, 0
    while True:
        start = find(text, position)
        end = -1 if start < 0 else _rest(rest, text, start + len(first), longest=True)
        if end < 0:
            break
        parts += text[position:start], replacement
        length += start - position + len(replacement)
        if length > MAX_VALUE:
            raise Fault(f"a value grows longer than {MAX_VALUE} bytes by its variables")
        position = end
        if not everywhere or position >= len(text):
            break
    return "".join(parts) + text[position:]
