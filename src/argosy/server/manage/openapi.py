"""The table of operations as an OpenAPI 3.1 document.

Sources: OpenAPI 3.1.1; RFC 9457 for the problems; msgspec for the types' JSON Schemas.
"""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from argosy import __version__
from argosy.server.manage.operation import IDENTIFIED, ONESELF, PUBLIC, Nothing, Operation
from argosy.server.manage.problems import KIND, Problem
from argosy.server.manage.router import PREFIX
from argosy.server.manage.values import PATH_EXAMPLES, PATH_TYPES

_REF: Final = "#/components/schemas/{name}"
_GENERIC = re.compile(r"Page_(\w+)_")
_ETAG: Final = {"type": "string", "pattern": '^(?:W/)?"[!#-~]*"$'}
_PROBLEM: Final = {"content": {KIND: {"schema": {"$ref": _REF.format(name="Problem")}}}}

_DESCRIPTION: Final = """\
Everything about an Argosy registry but images themselves, which /v2 has. Errors are
application/problem+json. Lists are paged by `limit` and `after`. What is changed by PUT and
PATCH needs the ETag of what was read in If-Match. A POST with an Idempotency-Key may be
sent again: it counts once."""


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document, as plain JSON values."""
    schemas, components = _schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        item = paths.setdefault(one.path, {})
        if one.parameters and "parameters" not in item:
            item["parameters"] = [_path_parameter(name) for name in one.parameters]
        item[one.method.lower()] = _operation(one, schemas, components)
    groups = dict.fromkeys(one.group for one in operations)
    return {
        "openapi": "3.1.1",
        "info": {"title": "Argosy", "version": __version__, "description": _DESCRIPTION},
        "servers": [{"url": PREFIX}],
        "security": [{"basic": []}, {"bearer": []}],
        "tags": [{"name": group} for group in groups],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {
                name: {"description": text, **_PROBLEM} for name, text in _RESPONSES.values()
            },
            "headers": _HEADERS,
            "securitySchemes": _SECURITY,
        },
    }


def text(operations: Sequence[Operation]) -> str:
    """The document as it is in the docs."""
    return msgspec.json.format(msgspec.json.encode(document(operations)), indent=2).decode() + "\n"


_SECURITY: Final = {
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "A user with a password or personal access token; a robot with its secret.",
    },
    "bearer": {"type": "http", "scheme": "bearer", "description": "A personal access token."},
}
_HEADERS: Final = {
    "ETag": {"description": "The state that was read; for If-Match.", "schema": _ETAG},
    "Location": {
        "description": "Where what was made is.",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Link": {
        "description": "The next page (RFC 8288).",
        "schema": {"type": "string", "examples": ['</api/v1/projects?after=team>; rel="next"']},
    },
    "Allow": {"description": "The methods that are.", "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "How to log in.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string"}},
}
_RESPONSES: Final = {
    400: ("Invalid", "The path, the query, a header or the body is off; `errors` names the field."),
    401: ("Unauthorized", "Nobody, or somebody unknown: log in."),
    403: ("Denied", "Who asks may not do this; the detail names the missing permission."),
    404: ("NotFound", "There is none of that name."),
    405: ("MethodNotAllowed", "Another method is meant."),
    406: ("NotAcceptable", "The client takes nothing that this gives."),
    409: ("Conflict", "It is there already, or something stands in the way."),
    412: ("ChangedMeanwhile", "Somebody else has changed it: read it again."),
    413: ("TooLarge", "The body is too long."),
    415: ("UnsupportedMediaType", "The body is not JSON."),
    422: ("CannotBe", "It is well-formed, but cannot be; or the Idempotency-Key was used before."),
    428: ("PreconditionRequired", "The change needs an If-Match header."),
    429: ("TooMany", "Slow down."),
    503: ("Unavailable", "The database, or what knows the users, cannot be reached."),
}


def statuses(one: Operation) -> list[int]:
    """The refusals an operation may give."""
    found = {400, 406, 429, 503, *one.refusals}
    if one.need != PUBLIC:
        found |= {401, 403}
    if one.parameters:
        found.add(404)
    if not one.safe:
        found |= {403, 412, 413}
    if one.body is not Nothing:
        found |= {415, 422}
    if one.method == "POST":
        found |= {409, 422}
    if one.guarded:
        found.add(428)
    return sorted(found)


def _schemas(operations: Sequence[Operation]) -> tuple[dict[int, Any], dict[str, Any]]:
    """Each type's schema by the type's identity, and the components that they refer to."""
    kinds: list[Any] = [Problem]
    for one in operations:
        kinds += [one.query, one.body, *([one.answer] if one.answer is not None else [])]
    kinds += PATH_TYPES.values()
    found, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    schemas = {id(kind): _clean(schema) for kind, schema in zip(kinds, found, strict=True)}
    queries = {q.__name__ for q in (one.query for one in operations)} | {"Nothing"}
    kept = {_renamed(k): _clean(v) for k, v in sorted(components.items()) if k not in queries}
    everything = {_renamed(k): _clean(v) for k, v in components.items()}
    schemas[0] = everything  # the types of queries are read from here, and shown as parameters
    return schemas, kept


def _renamed(name: str) -> str:
    return _GENERIC.sub(r"\1Page", name)


def _clean(value: Any) -> Any:
    r"""A schema with the names we want, and `$` where Python's patterns have `\Z`."""
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if not isinstance(value, dict):
        return value
    cleaned = {key: _clean(item) for key, item in value.items()}
    if isinstance(found := cleaned.get("pattern"), str):
        cleaned["pattern"] = found.removesuffix(r"\Z") + ("$" if found.endswith(r"\Z") else "")
    if isinstance(found := cleaned.get("$ref"), str):
        cleaned["$ref"] = _renamed(found)
    if isinstance(found := cleaned.get("title"), str) and "[" in found:
        cleaned["title"] = re.sub(r"Page\[(\w+)\]", r"\1Page", found)
    return cleaned


