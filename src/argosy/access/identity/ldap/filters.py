"""Search filters with blanks to fill in (RFC 4515), such as `(&(objectClass=person)(uid={name}))`.

A template is parsed once, before anybody's name is near it; what is filled in goes into the
values of the tree, never into text that is parsed. So no name can change what is asked.
"""

import re
from collections.abc import Mapping
from typing import Final

from argosy.access.identity.ldap import ber
from argosy.errors import ConfigError
from argosy.values import frozen

_DEEPEST: Final = 50
_ATTRIBUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*(;[A-Za-z0-9-]+)*|[0-9]+(\.[0-9]+)+")
_RULE: Final = re.compile(
    r"(?P<attr>[^:]*)(?P<dn>:dn)?(:(?P<rule>[A-Za-z][A-Za-z0-9-]*|[0-9]+(\.[0-9]+)*))?"
)
_COMPARISONS: Final = {">": 0xA5, "<": 0xA6, "~": 0xA8}
_BLANK: Final = re.compile(r"\{([a-z]+)\}")
_ESCAPE: Final = re.compile(rb"\\([0-9A-Fa-f]{2})")

Values = Mapping[str, str]


@frozen
class Piece:
    """Part of a value: bytes as they are, or a blank with its name."""

    fixed: bytes = b""
    blank: str = ""


Value = tuple[Piece, ...]


@frozen
class Comparison:
    """One comparison; `starred` is what lies between asterisks, else the value is whole."""

    tag: int
    attribute: str
    value: Value = ()
    starred: tuple[Value, ...] = ()
    rule: str = ""
    dn: bool = False


@frozen
class Group:
    """Several filters joined by and (0xA0), or (0xA1), or one that must not hold (0xA2)."""

    tag: int
    inner: tuple["Filter", ...]


Filter = Comparison | Group


def parse(text: str, blanks: frozenset[str]) -> Filter:
    """The filter; ConfigError where it is none, or has a blank that nothing fills."""
    parser = _Parser(text, blanks)
    found = parser.filter(0)
    parser.end()
    return found


def encode(wanted: Filter, values: Values) -> bytes | None:
    """The filter as LDAP sends it; None when nothing is left of it.

    A test with a blank that `values` lacks is left out, as is what joins nothing else.
    """
    if isinstance(wanted, Comparison):
        return _comparison(wanted, values)
    inner = [encode(each, values) for each in wanted.inner]
    present = [each for each in inner if each is not None]
    if not present or (wanted.tag != 0xA1 and len(present) < len(inner)):
        return None
    return ber.wrap(wanted.tag, *present)


def any_of(filters: list[bytes]) -> bytes:
    """A filter that holds where one of these (encoded) does."""
    return filters[0] if len(filters) == 1 else ber.wrap(0xA1, *filters)


def _filled(value: Value, values: Values) -> bytes | None:
    parts = [values.get(piece.blank) if piece.blank else piece.fixed for piece in value]
    if any(part is None for part in parts):
        return None
    return b"".join(p.encode() if isinstance(p, str) else p for p in parts if p is not None)


def _comparison(test: Comparison, values: Values) -> bytes | None:
    if test.tag == 0x87:
        return ber.octets(test.attribute, 0x87)
    if test.tag == 0xA4:
        return _substrings(test, values)
    if (value := _filled(test.value, values)) is None:
        return None
    if test.tag != 0xA9:
        return ber.wrap(test.tag, ber.octets(test.attribute), ber.octets(value))
    parts = [ber.octets(test.rule, 0x81)] if test.rule else []
    parts += [ber.octets(test.attribute, 0x82)] if test.attribute else []
    parts += [ber.octets(value, 0x83)]
    parts += [ber.boolean(True, 0x84)] if test.dn else []
    return ber.wrap(0xA9, *parts)


def _substrings(test: Comparison, values: Values) -> bytes | None:
    pieces = []
    last = len(test.starred) - 1
    for place, value in enumerate(test.starred):
        if (filled := _filled(value, values)) is None:
            return None
        if filled:
            pieces.append(
                ber.octets(filled, 0x80 if place == 0 else 0x82 if place == last else 0x81)
            )
    return ber.wrap(0xA4, ber.octets(test.attribute), ber.wrap(ber.SEQUENCE, *pieces))


