"""What images are to tell of their origin: the words of `--describe`, and the pipeline's trace."""

import re
from collections.abc import Iterable, Mapping
from typing import Literal, Self, get_args

from argosy.errors import UsageError
from argosy.values import frozen

Word = Literal["base", "git", "labels", "trace", "none"]
DEFAULT: tuple[Word, ...] = ("base", "git")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_OFF = ("0", "f", "false", "no")
_ON = ("1", "t", "true", "full", "yes")


@frozen(kw_only=True)
class Telling:
    """What images are to tell: `base`, `git`, git as `labels` too, the pipeline's `trace`."""

    words: frozenset[str] = frozenset(DEFAULT)
    trace: str = ""  # of the pipeline that builds, if there is one

    @classmethod
    def parse(cls, texts: Iterable[str], environ: Mapping[str, str]) -> Self:
        """Read `--describe` words, comma-separated, and buildx's variables. UsageError.

        BUILDX_GIT_INFO=false leaves git out, BUILDX_GIT_LABELS=true or full adds labels.
        """
        words = {w.strip() for text in texts for w in text.split(",") if w.strip()}
        if unknown := sorted(words - set(get_args(Word))):
            raise UsageError(
                f"--describe has no {unknown[0]!r}",
                remedy=f"use {', '.join(get_args(Word))}, or several with commas",
            )
        if "none" in words and len(words) > 1:
            raise UsageError("--describe none goes with nothing else")
        if not words:
            words = set(DEFAULT)
            if environ.get("BUILDX_GIT_LABELS", "").lower() in _ON:
                words.add("labels")
            if environ.get("BUILDX_GIT_INFO", "").lower() in _OFF:
                words -= {"git"}
        if "labels" in words:
            words.add("git")
        return cls(words=frozenset(words), trace=trace_of(environ))


def trace_of(environ: Mapping[str, str]) -> str:
    """The pipeline's trace id: W3C TRACEPARENT's, else the run that GitHub or GitLab names."""
    if found := _TRACEPARENT.fullmatch(environ.get("TRACEPARENT", "").strip().lower()):
        return found[1]
    if run := environ.get("GITHUB_RUN_ID"):
        attempt = environ.get("GITHUB_RUN_ATTEMPT", "1")
        return f"github:{environ.get('GITHUB_REPOSITORY', '')}/{run}/{attempt}"
    if pipeline := environ.get("CI_PIPELINE_ID"):
        return (
            f"gitlab:{environ.get('CI_PROJECT_PATH', '')}/{pipeline}/{environ.get('CI_JOB_ID', '')}"
        )
    return ""
