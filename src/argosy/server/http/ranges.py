"""Byte ranges (RFC 9110 §14): which part of a representation a client asks for."""

import re

from argosy.values import frozen

_B = r"[ \t]*+"  # blanks, possessive: they are gone through once, whatever follows
_ONE = re.compile(rf"bytes{_B}={_B}([0-9]{{0,19}}+){_B}-{_B}([0-9]{{0,19}}+){_B}", re.IGNORECASE)


@frozen
class ByteRange:
    """`length` bytes from `start`; never empty, never past the end."""

    start: int
    length: int

    def content_range(self, size: int) -> str:
        """The Content-Range field of the 206 that carries it."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{size}"


class RangeNotSatisfiable(ValueError):
    """Nothing of the representation lies in the range: answer 416 with `content_range`."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the range lies outside of the {size} bytes")
        self.content_range = f"bytes */{size}"


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """The one range asked for, None to send the whole; RangeNotSatisfiable when outside.

    Several ranges, other units and what cannot be read mean the whole, as the
    RFC allows: a Range field may always be ignored.
    """
    found = _ONE.fullmatch(header) if header else None
    if found is None:
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:
        return _suffix(int(last), size)
    start = int(first)
    end = int(last) if last else size - 1
    if last and end < start:
        return None
    if start >= size:
        raise RangeNotSatisfiable(size)
    return ByteRange(start, min(end, size - 1) - start + 1)


def _suffix(length: int, size: int) -> ByteRange:
    if length == 0 or size == 0:
        raise RangeNotSatisfiable(size)
    length = min(length, size)
    return ByteRange(size - length, length)
