"""Digests: `algorithm:hex`, the names of bytes (OCI image-spec, descriptor.md, Digests)."""

import hashlib
import re
from typing import TYPE_CHECKING, Self

from argosy.errors import InvalidDigest

if TYPE_CHECKING:
    from hashlib import _Hash

HEX_LENGTH = {"sha256": 64, "sha512": 128}
_PREFIXES = tuple(f"{algorithm}:" for algorithm in HEX_LENGTH)
_FORM = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
_HEX = re.compile(r"[a-f0-9]+")


class Digest(str):
    """A valid sha256 or sha512 digest; a str, so it is its own wire form.

    Build one with `parse` (checks) or `of` (hashes).
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a digest; InvalidDigest says what is wrong with it."""
        algorithm, _, encoded = text.partition(":")
        length = HEX_LENGTH.get(algorithm)
        if length is not None and len(encoded) == length and _HEX.fullmatch(encoded):
            return cls(text)
        raise InvalidDigest(
            f"{text!r} is not a digest", why=_why(text), remedy="use sha256:<64 hex digits>"
        )

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Self:
        """The digest of some bytes."""
        return cls(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")

    @classmethod
    def from_hash(cls, state: "_Hash") -> Self:
        """The digest a hashlib object has come to."""
        return cls(f"{state.name}:{state.hexdigest()}")

    @property
    def algorithm(self) -> str:
        """`sha256` or `sha512`."""
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        """The part after the colon."""
        return self.partition(":")[2]

    def hasher(self) -> "_Hash":
        """A fresh hash object of this digest's algorithm."""
        return hashlib.new(self.algorithm)


def is_digest(text: str) -> bool:
    """Whether a ref is a digest and not a name: no tag or image name looks like one."""
    return text.startswith(_PREFIXES)


def _why(text: str) -> str:
    if not _FORM.fullmatch(text):
        return "it is not of the form algorithm:hex"
    algorithm, _, encoded = text.partition(":")
    if algorithm not in HEX_LENGTH:
        return f"algorithm {algorithm!r} is not one of {', '.join(HEX_LENGTH)}"
    return f"{algorithm} needs {HEX_LENGTH[algorithm]} lower-case hex digits, not {len(encoded)} characters"
