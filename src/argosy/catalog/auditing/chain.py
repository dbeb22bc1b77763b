"""The hash chain: each entry's hash covers the one before it and all that the entry says.

    hash(0) = 64 zeros
    hash(n) = SHA-256(hash(n-1) as 32 bytes, canonical JSON of entry n)

Canonical: a list of the columns of `HASHED`, in that order, as JSON without blanks, keys
of objects sorted, everything beyond ASCII escaped.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from argosy.values import frozen

GENESIS: Final = "0" * 64

HASHED: Final = (
    "sequence",
    "id",
    "at",
    "actor",
    "actor_kind",
    "address",
    "request",
    "action",
    "project",
    "resource",
    "digest",
    "outcome",
    "details",
    "count",
)


def link(before: str, row: Mapping[str, Any]) -> str:
    """The hash of an entry whose `sequence` is set, after one with the hash `before`."""
    return hashlib.sha256(bytes.fromhex(before) + canonical(row)).hexdigest()


def canonical(row: Mapping[str, Any]) -> bytes:
    """What an entry says, the same bytes in every database."""
    values = [row[name] for name in HASHED]
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode("ascii")


@frozen
class Broken:
    """The first place where the log is not what was sealed."""

    sequence: int
    why: str


class Reader:
    """Goes along a chain; `take` says what is wrong with the next entry, if anything is."""

    def __init__(self, sequence: int = 0, hash: str = GENESIS) -> None:  # noqa: A002
        self.sequence = sequence  # of the last entry that was right
        self.hash = hash

    def take(self, row: Mapping[str, Any]) -> Broken | None:
        """The next entry by sequence."""
        expected = self.sequence + 1
        if row["sequence"] != expected:
            last = row["sequence"] - 1
            missing = f"entry {expected} is" if last == expected else f"{expected} to {last} are"
            return Broken(expected, f"{missing} missing")
        try:
            found = link(self.hash, row)
        except (TypeError, ValueError):
            found = ""  # what cannot be written as it was
        if found != row["hash"]:
            return Broken(
                expected, "it was changed, put in, or put in another place after it was sealed"
            )
        self.sequence, self.hash = expected, found
        return None
