"""Errors as people and scripts read them.

For people, on stderr: `argosy: error: what failed`, then `why:` and `do:`. With
`--json`, on stderr as well, one line `{"error": {...}}`: stdout holds a whole
result or nothing.
"""

import json
import os
import sys

from argosy.cli.terminal.visible import visible
from argosy.concurrency import first_error
from argosy.errors import ArgosyError, DockerfileError, StepFailed, StorageError, UsageError

_INDENT = "       "


def plain_cause(error: BaseException) -> BaseException:
    """The one error to tell, if a group of them came."""
    return first_error(error) if isinstance(error, BaseExceptionGroup) else error


def unexpected(error: BaseException) -> ArgosyError:
    """An error nobody translated: a file's is told as such, anything else is a bug of ours."""
    if isinstance(error, OSError) and error.filename:
        return StorageError(
            f"{error.filename}: {error.strerror}", remedy="check the path and its permissions"
        )
    if isinstance(error, FileNotFoundError) and _is_nowhere():
        return UsageError(
            "the current directory is gone",
            why="it was removed, or replaced by another of the same name",
            remedy="run `cd .` or change to a directory that is there",
        )
    return ArgosyError(
        f"unexpected {type(error).__name__}: {error}",
        why="this is a bug in Argosy, not in what you typed",
        remedy="report it with the output of the same command with --debug,"
        " and of `argosy version --json`",
    )


def _is_nowhere() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def tell(error: ArgosyError, *, as_json: bool = False) -> None:
    """Print an error on stderr; a closed stderr is no error."""
    if as_json:
        text = json.dumps({"error": {**error.to_json(), "exit_code": error.exit_code}})
    else:
        text = words(error)
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        return


def words(error: ArgosyError) -> str:
    """An error in words: what failed, the output, why, and what to do."""
    if isinstance(error, DockerfileError):
        from argosy.build.dockerfile.render import render

        return f"argosy: {render(error)}"
    lines = [f"argosy: error: {visible(error.summary)}"]
    if place := _place(error):
        lines.append(f"{_INDENT} at:  {visible(place)}")
    if isinstance(error, StepFailed):
        lines += [f"{_INDENT} | {line}" for line in error.output.rstrip("\n").splitlines()]
    if error.why:
        lines.append(f"{_INDENT} why: {_continued(error.why)}")
    if error.remedy:
        lines.append(f"{_INDENT} do:  {_continued(error.remedy)}")
    return "\n".join(lines)


def _place(error: ArgosyError) -> str:
    """Where in the Dockerfile the step stands that failed; nothing for any other error."""
    known = error.evidence
    step = "" if isinstance(error, StepFailed) else str(known.get("step", ""))
    return f"{known['file']}:{known['line']} {step}".rstrip() if known.get("line") else ""


def _continued(text: str) -> str:
    return f"\n{_INDENT}      ".join(visible(text).splitlines())
