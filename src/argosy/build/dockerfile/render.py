"""A DockerfileError as text for people: the place, the lines around it, a caret, what to do."""

from argosy.build.dockerfile.source import Fault, Source, SourceRange
from argosy.errors import DockerfileError

_RULE = "-" * 20


def render(error: DockerfileError) -> str:
    """Several lines, in the form BuildKit's users know; no colour, no newline at the end."""
    lines = [f"{error.file}:{error.line}" if error.line else error.file]
    excerpt = error.evidence.get("excerpt") or []
    if excerpt:
        lines += [_RULE, *_excerpt(error, excerpt), _RULE]
    lines.append(f"error: {_plain(error.summary)}")
    if error.why:
        lines.append(f"  why: {_plain(error.why)}")
    if error.remedy:
        lines.append(f"  do:  {_plain(error.remedy)}")
    return "\n".join(lines)


def excerpt(source: Source, where: SourceRange) -> str:
    """The place, and its lines with those around them; several lines."""
    error = source.error(Fault(""), where)
    lines = [str(where)]
    if shown := error.evidence.get("excerpt"):
        lines += [_RULE, *_excerpt(error, shown), _RULE]
    return "\n".join(lines)


def _excerpt(error: DockerfileError, excerpt: list[tuple[int, str]]) -> list[str]:
    width = max(3, len(str(excerpt[-1][0])))
    last = error.evidence.get("last_line", error.line)
    column = error.evidence.get("column", 0)
    lines = []
    for number, text in excerpt:
        mark = ">>>" if error.line <= number <= last else "   "
        lines.append(f"{number:>{width}} | {mark} {_plain(text)}".rstrip())
        if column and number == error.line:
            caret = "^" * max(1, error.evidence.get("width", 1))
            pad = "".join("\t" if c == "\t" else " " for c in text[: column - 1])
            lines.append(f"{'':>{width}} |     {pad}{caret}")
    return lines


def _plain(text: str) -> str:
    # A hostile Dockerfile must not steer the terminal it is shown on.
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
