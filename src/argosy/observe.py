"""What happens, told as values: progress events for whoever wants to show them.

Reporters observe; they never steer. A reporter must not block and must not
raise.
"""

from collections.abc import Callable
from typing import Literal

from argosy.values import frozen

Kind = Literal[
    "started",  # work on `key` begins; `total` is its size or None
    "advanced",  # `current` units are done
    "done",  # finished; `text` may say how
    "skipped",  # the destination had it
    "mounted",  # the destination took it from a sibling repository
    "cached",  # a build step needed no work
    "retry",  # it failed and will be tried again; `text` says why
    "log",  # a line (or lines) of output in `text`
    "warning",
    "failed",
]


@frozen
class Event:
    """One thing that happened to `key` (a digest, a step id), shown to people as `name`."""

    kind: Kind
    key: str
    name: str = ""
    current: int = 0
    total: int | None = None
    text: str = ""


Report = Callable[[Event], None]


def silent(_event: Event) -> None:
    """The reporter that shows nothing."""
