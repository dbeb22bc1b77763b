"""Secrets that we make: long, random, told by their beginning, and known by a checksum.

    arg_pat_<30 of A-Za-z0-9><6: CRC-32>     a personal access token; arg_rob_, arg_ref_ alike

178 random bits need no slow hash, and no guard against guessing. The beginning and the
checksum are for scanners that look for secrets in public places, and keep a slip of the
hand from costing a query. Only the hash is ever stored.
"""

import hashlib
import hmac
import secrets
import string
import zlib
from enum import StrEnum
from typing import Final

_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM: Final = 30
_CHECK: Final = 6


class Secret(StrEnum):
    """What a secret is for: how it begins."""

    PERSONAL = "arg_pat_"
    ROBOT = "arg_rob_"
    REFRESH = "arg_ref_"


def new_secret(kind: Secret) -> str:
    """A secret nobody has ever had."""
    body = kind + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return body + _checksum(body)


def is_secret(text: str, kind: Secret) -> bool:
    """Whether it could be one that we made: a question of form."""
    body, check = text[:-_CHECK], text[-_CHECK:]
    return (
        text.startswith(kind)
        and len(text) == len(kind) + _RANDOM + _CHECK
        and text.isascii()
        and hmac.compare_digest(_checksum(body), check)
    )


def as_name(given: str) -> str:
    """What may be written down of a name that somebody gave: secrets end up in that field, too."""
    return "(a secret)" if given.startswith(tuple(Secret)) else given


def hashed(text: str) -> str:
    """What is stored of a secret: hex of its SHA-256."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def same(one: str, other: str | None) -> bool:
    """Whether two hashes are the same; takes the same time either way."""
    return hmac.compare_digest(one, other or "")


def one_time_password() -> str:
    """A password to be typed once: 119 bits, nothing that reads as something else."""
    letters = "23456789abcdefghjkmnpqrstuvwxyz"
    return "-".join("".join(secrets.choice(letters) for _ in range(6)) for _ in range(4))


def _checksum(body: str) -> str:
    number, found = zlib.crc32(body.encode()), ""
    for _ in range(_CHECK):
        number, digit = divmod(number, len(_ALPHABET))
        found = _ALPHABET[digit] + found
    return found
