"""What a CI job's claims have to be for a rule: patterns, and which rules are too wide to keep.

    acme/app        exactly that
    acme/*          * is any characters but /
    refs/**         ** is any characters

An issuer such as GitHub's signs for everybody on it: a rule has to say whose job it is, by a
claim that others cannot have. What only says what a job is about (a branch, an environment)
anybody can call theirs alike.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from argosy.errors import UsageError

LONGEST: Final = 512
MOST: Final = 20

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,99}")
_STARS: Final = re.compile(r"\*\*?")
_MOST_STARS: Final = 10
_PIECES: Final = re.compile(r"\*\*|\*|[^*]+")
_OURS: Final = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti", "azp"})
# Not job_workflow_ref: anybody's job may call a workflow of somebody else.
_BY_PATH: Final = ("repository", "project_path", "workflow_ref")
_BY_OWNER: Final = (
    *("repository_owner", "repository_id", "repository_owner_id"),
    *("namespace_path", "project_id", "namespace_id"),
)
_ABOUT: Final = frozenset(
    {
        *("ref", "ref_type", "ref_protected", "head_ref", "base_ref", "sha", "environment"),
        *("job_workflow_ref", "job_workflow_sha", "workflow", "workflow_sha", "context"),
        *("event_name", "actor", "actor_id", "runner_environment", "run_id"),
        "repository_visibility",
    }
)
"""What only says what a job is about."""


def fits(pattern: str, value: Any) -> bool:
    """Whether a claim's value fits; true and false are written so, numbers in digits."""
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, int):
        value = str(value)
    return isinstance(value, str) and len(value) <= 4 * LONGEST and _matches(pattern, value)


def all_fit(wanted: Mapping[str, str], claims: Mapping[str, Any]) -> bool:
    """Whether every claim is there and fits."""
    return bool(wanted) and all(
        name in claims and fits(pattern, claims[name]) for name, pattern in wanted.items()
    )


def check(wanted: Mapping[str, str]) -> None:
    """UsageError for claims that cannot be a rule, or that fit other people's jobs."""
    if not 0 < len(wanted) <= MOST:
        raise UsageError(f"a rule has 1 to {MOST} claims", remedy=_REMEDY)
    for name, pattern in wanted.items():
        if not _NAME.fullmatch(name) or name in _OURS:
            why = "it is checked anyway" if name in _OURS else "it is no name of a claim"
            raise UsageError(f"a rule cannot ask for the claim {name[:100]!r}", why=why)
        if not 0 < len(pattern) <= LONGEST or not pattern.isprintable():
            raise UsageError(f"the pattern for {name} is empty, too long or not printable")
        if len(_STARS.findall(pattern)) > _MOST_STARS:
            raise UsageError(
                f"the pattern for {name} has more than {_MOST_STARS} wildcards",
                why="each is tried at every place, for every job that comes",
            )
    if not any(_identifies(name, pattern) for name, pattern in wanted.items()):
        raise UsageError(
            "the rule would let in other people's jobs",
            why="none of its claims says whose job it is: each is missing, or its wildcard begins"
            " before the owner's name has ended",
            remedy=_REMEDY,
        )


_REMEDY: Final = (
    "pin repository=OWNER/NAME (GitHub), project_path=GROUP/PROJECT (GitLab), or sub; OWNER/* is"
    " fine too"
)


def _identifies(name: str, pattern: str) -> bool:
    """Whether a claim that fits can only be one owner's."""
    fixed, star, _ = pattern.partition("*")
    if name in _BY_OWNER:
        return not star
    if name in _BY_PATH:
        return not star or "/" in fixed
    return name == "sub" and _is_whose(fixed, whole=not star)


def _is_whose(fixed: str, *, whole: bool) -> bool:
    """Whether a subject that begins so (or is so as a whole) can only be one owner's."""
    # GitHub lets everybody choose which of their claims are in it, and in which order.
    parts = fixed.split(":")
    pinned = parts[: len(parts) if whole else -1][:-1:2]  # those with a whole value after them
    if parts[0] in _ABOUT and not {"repo", *_BY_PATH, *_BY_OWNER}.intersection(pinned):
        return False
    if whole:
        return True
    # repo:OWNER/…, project_path:GROUP/…; system:serviceaccount:NAMESPACE:…
    head, colon, rest = fixed.partition(":")
    return bool(head and colon) and ("/" in rest.lstrip("/") or rest.count(":") >= 2)


def _matches(pattern: str, value: str) -> bool:
    """Whether all of the value fits: in time proportional to both lengths, whatever the pattern."""
    reached = {0}
    for piece in _PIECES.findall(pattern):
        if not reached:
            return False
        if piece[0] == "*":
            reached = _after_star(piece, value, reached)
        else:
            reached = {at + len(piece) for at in reached if value.startswith(piece, at)}
    return len(value) in reached


def _after_star(star: str, value: str, reached: set[int]) -> set[int]:
    """The places a wildcard leads to from these."""
    if star == "**":
        return set(range(min(reached), len(value) + 1))
    found: set[int] = set()
    for at in sorted(reached):
        end = at
        while end not in found:
            found.add(end)
            if end == len(value) or value[end] == "/":
                break
            end += 1
    return found
