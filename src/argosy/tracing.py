"""Spans of what a request waits for, where somebody traces; nothing where nobody does.

The leaf that every layer may use: `with span("s3.GetObject"): ...`. Who traces puts a
recording span into the context of a request that is sampled; without one, a span costs
a look at a context variable. `server/observing/tracing.py` sends them to OpenTelemetry.
"""

from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Final, Protocol

Value = str | int | float | bool


class Span(Protocol):
    """Something that takes its time, inside of a request that is traced."""

    @property
    def traceparent(self) -> str:
        """What an upstream call says whose part it is (W3C Trace Context)."""
        ...

    def child(self, name: str, attributes: dict[str, Value]) -> AbstractContextManager["Span"]:
        """A part of it, from enter to exit; what is raised inside is written down."""
        ...

    def set(self, key: str, value: Value) -> None:
        """Say something about it."""
        ...


current: Final[ContextVar[Span | None]] = ContextVar("argosy-span", default=None)
"""The span that work done now is a part of; None where nobody traces."""

_NONE: Final = nullcontext(None)


def span(name: str, **attributes: Value) -> AbstractContextManager[Span | None]:
    """A part of the current span; attribute names have `_` for `.` (`db_system`)."""
    parent = current.get()
    if parent is None:
        return _NONE
    return parent.child(name, {key.replace("_", "."): v for key, v in attributes.items()})


def headers() -> tuple[tuple[str, str], ...]:
    """The fields to send with an upstream call, so that its trace is part of ours."""
    found = current.get()
    return () if found is None else (("traceparent", found.traceparent),)
