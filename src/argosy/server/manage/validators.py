"""Conditional requests: what a value's ETag is, and whether a client knows the present one.

RFC 9110 §8.8 and §13. An answer that is sent as gzip has a tag of its own, which stands
for the same state: it is taken back as well.
"""

import hashlib
from typing import Any, Final

import msgspec

from argosy.server.http.messages import Request
from argosy.server.manage.problems import Refusal

GZIPPED: Final = "-gzip"


def of_version(what: str, number: int, version: int) -> str:
    """The ETag of a row that counts its changes."""
    return f'"{what}{number}.{version}"'


def of_value(value: Any) -> str:
    """The ETag of what has no count: a digest of it."""
    return f'"{hashlib.blake2b(msgspec.json.encode(value), digest_size=12).hexdigest()}"'


def as_gzip(etag: str) -> str:
    """The tag of the same answer, compressed."""
    return f'{etag[:-1]}{GZIPPED}"'


def _names(field: str, etag: str) -> bool:
    if field.strip() == "*":
        return bool(etag)
    given = {part.strip().removeprefix("W/").strip('"') for part in field.split(",")}
    return etag.strip('"') in {one.removesuffix(GZIPPED) for one in given}


def is_known(request: Request, etag: str) -> bool:
    """Whether the client has what it asks for already (If-None-Match)."""
    field = request.headers.get("if-none-match")
    return field is not None and bool(etag) and _names(field, etag)


class Expectation:
    """What a client takes the present state for (If-Match); nothing, if it does not say."""

    __slots__ = ("_field",)

    def __init__(self, request: Request) -> None:
        self._field = request.headers.get("if-match")

    @property
    def given(self) -> bool:
        """Whether the client says which state it has seen."""
        return self._field is not None and self._field.strip() != "*"

    def check(self, etag: str) -> None:
        """Refusal 412 unless the state is still the one the client has seen.

        To be called in the transaction that changes it.
        """
        if self._field is not None and not _names(self._field, etag):
            raise Refusal(
                412,
                "changed-meanwhile",
                "somebody else has changed it meanwhile",
                why=f"its ETag is {etag} now" if etag else "",
                remedy="read it again, then repeat the change with the new ETag in If-Match",
                headers=[("ETag", etag)] if etag else (),
            )

    def demand(self) -> None:
        """Refusal 428 if the client does not say what it has seen."""
        if self._field is None:
            raise Refusal(
                428,
                "precondition-required",
                "this change needs an If-Match header",
                why="without it a change of somebody else could be lost",
                remedy="send the ETag of what you have read, or If-Match: *",
            )
