"""Which progress is shown, and the board all of them read from.

Progress goes to stderr, results to stdout. `auto` is `tty` on a terminal, `plain`
elsewhere; BUILDKIT_PROGRESS sets another default, as in buildx.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TextIO

from argosy.errors import UsageError
from argosy.model import media
from argosy.observe import Event, Report, silent

KINDS = ("auto", "tty", "plain", "rawjson", "quiet", "none")
_TAIL = 6  # lines of output kept per step, unless asked otherwise
_DIGITS = 5  # more lines than any terminal has are nobody's wish
_LONGEST = 64 << 10  # characters that wait for their newline

Clock = Callable[[], float]


def choose(
    asked: str | None, *, quiet: bool = False, environ: Mapping[str, str] | None = None
) -> str:
    """`tty`, `plain`, `rawjson` or `quiet`, from the flags and the environment."""
    environ = os.environ if environ is None else environ
    kind = "quiet" if quiet else asked or environ.get("BUILDKIT_PROGRESS") or "auto"
    if kind not in KINDS:
        raise UsageError(
            f"BUILDKIT_PROGRESS={kind!r} is not a kind of progress",
            remedy="use one of " + ", ".join(KINDS),
        )
    if kind == "auto":
        able = sys.stderr.isatty() and environ.get("TERM", "") not in ("", "dumb")
        return "tty" if able else "plain"
    return "quiet" if kind == "none" else kind


def showing(kind: str, stream: TextIO | None = None) -> AbstractContextManager[Report]:
    """A reporter that shows events while the block runs; it never raises."""
    stream = stream or sys.stderr
    if kind == "plain":
        from argosy.cli.terminal.plain import Plain

        return Plain(stream)
    if kind == "rawjson":
        from argosy.cli.terminal.rawjson import RawJSON

        return RawJSON(stream)
    if kind == "tty":
        from argosy.cli.terminal.tty import Display

        return Display(stream, tail=log_lines(os.environ))
    return nullcontext(silent)


def log_lines(environ: Mapping[str, str]) -> int:
    """Lines of output shown below a running step: BUILDKIT_TTY_LOG_LINES, as BuildKit reads it."""
    asked = environ.get("BUILDKIT_TTY_LOG_LINES", "")
    is_number = asked.isascii() and asked.isdigit() and len(asked) < _DIGITS
    return int(asked) if is_number and int(asked) else _TAIL


@contextmanager
def handed_over(report: Report) -> Iterator[None]:
    """Nothing is drawn while the block runs: somebody else has the terminal."""
    pause = getattr(report, "paused", nullcontext)
    with pause():
        yield


@dataclass(slots=True)
class Line:
    """What is known of one key: a step of a build or a transfer."""

    number: int
    name: str
    began: float
    state: str = "waiting"  # started, done, skipped, mounted, cached, failed
    ended: float = 0.0
    current: int = 0
    total: int | None = None
    text: str = ""
    tail: list[str] = field(default_factory=list)
    partial: str = ""

    @property
    def finished(self) -> bool:
        """Whether nothing more is expected of it."""
        return self.state not in ("waiting", "started")

    def took(self, now: float) -> float:
        """Seconds from its start to its end, or to now."""
        return (self.ended or now) - self.began


class Board:
    """Every key seen, in order of appearance; events go in, lines are read out."""

    def __init__(self, clock: Clock = time.monotonic, tail: int = _TAIL) -> None:
        self.tail = tail  # lines of output kept per step
        self.lines: dict[str, Line] = {}
        self.clock = clock
        self.began = clock()

    def take(self, event: Event) -> Line:
        """Note an event; gives the line it is about."""
        line = self.lines.get(event.key)
        if line is None:
            name = title(event)
            line = Line(len(self.lines) + 1, name, self.clock(), total=event.total)
            self.lines[event.key] = line
        if event.kind == "started":
            if line.state == "waiting":
                line.began = self.clock()
            line.state, line.ended = "started", 0.0
        elif event.kind == "advanced":
            line.current = event.current
            line.state = "started"
        elif event.kind in ("done", "skipped", "mounted", "cached", "failed"):
            line.state, line.ended = event.kind, self.clock()
        line.total = event.total if event.total is not None else line.total
        line.text = event.text or line.text
        return line

    def log(self, line: Line, text: str) -> list[str]:
        """Whole lines of output that `text` completes; the rest waits for its newline."""
        *whole, line.partial = (line.partial + text).split("\n")
        if len(line.partial) > _LONGEST:  # a flood without newlines must not fill the memory
            whole, line.partial = [*whole, line.partial], ""
        shown = [_last_of_overwritten(one) for one in whole]
        line.tail = [*line.tail, *shown][-self.tail :]
        return shown


def title(event: Event) -> str:
    """How an event's key is called: a step by its own name, a transfer by kind and short digest."""
    if is_transfer(event):
        return f"{_kind(event.name)} {event.key.partition(':')[2][:12]}"
    return event.name or event.key


def is_transfer(event: Event) -> bool:
    """Whether the event is about bytes that move: a digest, named by its media type."""
    named_by_type = "/" in event.name and " " not in event.name
    return named_by_type and event.key.startswith(("sha256:", "sha512:"))


def _kind(media_type: str) -> str:
    if media.is_index(media_type):
        return "index"
    if media_type in media.MANIFESTS:
        return "manifest"
    if media_type in media.CONFIGS:
        return "config"
    return "layer" if "layer" in media_type or "rootfs" in media_type else "blob"


def _last_of_overwritten(line: str) -> str:
    # Programs that draw their own progress end lines with \r; only the last state matters.
    return line.rstrip("\r").rpartition("\r")[2]
