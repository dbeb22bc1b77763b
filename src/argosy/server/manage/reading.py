"""What a client sends, read strictly: path, query, headers and body; each refusal names the field."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec
from msgspec import inspect

from argosy.server.http.messages import Request
from argosy.server.manage.operation import Nothing, Operation
from argosy.server.manage.problems import Refusal, invalid
from argosy.server.manage.values import PATH_TYPES
from argosy.server.manage.wording import plain

MOST: Final = 256 << 10
"""Bytes of a body, at most."""

_WHERE = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_MISSING = re.compile(r"Object missing required field `(.*)`")
_WHOLE = re.compile(r"-?[0-9]{1,19}")
_SWITCH: Final = {"true": True, "false": False}
_JSON_TYPES: Final = re.compile(r"application/(?:[a-z0-9.-]+\+)?json", re.IGNORECASE)


def path_names(names: Mapping[str, str]) -> dict[str, Any]:
    """The names in a path, each of its type; Refusal 400 names the one that is off."""
    found: dict[str, Any] = {}
    for name, text in names.items():
        kind = PATH_TYPES[name]
        number = get_origin(kind) is Annotated and get_args(kind)[0] is int
        try:
            found[name] = msgspec.convert(_whole(text) if number else text, kind)
        except msgspec.ValidationError as e:
            remedy = "write the / in a name as %2F, once" if "%" in text else ""
            raise invalid(name, _plain(str(e))[1], remedy=remedy) from e
    return found


def _whole(text: str) -> int | str:
    """A number, or the text as it is: then the type refuses it."""
    return int(text) if _WHOLE.fullmatch(text) else text


class QueryReader:
    """Reads the query of one operation into its type."""

    def __init__(self, kind: type[Any]) -> None:
        self._kind = kind
        info = inspect.type_info(kind)
        assert isinstance(info, inspect.StructType)
        self._fields = {field.encode_name: _basic(field.type) for field in info.fields}

    def read(self, request: Request) -> Any:
        """The query; Refusal 400 names what is off, unknown or there twice."""
        text = request.target.partition("?")[2]
        if not text and not self._fields:
            return self._kind()
        found: dict[str, Any] = {}
        for name, value in _pairs(text):
            kind = self._fields.get(name)
            if kind is None:
                raise invalid(name, "there is no such parameter here", remedy=self._remedy())
            if isinstance(kind, inspect.ListType):
                found.setdefault(name, []).append(_typed(value, kind.item_type))
            elif name in found:
                raise invalid(name, "it is given more than once")
            else:
                found[name] = _typed(value, kind)
        return converted(found, self._kind)

    def _remedy(self) -> str:
        known = ", ".join(self._fields)
        return f"known are {known}" if known else "this takes none"


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError as e:  # too many, or bytes that are not UTF-8
        raise invalid("query", "it cannot be read") from e


def _basic(kind: inspect.Type) -> inspect.Type:
    """What is left of a type without its annotations and without null."""
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.UnionType):
        kind = next(t for t in kind.types if not isinstance(t, inspect.NoneType))
        return _basic(kind)
    return kind


def _typed(text: str, kind: inspect.Type) -> Any:
    """The text as what it should be, or as it is: then the type refuses it."""
    if isinstance(kind, inspect.IntType):
        return _whole(text)
    if isinstance(kind, inspect.BoolType):
        return _SWITCH.get(text, text)
    return text


async def body(request: Request, operation: Operation) -> tuple[Any, bytes]:
    """The body and its bytes; Refusal 400 or 415, BodyTooLarge 413."""
    if operation.body is Nothing:
        # Some clients send an empty object along, or a type without a body: both say nothing.
        raw = await request.body.read(MOST) if request.body.length != 0 else b""
        if raw.strip() not in (b"", b"{}"):
            raise invalid("", "this takes no body")
        return Nothing(), raw
    kind = (request.headers.get("content-type") or "").partition(";")[0].strip()
    if not _JSON_TYPES.fullmatch(kind):
        raise Refusal(
            415,
            "unsupported-media-type",
            f"the body is {kind or 'of no type'}",
            remedy="send JSON with Content-Type: application/json",
            headers=[("Accept-Post" if operation.method == "POST" else "Accept-Patch", _JSON)],
        )
    raw = await request.body.read(MOST)
    return decoded(raw, operation.body), raw


_JSON: Final = "application/json"


def decoded(raw: bytes, kind: type[Any]) -> Any:
    """JSON as a type; Refusal 400 names the field."""
    try:
        try:
            return msgspec.json.decode(raw, type=kind)
        except msgspec.ValidationError as e:
            if "got `float`" not in str(e):
                raise
            return msgspec.convert(_whole_numbers(msgspec.json.decode(raw)), kind)
    except msgspec.ValidationError as e:
        field, detail = _plain(str(e))
        raise invalid(field, detail) from e
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Refusal(400, "invalid-json", "the body is not JSON", why=str(e)[:200]) from e


def _whole_numbers(value: Any) -> Any:
    """JSON values with 7 for 7.0: to JSON Schema, and to some writers of JSON, they are the same."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole_numbers(one) for one in value]
    if isinstance(value, dict):
        return {name: _whole_numbers(one) for name, one in value.items()}
    return value


def converted(found: Mapping[str, Any], kind: type[Any]) -> Any:
    """Values as a type; Refusal 400 names the field."""
    try:
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as e:
        field, detail = _plain(str(e))
        raise invalid(field, detail) from e


def _plain(message: str) -> tuple[str, str]:
    """The field and what is wrong with it, from msgspec's words."""
    where = _WHERE.search(message)
    field = where[1] if where else ""
    detail = message[: where.start()] if where else message
    for pattern, words in ((_UNKNOWN, "there is no such field"), (_MISSING, "it is missing")):
        if named := pattern.fullmatch(detail):
            return ".".join(filter(None, (field, named[1]))), words
    return field, plain(detail)
