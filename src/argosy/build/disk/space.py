"""Amounts of disk: `10GB`, or `80%` of the disk."""

from typing import Self

from argosy.errors import UsageError
from argosy.settings import size
from argosy.values import frozen


@frozen
class Space:
    """So many bytes, or such a part of the disk, whichever is less where both are given."""

    bytes: int = 0
    percent: float = 0.0

    @classmethod
    def parse(cls, name: str, text: str) -> Self:
        """Read `512MB`, `20%` or ``; UsageError names the flag."""
        try:
            return cls.read(text)
        except ValueError as e:
            raise UsageError(
                f"{name} {text!r} cannot be read", why=str(e), remedy=f"write {name} 10GB or 20%"
            ) from e

    @classmethod
    def read(cls, text: str) -> Self:
        """As `parse`, also `80%,100GB`; ValueError if it cannot be read."""
        amount, percent = 0, 0.0
        for word in filter(None, (w.strip() for w in text.split(","))):
            if word.endswith("%"):
                percent = float(word.removesuffix("%"))
                if not 0 <= percent <= 100:
                    raise ValueError(f"{word} is not between 0% and 100%")
            else:
                amount = size(word)
        return cls(amount, percent)

    def of(self, disk: int) -> int:
        """Bytes, on a disk of that size."""
        part = int(disk * self.percent / 100)
        return min(part, self.bytes) if part and self.bytes else part or self.bytes
