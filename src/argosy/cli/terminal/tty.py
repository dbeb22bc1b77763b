"""Progress on a terminal: finished lines scroll by, running ones are redrawn below.

Steps of a build show the last lines of their output, transfers a bar. rich is
imported here, so only when a terminal is drawn on (it takes 60 ms).
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from argosy.cli.terminal.board import TAIL, Board, Clock, Line
from argosy.cli.terminal.units import human_size, human_time
from argosy.observe import Event

_MARKS = {
    "done": ("✔", "green", ""),
    "skipped": ("✔", "dim", " already there"),
    "mounted": ("✔", "green", " mounted"),
    "cached": ("✔", "cyan", " CACHED"),
    "failed": ("✘", "bold red", ""),
}


class Display:
    """A reporter that draws; events may come from any thread."""

    def __init__(self, stream: TextIO, clock: Clock = time.monotonic, tail: int = TAIL) -> None:
        self._console = Console(file=stream, highlight=False)
        self._board = Board(clock, tail)
        self._lock = threading.Lock()
        self._live = Live(
            console=self._console,
            get_renderable=self._running,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._live.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The live part is taken away for as long as the block runs."""
        self._live.stop()
        try:
            yield
        finally:
            self._live.start()

    def __call__(self, event: Event) -> None:
        """Note the event; what it finishes is printed for good."""
        said: list[Text] = []
        with self._lock:
            before = event.key in self._board.lines and self._board.lines[event.key].finished
            line = self._board.take(event)
            if event.kind == "log":
                self._board.log(line, event.text)
            elif event.kind in ("warning", "retry"):
                said.append(Text(f"! {line.name}: {event.text}", "yellow"))
            elif line.finished and not before:
                said = finished(line, self._board.clock())
        # Outside of the lock: redrawing the live part takes it.
        if said:
            self._live.refresh()  # else the finished line would show as running below itself
        for text in said:
            self._console.print(text, overflow="ellipsis", no_wrap=True)

    def _running(self) -> RenderableType:
        with self._lock:
            now = self._board.clock()
            rows = [line for line in self._board.lines.values() if line.state == "started"]
            room = max(1, self._console.height - 2)
            return Group(*[part for line in rows for part in running(line, now)][:room])


def finished(line: Line, now: float) -> list[Text]:
    """A finished line; a failed one with the end of its output."""
    mark, style, how = _MARKS[line.state]
    size = f" {human_size(line.total)}" if line.total and line.state == "done" else ""
    took = "" if line.state in ("skipped", "cached") else f" {human_time(line.took(now))}"
    head = Text.assemble((f"{mark} ", style), line.name, (f"{size}{how}{took}", "dim"))
    return [head, *(_tail(line) if line.state == "failed" else [])]


def running(line: Line, now: float) -> list[RenderableType]:
    """A running line: a transfer's bar, or a step with the end of its output."""
    took = human_time(line.took(now))
    if line.total:
        row = Table.grid(padding=(0, 1))
        amount = f"{human_size(line.current)} / {human_size(line.total)} {took}"
        bar = ProgressBar(total=line.total, completed=line.current, width=24)
        row.add_row(Text("•", "blue"), Text(line.name), bar, Text(amount, "dim"))
        return [row]
    head = Text.assemble(("• ", "blue"), line.name, (f" {took}", "dim"), no_wrap=True)
    return [head, *_tail(line)]


def _tail(line: Line) -> list[Text]:
    return [Text(f"  │ {text}", "dim", no_wrap=True, overflow="ellipsis") for text in line.tail]
