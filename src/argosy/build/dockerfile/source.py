"""The text of a Dockerfile, where its values come from, and errors that point there."""

import difflib
from collections.abc import Iterable

from argosy.errors import DockerfileError
from argosy.values import frozen

MAX_LINE = 65_535  # bytes, as BuildKit's scanner
_AROUND = 2  # lines shown before and after the one at fault
_MAX_SHOWN = 240  # characters of a line kept in an error


@frozen
class SourceRange:
    """Lines `first` to `last` (from 1, inclusive) of the Dockerfile called `file`."""

    file: str = "Dockerfile"
    first: int = 0
    last: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.first}" if self.first else self.file


class Fault(Exception):
    """An instruction is wrong; raised where the place is not known, and located by `Source.error`.

    `at` is the piece of the text at fault, for the caret.
    """

    def __init__(self, summary: str, *, at: str = "", why: str = "", remedy: str = "") -> None:
        super().__init__(summary)
        self.summary = summary
        self.at = at
        self.why = why
        self.remedy = remedy


@frozen
class Source:
    """A Dockerfile's name and its lines, without line ends."""

    file: str
    lines: tuple[str, ...]

    def error(self, fault: Fault, where: SourceRange) -> DockerfileError:
        """The fault as an error that carries its place, the lines around, and a caret's column."""
        line, column = self._locate(where, fault.at)
        text = self.lines[line - 1] if 0 < line <= len(self.lines) else ""
        error = DockerfileError(
            fault.summary,
            file=where.file,
            line=line,
            source=text[:_MAX_SHOWN],
            why=fault.why,
            remedy=fault.remedy,
        )
        error.evidence["last_line"] = max(line, where.last)
        if column:
            error.evidence |= {"column": column, "width": len(fault.at)}
        error.evidence["excerpt"] = self._excerpt(line, max(line, where.last))
        return error

    def _locate(self, where: SourceRange, token: str) -> tuple[int, int]:
        """The line and the column (from 1; 0 for none) of `token` in the range."""
        if token and "\n" not in token:
            for number in range(max(where.first, 1), min(where.last, len(self.lines)) + 1):
                found = self.lines[number - 1].find(token)
                if 0 <= found < _MAX_SHOWN - len(token):
                    return number, found + 1
        return where.first, 0

    def _excerpt(self, first: int, last: int) -> list[tuple[int, str]]:
        if not first:
            return []
        last = min(last, first + 3 * _AROUND)
        numbers = range(max(1, first - _AROUND), min(len(self.lines), last + _AROUND) + 1)
        return [(n, self.lines[n - 1][:_MAX_SHOWN]) for n in numbers]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean X?` for the known word most like `word`, or ``."""
    lowered = {k.lower(): k for k in known}
    found = difflib.get_close_matches(word.lower()[:100], lowered, n=1, cutoff=0.6)
    return f"did you mean {lowered[found[0]]}?" if found else ""
