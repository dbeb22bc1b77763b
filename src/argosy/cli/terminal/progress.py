"""Which progress is shown.

Progress goes to stderr, results to stdout. `auto` is `tty` on a terminal, `plain`
elsewhere; BUILDKIT_PROGRESS sets another default, as in buildx.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TextIO

from argosy.cli.terminal.board import TAIL
from argosy.errors import UsageError
from argosy.observe import Report, silent

KINDS = ("auto", "tty", "plain", "rawjson", "quiet", "none")
_DIGITS = 5  # more lines than any terminal has are nobody's wish


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
    return int(asked) if is_number and int(asked) else TAIL


@contextmanager
def handed_over(report: Report) -> Iterator[None]:
    """Nothing is drawn while the block runs: somebody else has the terminal."""
    pause = getattr(report, "paused", nullcontext)
    with pause():
        yield
