"""A token bucket: `rate` tokens a second flow in, at most `burst` are kept."""

from typing import Final

from argosy.values import frozen


@frozen
class Rate:
    """Tokens per second, and how many may be taken at once after a rest."""

    rate: float
    burst: float

    def part(self, of: int) -> "Rate":
        """The share of one of several."""
        return Rate(self.rate / of, max(1.0, self.burst / of))


class Bucket:
    """The tokens of one limit; times are seconds of any clock that never goes back."""

    __slots__ = ("_at", "_level", "rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate: Final = rate
        self._level = rate.burst
        self._at = now

    def take(self, count: float, now: float) -> bool:
        """Take so many tokens if they are there."""
        if self._filled(now) < count:
            return False
        self._level -= count
        return True

    def reserve(self, count: float, now: float) -> float:
        """Take so many tokens, there or not; the seconds until they are.

        Who comes later waits longer, so those who wait are served in their order.
        """
        level = self._filled(now) - count
        self._level = level
        return 0.0 if level >= 0 else -level / self.rate.rate

    def give_back(self, count: float) -> None:
        """So many that were taken were not used."""
        self._level = min(self.rate.burst, self._level + count)

    def wait(self, count: float, now: float) -> float:
        """The seconds until so many are there, if nobody else takes any."""
        return max(0.0, (count - self._filled(now)) / self.rate.rate)

    def remaining(self, now: float) -> int:
        """The whole tokens that are there."""
        return max(0, int(self._filled(now)))

    def _filled(self, now: float) -> float:
        passed = now - self._at
        if passed > 0:
            self._level = min(self.rate.burst, self._level + passed * self.rate.rate)
            self._at = now
        return self._level
