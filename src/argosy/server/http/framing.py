"""Where a request's body ends: by its length, or chunk by chunk (RFC 9112 §6-§7).

A framing is fed what came from the network, in place: the payload is moved to
the front of the buffer, so that the sink gets large contiguous pieces
whatever sizes the client's chunks had.
"""

import re
from typing import Final, Protocol

from argosy.server.http.heads import BadRequest
from argosy.server.http.messages import PIECE

_MAX_LINE: Final = 1024
_MAX_TRAILERS: Final = 8 * 1024
_GLANCE: Final = 64
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15}+)(?:[ \t]*+;[^\x00-\x08\x0a-\x1f\x7f]*+)?")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[^\x00-\x08\x0a-\x1f\x7f]*+")


class Framing(Protocol):
    """Tells payload from framing; `rest` is what came after the end."""

    done: bool
    rest: bytes

    def want(self) -> int:
        """How many bytes may be read at most without passing the end by more than needed."""

    def feed(self, data: memoryview) -> int:
        """Take raw bytes; their payload is now at the front of `data`, this many bytes."""


class LengthFraming:
    """A body of exactly `remaining` bytes."""

    __slots__ = ("done", "remaining", "rest")

    def __init__(self, remaining: int) -> None:
        self.remaining = remaining
        self.done = remaining == 0
        self.rest = b""

    def want(self) -> int:
        """What is missing."""
        return self.remaining

    def feed(self, data: memoryview) -> int:
        """All of it is payload, up to the end."""
        size = len(data)
        if size > self.remaining:
            self.rest = bytes(data[self.remaining :])
            size = self.remaining
        self.remaining -= size
        self.done = self.remaining == 0
        return size


class ChunkedFraming:
    """A body in chunks; extensions and trailers are read over."""

    __slots__ = ("_left", "_line", "_state", "_trailers", "done", "rest")

    def __init__(self) -> None:
        self.done = False
        self.rest = b""
        self._left = 0  # bytes of the current chunk still to come
        self._line = b""  # a line that has begun
        self._trailers = 0
        self._state = self._size

    def want(self) -> int:
        """The end is not known; what comes after it will be in `rest`."""
        return PIECE

    def feed(self, data: memoryview) -> int:
        """Compact the chunks' payload to the front; BadRequest when the framing is broken."""
        at = out = 0
        end = len(data)
        while at < end and not self.done:
            if self._left:
                size = min(self._left, end - at)
                if out != at:
                    data[out : out + size] = data[at : at + size]
                at += size
                out += size
                self._left -= size
            else:
                line, at = self._take_line(data, at)
                if line is not None:
                    self._state(line)
        if self.done:
            self.rest = bytes(data[at:])
        return out

    def _take_line(self, data: memoryview, at: int) -> tuple[bytes | None, int]:
        for reach in (_GLANCE, _MAX_LINE):
            begun = self._line
            seen = begun + bytes(data[at : at + reach])
            stop = seen.find(b"\r\n")
            if stop >= 0:
                self._line = b""
                return seen[:stop], at + stop + 2 - len(begun)
            if len(seen) > _MAX_LINE:
                raise BadRequest("a line of the chunked body is too long")
            if at + reach >= len(data):
                self._line = seen
                return None, len(data)
        raise BadRequest("a line of the chunked body is too long")

    def _size(self, line: bytes) -> None:
        found = _SIZE.fullmatch(line)
        if found is None:
            raise BadRequest("a chunk's size cannot be read")
        self._left = int(found[1], 16)
        self._state = self._after_chunk if self._left else self._trailer

    def _after_chunk(self, line: bytes) -> None:
        if line:
            raise BadRequest("a chunk is longer than it said")
        self._state = self._size

    def _trailer(self, line: bytes) -> None:
        self._trailers += len(line)
        if not line:
            self.done = True
        elif self._trailers > _MAX_TRAILERS or _TRAILER.fullmatch(line) is None:
            raise BadRequest("the trailer of the chunked body is malformed or too long")
