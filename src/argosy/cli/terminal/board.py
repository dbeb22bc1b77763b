"""The board that every kind of progress reads from: what is known of each step and transfer."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from argosy.model import media
from argosy.observe import Event

TAIL = 6
"""Lines of output kept per step, unless asked otherwise."""

_LONGEST = 64 << 10  # characters that wait for their newline

Clock = Callable[[], float]


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

    def __init__(self, clock: Clock = time.monotonic, tail: int = TAIL) -> None:
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
