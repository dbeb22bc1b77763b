"""Request heads, read strictly: whatever two readers could understand differently is refused.

RFC 9112 §2-§6. The patterns are linear (possessive, no overlapping repeats),
so a hostile head costs no more than its length. Folded lines, blanks before a
colon, bare CR or LF and control characters do not match at all.
"""

import re
from typing import Final

from argosy.errors import ArgosyError
from argosy.server.http.messages import Headers

MAX_HEAD: Final = 32 * 1024
MAX_TARGET: Final = 16 * 1024
END: Final = b"\r\n\r\n"

_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_LINE = re.compile(rf"({_NAME}{{1,24}}+) ([!-~]++) HTTP/1\.([01])")
_OTHER_VERSION = re.compile(rf"{_NAME}++ [!-~]++ HTTP/[0-9](?:\.[0-9])?")
_FIELDS = re.compile(rf"(?:{_NAME}++:[^\x00-\x08\x0a-\x1f\x7f]*+\r\n)*+")
_FIELD = re.compile(r"([^:]++):([^\r]*+)\r\n")
_LENGTH = re.compile(r"[0-9]{1,18}")
FIRST_BYTES: Final = frozenset(n for n in range(128) if re.match(_NAME, chr(n)))
"""What a request line may begin with; anything else is no HTTP, and need not be waited for."""


class BadRequest(ArgosyError):
    """What the client sent is not HTTP as we accept it; the connection ends with `status`."""

    code = "bad-request"

    def __init__(self, why: str, *, status: int = 400) -> None:
        super().__init__("the request cannot be read", why=why, evidence={"status": status})
        self.status = status


class Fields:
    """The header fields of one request, and what they say about its body and its connection."""

    __slots__ = ("chunked", "close", "expects", "headers", "keep_alive", "length")

    def __init__(self, headers: Headers) -> None:
        self.headers = headers
        self.chunked = _chunked(headers)
        self.length = _length(headers, chunked=self.chunked)
        options = (headers.get("connection") or "").lower()
        self.close = "close" in options
        self.keep_alive = "keep-alive" in options
        self.expects = (headers.get("expect") or "").lower() == "100-continue"

    @property
    def has_body(self) -> bool:
        """Whether any byte of a body follows the head."""
        return self.chunked or self.length > 0


class Head:
    """One request line with its fields."""

    __slots__ = ("fields", "method", "minor", "target")

    def __init__(self, method: str, target: str, minor: str, fields: Fields) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.fields = fields

    @property
    def keeps_alive(self) -> bool:
        """Whether the client wants to send another request afterwards (RFC 9112 §9.3)."""
        if self.minor == "1":
            return not self.fields.close
        return self.fields.keep_alive and not self.fields.close


class HeadReader:
    """Reads the heads of one connection.

    Clients repeat their fields from request to request, so the last block is
    remembered with what it meant: reading it again costs one comparison.
    """

    __slots__ = ("_block", "_fields")

    def __init__(self) -> None:
        self._block = b""
        self._fields: Fields | None = None

    def read(self, data: bytes) -> Head:
        """The head in `data`, which ends with the blank line; BadRequest when it is not sound."""
        end = data.index(b"\r\n")
        line = data[:end].decode("latin-1")
        found = _LINE.fullmatch(line)
        if found is None:
            raise _bad_line(line)
        method, target, minor = found.groups()
        if len(target) > MAX_TARGET:
            raise BadRequest(f"the target is longer than {MAX_TARGET} bytes", status=414)
        block = data[end + 2 :]
        fields = self._fields
        if fields is None or block != self._block:
            fields = read_fields(block)
            self._block, self._fields = block, fields
        if minor == "1":
            if "host" not in fields.headers:
                raise BadRequest("an HTTP/1.1 request needs a Host field")
        elif fields.chunked:
            raise BadRequest("HTTP/1.0 has no Transfer-Encoding")
        return Head(method, target, minor, fields)


def read_fields(block: bytes) -> Fields:
    """The fields in `block` (lines, then a blank line); BadRequest when one is not sound."""
    text = block[:-2].decode("latin-1")
    if _FIELDS.fullmatch(text) is None:
        raise BadRequest("a header field is malformed")
    pairs = [(name, value.strip(" \t")) for name, value in _FIELD.findall(text)]
    headers = Headers(pairs)
    if len(headers.all("host")) > 1:
        raise BadRequest("more than one Host field")
    return Fields(headers)


def _bad_line(line: str) -> BadRequest:
    if _OTHER_VERSION.fullmatch(line):
        return BadRequest("only HTTP/1.0 and HTTP/1.1 are spoken here", status=505)
    return BadRequest("the request line is malformed")


def _chunked(headers: Headers) -> bool:
    codings = headers.all("transfer-encoding")
    if not codings:
        return False
    if len(codings) > 1 or codings[0].lower() != "chunked":
        raise BadRequest("the only Transfer-Encoding accepted is a single `chunked`")
    if "content-length" in headers:
        # The classic smuggling shape (RFC 9112 §6.1): never guess which one a proxy believed.
        raise BadRequest("Content-Length and Transfer-Encoding exclude each other")
    return True


def _length(headers: Headers, *, chunked: bool) -> int:
    lengths = headers.all("content-length")
    if not lengths or chunked:
        return 0
    if len(lengths) > 1 or _LENGTH.fullmatch(lengths[0]) is None:
        raise BadRequest("Content-Length must be one plain number")
    return int(lengths[0])