def _operation(
    one: Operation, schemas: dict[int, Any], _components: dict[str, Any]
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": one.id,
        "tags": [one.group],
        "summary": one.summary,
        "description": "\n\n".join(filter(None, (one.description, _permission_words(one)))),
    }
    if parameters := [*_query_parameters(one, schemas), *_header_parameters(one)]:
        made["parameters"] = parameters
    if one.body is not Nothing:
        content: dict[str, Any] = {"schema": schemas[id(one.body)]}
        if one.example is not None:
            content["example"] = msgspec.to_builtins(one.example)
        made["requestBody"] = {"required": True, "content": {"application/json": content}}
    made["responses"] = _responses(one, schemas)
    if one.need == PUBLIC:
        made["security"] = []
    return made


def _permission_words(one: Operation) -> str:
    if one.need == PUBLIC:
        return "Everybody may ask."
    if one.need == IDENTIFIED:
        return "Everybody who has logged in may ask."
    if one.need == ONESELF:
        return "People may ask, for themselves; no robots, no tokens with scopes."
    assert not isinstance(one.need, str)
    resource, action = one.need
    return f"Permission: `{resource.value}:{action.value}`."


def _path_parameter(name: str) -> dict[str, Any]:
    schema = _clean(msgspec.json.schema(PATH_TYPES[name]))
    found: dict[str, Any] = {"name": name, "in": "path", "required": True}
    if description := schema.pop("description", ""):
        found["description"] = description
    examples = schema.pop("examples", [])
    if name in PATH_EXAMPLES:
        examples = [PATH_EXAMPLES[name]]
    return {**found, "schema": schema, **({"example": examples[0]} if examples else {})}


def _query_parameters(one: Operation, schemas: dict[int, Any]) -> list[dict[str, Any]]:
    schema = schemas[id(one.query)]
    if "$ref" in schema:
        schema = schemas[0][schema["$ref"].rpartition("/")[2]]
    found = []
    for name, kind in schema.get("properties", {}).items():
        shown = {key: value for key, value in kind.items() if key != "description"}
        if shown.get("default") in ("", None):
            shown.pop("default", None)
        parameter: dict[str, Any] = {"name": name, "in": "query", "schema": _not_null(shown)}
        if "description" in kind:
            parameter["description"] = kind["description"]
        if name in schema.get("required", ()):
            parameter["required"] = True
        found.append(parameter)
    return found


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query has no null: what may be absent is a plain value."""
    choices = [c for c in schema.get("anyOf", ()) if c != {"type": "null"}]
    if len(choices) != 1:
        return schema
    return {**{k: v for k, v in schema.items() if k != "anyOf"}, **choices[0]}


def _header_parameters(one: Operation) -> list[dict[str, Any]]:
    found = []
    if one.guarded:
        found.append(
            {
                "name": "If-Match",
                "in": "header",
                "required": True,
                "description": "The ETag of what was read, or `*`.",
                "schema": {"type": "string", "pattern": '^(?:\\*|"[!#-~]+")$'},
                "example": '"p1.3"',
            }
        )
    if one.repeatable:
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "A random name for this request: sent again, it counts once.",
                "schema": {
                    "type": "string",
                    "minLength": 16,
                    "maxLength": 255,
                    "pattern": "^[!-~]+$",
                },
                "example": "0f8fad5b-d9cb-469f-a165-70867728950e",
            }
        )
    return found


def _responses(one: Operation, schemas: dict[int, Any]) -> dict[str, Any]:
    status = one.status if one.answer is not None else 204
    good: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if one.answer is not None:
        content: dict[str, Any] = {"schema": schemas[id(one.answer)]}
        if one.example is not None and one.body is Nothing:
            content["example"] = msgspec.to_builtins(one.example)
        good["content"] = {one.media_type: content}
    found = {str(status): good}
    if one.safe:
        found["304"] = {"description": "As it was: see If-None-Match."}
    for code in statuses(one):
        found[str(code)] = {"$ref": f"#/components/responses/{_RESPONSES[code][0]}"}
    return found
