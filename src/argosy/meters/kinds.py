"""Counters, gauges and histograms: plain arithmetic, cheap enough for every request.

They belong to the process. Threads may count at once: CPython changes threads only at
calls and jumps back, and between reading a cell and writing it there is neither (a test
holds this). A metric never has more than `MOST_SERIES` label sets.
"""

import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar, Final, Literal

Labels = tuple[str, ...]
Merge = Literal["sum", "max", "min"]

MOST_SERIES: Final = 2000
OTHER: Final = "other"

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0)
"""Bounds from what memory answers to what a slow client takes."""


class Metric:
    """What all three have: a name, a meaning, the names of the labels, and cells by their values."""

    kind: ClassVar[str]
    blank: Sequence[float] = (0.0,)

    def __init__(self, name: str, help: str, *labels: str, merge: Merge = "sum") -> None:  # noqa: A002
        self.name: Final = name
        self.help: Final = help
        self.labels: Final = labels
        self.merge: Final[Merge] = merge  # how one page joins the processes of a server
        # Without labels it is there from the start: a rate needs to have seen the zero.
        self._cells: dict[Labels, list[float]] = {} if labels else {(): list(self.blank)}

    def read(self) -> dict[Labels, list[float]]:
        """A copy of every cell."""
        return {labels: list(cell) for labels, cell in list(self._cells.items())}

    def forget(self, labels: Labels) -> None:
        """Drop a series for good."""
        self._cells.pop(labels, None)

    def _made(self, labels: Labels) -> list[float]:
        if len(labels) != len(self.labels):
            raise ValueError(f"{self.name} has labels {self.labels}, not {labels}")
        if len(self._cells) >= MOST_SERIES and labels:
            labels = (OTHER,) * len(labels)
        return self._cells.setdefault(labels, list(self.blank))

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"


class Counter(Metric):
    """Counts up; a name ends in `_total`."""

    kind = "counter"

    def cell(self, *labels: str) -> list[float]:
        """The cell of these labels, to add to where even a call is too much: `cell[0] += 1`."""
        return self._cells.get(labels) or self._made(labels)

    def add(self, *labels: str, by: float = 1) -> None:
        """Count `by` more."""
        try:
            cell = self._cells[labels]
        except KeyError:
            cell = self._made(labels)
        cell[0] += by


class Gauge(Metric):
    """Goes up and down."""

    kind = "gauge"

    def set(self, value: float, *labels: str) -> None:
        """It is this now."""
        try:
            self._cells[labels][0] = value
        except KeyError:
            self._made(labels)[0] = value

    def add(self, *labels: str, by: float = 1) -> None:
        """It is this much more, or less."""
        try:
            cell = self._cells[labels]
        except KeyError:
            cell = self._made(labels)
        cell[0] += by

    def replace(self, values: Mapping[Labels, float]) -> None:
        """These are all the series that there are now."""
        for labels in [labels for labels in self._cells if labels not in values]:
            self.forget(labels)
        for labels, value in values.items():
            self.set(value, *labels)


class Histogram(Metric):
    """How values spread. A cell is the sum, then the counts up to each bound and above."""

    kind = "histogram"

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002
        *labels: str,
        bounds: Sequence[float] = SECONDS,
    ) -> None:
        self.blank = (0.0,) * (len(bounds) + 2)
        super().__init__(name, help, *labels)
        self.bounds: Final = tuple(bounds)

    def observe(self, value: float, *labels: str) -> None:
        """One more value."""
        try:
            cell = self._cells[labels]
        except KeyError:
            cell = self._made(labels)
        cell[0] += value
        cell[bisect_left(self.bounds, value) + 1] += 1

    @contextmanager
    def timed(self, *labels: str) -> Iterator[None]:
        """Observe how many seconds the block takes, also when it raises."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.observe(time.perf_counter() - began, *labels)
