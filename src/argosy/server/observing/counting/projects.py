"""Which projects have series of their own: the busiest, a bounded number of them."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from argosy.meters.kinds import OTHER

_HALF_LIFE: Final = 600.0  # seconds in which traffic counts half
_CLEARLY: Final = 2.0  # times as busy is who takes another one's place


class Projects:
    """Names at most `most` projects; the rest is `other`.

    A project that became quiet gives its place to one that is clearly busier. Its series
    ends, but what it counted is remembered for a while (`forget` is told when no longer):
    should it come back, the series goes on where it was, and no rate shows a false jump.
    """

    def __init__(self, most: int, forget: Callable[[str], object]) -> None:
        self._most = most
        self._forget = forget
        self._named: dict[str, list[float]] = {}  # what they did lately
        self._waiting: dict[str, float] = {}
        self._retired: OrderedDict[str, None] = OrderedDict()
        self._settled = 0.0

    @property
    def named(self) -> frozenset[str]:
        """Who has series now."""
        return frozenset(self._named)

    def label(self, project: str, *, known: bool) -> str:
        """The label of a request about a project; only `known` ones (it succeeded) earn a place."""
        score = self._named.get(project)
        if score is not None:
            score[0] += 1
            return project
        return self._earn(project) if known else OTHER

    def _earn(self, project: str) -> str:
        if len(self._named) < self._most:
            self._named[project] = [1.0]
            self._retired.pop(project, None)
            return project
        waiting = self._waiting
        waiting[project] = waiting.get(project, 0.0) + 1
        if len(waiting) > 4 * self._most + 100:
            busiest = sorted(waiting.items(), key=lambda pair: -pair[1])
            self._waiting = dict(busiest[: len(busiest) // 2])
        return OTHER

    def settle(self, now: float) -> None:
        """Let places change hands; `now` in seconds of any clock that never goes back."""
        fade = 0.5 ** ((now - self._settled) / _HALF_LIFE) if self._settled else 1.0
        self._settled = now
        for score in self._named.values():
            score[0] *= fade
        self._waiting = {name: score * fade for name, score in self._waiting.items()}
        for name, lately in sorted(self._waiting.items(), key=lambda pair: -pair[1]):
            coldest = min(self._named, key=lambda held: self._named[held][0], default=None)
            if coldest is None or lately <= _CLEARLY * self._named[coldest][0]:
                return
            del self._named[coldest], self._waiting[name]
            self._named[name] = [lately]
            self._retired.pop(name, None)
            self._retire(coldest)

    def _retire(self, project: str) -> None:
        self._retired[project] = None
        while len(self._retired) > self._most:
            oldest, _ = self._retired.popitem(last=False)
            self._forget(oldest)
