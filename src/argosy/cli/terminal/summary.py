"""The job summary of a build: Markdown for the page that a CI shows of its job.

GitHub (and Gitea, Forgejo) name a file in GITHUB_STEP_SUMMARY; what is appended to it is shown.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from argosy.cli.terminal.board import Board, Clock, Line, is_transfer
from argosy.cli.terminal.units import human_time
from argosy.cli.terminal.visible import visible
from argosy.observe import Event, Report

_RESULTS = {"cached": "cached", "done": "ran", "failed": "**failed**"}
_MOST_STEPS = 200  # GitHub refuses summaries above 1 MiB


class Summary:
    """A reporter that passes events on and remembers the steps; events may come from any thread."""

    def __init__(self, report: Report, clock: Clock = time.monotonic) -> None:
        self._report = report
        self._board = Board(clock)
        self._lock = threading.Lock()
        self.facts: list[tuple[str, str]] = []  # name and digest, of what was built

    def __call__(self, event: Event) -> None:
        """Pass it on, and note it unless it is output or about bytes that move."""
        if event.kind in ("started", "done", "cached", "failed") and not is_transfer(event):
            with self._lock:
                self._board.take(event)
        self._report(event)

    def markdown(self, error: str = "") -> str:
        """The result, what came of it, and each step with its time."""
        with self._lock:
            steps = list(self._board.lines.values())
            took = human_time(self._board.clock() - self._board.began)
        own = [s for s in steps if s.name.startswith("[")]  # of the Dockerfile: not the export
        cached = sum(1 for s in own if s.state == "cached")
        result = "failed" if error else "succeeded"
        head = f"### Build {result} in {took}\n\n{cached} of {len(own)} steps cached.\n"
        return "\n".join([head, *_told(error), *_table(self.facts), *_steps(steps)]) + "\n"


@contextmanager
def summarised(path: str, report: Report) -> Iterator[Summary]:
    """A reporter whose summary is appended to a file when the block ends, also by an error.

    A summary that cannot be written fails no build.
    """
    summary = Summary(report)
    error = ""
    try:
        yield summary
    except BaseException as e:
        error = str(e) or type(e).__name__
        raise
    finally:
        with suppress(OSError), open(path, "a", encoding="utf-8", errors="replace") as file:
            file.write(summary.markdown(error))


def _told(error: str) -> list[str]:
    return [f"Error: {_cell(error)}\n"] if error else []


def _table(facts: Sequence[tuple[str, str]]) -> list[str]:
    if not facts:
        return []
    rows = [f"| {_cell(name)} | {_cell(digest)} |" for name, digest in facts]
    return ["| image | digest |", "|---|---|", *rows, ""]


def _steps(steps: Sequence[Line]) -> list[str]:
    if not steps:
        return []
    rows = [
        f"| {_cell(s.name)} | {_RESULTS.get(s.state, 'not finished')} | {_time(s)} |" for s in steps
    ]
    left = len(rows) - _MOST_STEPS
    more = [f"\n{left} more steps are left out."] if left > 0 else []
    return ["| step | result | time |", "|---|---|---|", *rows[:_MOST_STEPS], *more]


def _time(step: Line) -> str:
    return human_time(step.took(step.ended)) if step.state in ("done", "failed") else ""


def _cell(text: str) -> str:
    """Text as code in a table's cell: nothing in it is markup, and it stays one line."""
    line = visible(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")
    return f"<code>{line.replace('|', '&#124;').replace('`', '&#96;')}</code>"
