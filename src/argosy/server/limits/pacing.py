"""Taps as the pace of a body: of its project and of its account, whichever is slower."""

from collections.abc import Sequence
from typing import Final

from argosy.meters import declared as meters
from argosy.server.limits.tap import Tap

_STEP: Final = 0.05  # seconds' worth that one transfer moves at once
_LEAST: Final = 4 << 10
_MOST: Final = 1 << 20


class TapPace:
    """See http/pacing.py: Pace."""

    __slots__ = ("_counted", "_taps")

    def __init__(self, taps: Sequence[Tap]) -> None:
        self._taps: Final = tuple(taps)
        self._counted = False

    def most(self) -> int:
        """Less where many wait, so that each gets some of it soon."""
        worth = min(tap.rate.rate / (1 + tap.waiting) for tap in self._taps)
        return max(_LEAST, min(_MOST, int(worth * _STEP)))

    async def wait(self, count: int) -> None:
        """Return when every tap gives so much."""
        for tap in self._taps:
            if await tap.take(count) and not self._counted:
                self._counted = True
                meters.THROTTLED.add("bandwidth")

    def give_back(self, count: int) -> None:
        """So much was not moved."""
        for tap in self._taps:
            tap.give_back(count)
