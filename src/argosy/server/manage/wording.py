"""What the validator says of a value, in the words of who sent it."""

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, get_args

from argosy.server.manage import values

_END: Final = r"\Z"
_NAME: Final = "lower-case letters and digits, with . _ or - between them"


def _form(kind: Any) -> str:
    return str(get_args(kind)[1].pattern)


_FORMS: Final[Mapping[str, str]] = {
    _form(values.ProjectName): _NAME,
    _form(values.RepositoryName): f"{_NAME}, and / between its parts: team/app",
    _form(values.Tag): "up to 128 letters, digits, . _ and -, the first not . or -",
    _form(values.DigestText): "sha256: with 64 digits 0-9a-f, or sha512: with 128",
    _form(values.UserName): 'without : $ / \\ " and control characters',
    _form(values.NewUserName): "letters and digits, with . _ @ or - between them",
    _form(values.RobotName): "a whole name: robot$project+name, or robot$name of the system",
    _form(values.RobotShortName): f"the last part of the name alone: {_NAME}",
    _form(values.Pattern): f"{_NAME} or * ** ? {{a,b}} in place of some: team/app-*",
    _form(values.TagPattern): "a tag, with * ? or {a,b} in place of some of it: v*",
    _form(
        values.GrantText
    ): "repository:PATTERN:ACTIONS, of the actions pull, push, delete, list and"
    " read, as repository:team/**:pull,push; or quota, member, robot, tag-rule, project or"
    " audit:PROJECT:ACTIONS, of read and write",
    _form(values.Line): "without control characters",
    _form(values.Label): "without control characters",
}
"""What a pattern of the API means to people."""

_PATTERN: Final = re.compile(r"matching regex ('.*'|\".*\")$")
_SIZE: Final = re.compile(r"Expected `(str|array|object)` of length ([<>])= (\d+)$")
_NUMBER: Final = re.compile(r"Expected `(?:int|float)` ([<>])= (\d+)$")
_BOUNDS: Final = {"<": "at most", ">": "at least"}
_UNITS: Final = {"str": "characters", "array": "entries", "object": "entries"}


def plain(detail: str) -> str:
    """Msgspec's words about a value, as anybody reads them."""
    for pattern, words in _READERS.items():
        if found := pattern.search(detail):
            return words(found)
    return detail.replace("`", "")


def _matching(found: "re.Match[str]") -> str:
    pattern = ast.literal_eval(found[1])
    if pattern in _FORMS:
        return f"it has to be {_FORMS[pattern]}"
    return f"it has to fit {pattern.replace(_END, '$')}"


def _sized(found: "re.Match[str]") -> str:
    return f"it has to have {_BOUNDS[found[2]]} {found[3]} {_UNITS[found[1]]}"


def _bounded(found: "re.Match[str]") -> str:
    return f"it has to be {_BOUNDS[found[1]]} {found[2]}"


_READERS: Final[Mapping["re.Pattern[str]", Callable[["re.Match[str]"], str]]] = {
    _PATTERN: _matching,
    _SIZE: _sized,
    _NUMBER: _bounded,
}