class _Parser:
    def __init__(self, text: str, blanks: frozenset[str]) -> None:
        self._text, self._blanks = text, blanks
        self._at = 0

    def filter(self, depth: int) -> Filter:
        if depth > _DEEPEST:
            raise self._off("it is nested too deeply")
        self._expect("(")
        mark = self._text[self._at : self._at + 1]
        found = self._group(mark, depth) if mark and mark in "&|!" else self._item()
        self._expect(")")
        return found

    def end(self) -> None:
        if self._next() and self._at != len(self._text):
            raise self._off("more follows its closing parenthesis")

    def _group(self, mark: str, depth: int) -> Group:
        self._at += 1
        inner = []
        while self._next() == "(":
            inner.append(self.filter(depth + 1))
        if not inner or (mark == "!" and len(inner) > 1):
            raise self._off(f"({mark} has the wrong number of filters in it")
        return Group({"&": 0xA0, "|": 0xA1, "!": 0xA2}[mark], tuple(inner))

    def _item(self) -> Comparison:
        until = self._text.find(")", self._at)
        left, equals, right = self._text[self._at : max(until, self._at)].partition("=")
        if until < 0 or not equals:
            raise self._off("a filter is (attribute=value)")
        if "(" in right:
            raise self._off("a parenthesis in a value is written \\28")
        self._at = until
        if left.endswith(":"):
            return self._extensible(left[:-1], right)
        if left[-1:] in _COMPARISONS:
            return Comparison(
                _COMPARISONS[left[-1]], self._attribute(left[:-1]), self._value(right)
            )
        name = self._attribute(left)
        if right == "*":
            return Comparison(0x87, name)
        if "*" in right:
            if not right.strip("*"):
                raise self._off("a presence test is a single *")
            return Comparison(0xA4, name, starred=tuple(self._value(p) for p in right.split("*")))
        return Comparison(0xA3, name, self._value(right))

    def _extensible(self, left: str, right: str) -> Comparison:
        match = _RULE.fullmatch(left)
        if not match or not (match["attr"] or match["rule"]):
            raise self._off(f"{left!r} is no attribute with a matching rule")
        name = self._attribute(match["attr"]) if match["attr"] else ""
        value = self._value(right)
        return Comparison(0xA9, name, value, rule=match["rule"] or "", dn=bool(match["dn"]))

    def _attribute(self, text: str) -> str:
        if not _ATTRIBUTE.fullmatch(text):
            raise self._off(f"{text!r} is no name of an attribute")
        return text

    def _value(self, text: str) -> Value:
        pieces: list[Piece] = []
        at = 0
        for blank in _BLANK.finditer(text):
            if blank[1] not in self._blanks:
                known = ", ".join(f"{{{name}}}" for name in sorted(self._blanks))
                raise self._off(f"nothing fills {blank[0]}; there is {known}")
            pieces += [Piece(self._fixed(text[at : blank.start()])), Piece(blank=blank[1])]
            at = blank.end()
        return (*pieces, Piece(self._fixed(text[at:])))

    def _fixed(self, text: str) -> bytes:
        raw = text.encode()
        if raw.count(b"\\") != len(_ESCAPE.findall(raw)) or b"\0" in raw:
            raise self._off("a backslash begins two hexadecimal digits, as in \\2a")
        return _ESCAPE.sub(lambda found: bytes((int(found[1], 16),)), raw)

    def _expect(self, sign: str) -> None:
        if self._text[self._at : self._at + 1] != sign:
            raise self._off(f"there is no {sign!r}")
        self._at += 1

    def _next(self) -> str:
        """The next sign after blanks, which a long filter in a file has between its parts."""
        while self._text[self._at : self._at + 1].isspace():
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _off(self, why: str) -> ConfigError:
        return ConfigError(
            f"{self._text!r} is no LDAP filter",
            why=f"{why} (at character {self._at + 1})",
            remedy="write it as ldapsearch takes it, with {name} where the user's name belongs",
        )
