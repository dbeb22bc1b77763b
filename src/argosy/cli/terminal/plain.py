"""Plain progress: lines as BuildKit writes them, for logs and pipes.

#7 [build 2/5] RUN make
#7 0.42 gcc -c main.c
#7 DONE 1.2s
"""

import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self, TextIO

from argosy.cli.terminal.board import Board, Clock, Line, is_transfer
from argosy.cli.terminal.units import human_size, human_time
from argosy.observe import Event

_EVERY = 5.0  # seconds between two lines of one transfer's progress

_ENDS = {
    "done": "DONE {time}",
    "skipped": "EXISTS",
    "mounted": "MOUNTED",
    "cached": "CACHED",
    "failed": "ERROR: {text}",
}


class Plain:
    """A reporter of lines; events may come from any thread."""

    def __init__(self, stream: TextIO, clock: Clock = time.monotonic) -> None:
        self._stream = stream
        self._board = Board(clock)
        self._told: dict[int, float] = {}  # line number: when its progress was last printed
        self._current = 0  # the line printed last; a blank line parts one from the next
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _tb: TracebackType | None
    ) -> None:
        with self._lock:
            for line in self._board.lines.values():
                if line.partial:
                    self._output(line, "\n")
            self._flush()

    def __call__(self, event: Event) -> None:
        """Print what the event adds."""
        with self._lock:
            new = event.key not in self._board.lines
            line = self._board.take(event)
            if new and not is_transfer(event):
                self._say(line, line.name)
            self._tell(event, line)

    def _tell(self, event: Event, line: Line) -> None:
        if event.kind == "log":
            self._output(line, event.text)
        elif event.kind == "advanced":
            self._advanced(line)
        elif event.kind == "retry":
            self._say(line, f"RETRY {event.text}")
        elif event.kind == "warning":
            self._say(line, f"WARNING: {event.text}")
        elif event.kind in _ENDS:
            if line.partial:
                self._output(line, "\n")
            took = human_time(line.took(self._board.clock()))
            end = _ENDS[event.kind].format(time=took, text=event.text)
            if is_transfer(event):  # one line each: there are many, and they say little
                size = f" {human_size(line.total)}" if line.total is not None else ""
                end = f"{line.name}{size} {end}"
            self._say(line, end, apart=not is_transfer(event))
            self._flush()

    def _output(self, line: Line, text: str) -> None:
        for one in self._board.log(line, text):
            self._say(line, f"{line.took(self._board.clock()):.2f} {one}")
        self._flush()

    def _advanced(self, line: Line) -> None:
        now = self._board.clock()
        if now - self._told.get(line.number, line.began) < _EVERY:
            return
        self._told[line.number] = now
        whole = f" / {human_size(line.total)}" if line.total else ""
        done = f"{human_size(line.current)}{whole} {human_time(line.took(now))}"
        self._say(line, f"{line.name} {done}", apart=False)
        self._flush()

    def _say(self, line: Line, text: str, *, apart: bool = True) -> None:
        with suppress(OSError, ValueError):  # a reader that left is no error
            if apart and self._current not in (0, line.number):
                self._stream.write("\n")
            self._current = line.number
            self._stream.write(f"#{line.number} {text}\n")

    def _flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()
