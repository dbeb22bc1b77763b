"""BER as LDAP uses it (RFC 4511 §5.1): definite lengths, tags below 31."""

from collections.abc import Iterator
from typing import Final

from argosy.errors import NetworkError

INTEGER: Final = 0x02
OCTETS: Final = 0x04
ENUM: Final = 0x0A
SEQUENCE: Final = 0x30
SET: Final = 0x31

_LONGEST_INTEGER: Final = 8  # bytes


class Malformed(NetworkError):
    """What came is not what LDAP looks like."""

    code = "ldap-malformed"


def wrap(tag: int, *parts: bytes) -> bytes:
    """An element: its tag, its length, and these parts one after the other."""
    size = sum(map(len, parts))
    if size < 0x80:
        return b"".join((bytes((tag, size)), *parts))
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return b"".join((bytes((tag, 0x80 | len(length))), length, *parts))


def integer(value: int, tag: int = INTEGER) -> bytes:
    """A whole number, or an enumerated one."""
    size = (value if value >= 0 else ~value).bit_length() // 8 + 1
    return wrap(tag, value.to_bytes(size, "big", signed=True))


def octets(value: str | bytes, tag: int = OCTETS) -> bytes:
    """A string."""
    return wrap(tag, value.encode() if isinstance(value, str) else value)


def boolean(value: bool, tag: int = 0x01) -> bytes:
    """Yes or no."""
    return wrap(tag, b"\xff" if value else b"\0")


class Reader:
    """Takes elements off the front of `data`; Malformed when they are not there."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def any(self) -> tuple[int, bytes]:
        """The next element, whatever it is: its tag and contents."""
        tag = self._bytes(1)[0]
        if tag & 0x1F == 0x1F:
            raise Malformed("the directory sent a tag that LDAP does not have")
        size = self._bytes(1)[0]
        if size >= 0x80:
            count = size & 0x7F
            if not 1 <= count <= 4:
                raise Malformed("the directory sent a length that LDAP does not have")
            size = int.from_bytes(self._bytes(count), "big")
        return tag, self._bytes(size)

    def take(self, tag: int) -> bytes:
        """The contents of the next element, which has this tag."""
        found, contents = self.any()
        if found != tag:
            raise Malformed(f"the directory sent tag {found:#x} where {tag:#x} belongs")
        return contents

    def number(self, tag: int = INTEGER) -> int:
        """The next element, a number."""
        contents = self.take(tag)
        if not 1 <= len(contents) <= _LONGEST_INTEGER:
            raise Malformed("the directory sent a number of no sensible size")
        return int.from_bytes(contents, "big", signed=True)

    def text(self, tag: int = OCTETS) -> str:
        """The next element, a string; what is no UTF-8 is replaced."""
        return self.take(tag).decode(errors="replace")

    def inner(self, tag: int) -> "Reader":
        """A reader of what is in the next element."""
        return Reader(self.take(tag))

    def each(self, tag: int) -> Iterator[bytes]:
        """The contents of all elements that are left, which have this tag."""
        while self:
            yield self.take(tag)

    def _bytes(self, count: int) -> bytes:
        found = self._data[self._at : self._at + count]
        if len(found) != count:
            raise Malformed("the directory sent an element that ends before its length")
        self._at += count
        return found
