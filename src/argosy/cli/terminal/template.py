r"""The small part of Go templates that `--format` users of docker and buildx type.

    {{.Name}}  {{.Manifest.Digest}}  {{json .Manifest}}  {{len .Image.RootFS}}
    {{index .Image.Config.Labels "a.b"}}  {{range .Manifest.Manifests}}{{.Digest}}{{"\n"}}{{end}}
    {{if .Image}}…{{else}}…{{end}}  {{println .Name}}

Fields are found in JSON objects whatever their capitals. An absent field is
`<no value>`, as in Go.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from argosy.errors import UsageError
from argosy.values import frozen

_PARTS = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_WORD = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<number>\d+)|(?P<open>\()|(?P<close>\))"""
    r"""|(?P<word>[^\s()]+))"""
)
_DEEPEST = 32  # nested blocks and parentheses

Write = Callable[[Any], str]


@frozen
class _Text:
    text: str


@frozen
class _Action:
    words: tuple[Any, ...]


@frozen
class _Block:
    kind: str  # range, if
    words: tuple[Any, ...]
    body: tuple[Any, ...]
    otherwise: tuple[Any, ...]


class _Failure(Exception):
    """What is wrong with a template."""


def render(template: str, value: Any) -> str:
    """The template filled from JSON values; UsageError says what it does not understand."""
    try:
        return "".join(_written(node, value, value) for node in _parsed(template))
    except _Failure as e:
        raise UsageError(
            f"--format {template!r} cannot be used",
            why=str(e),
            remedy="use fields, json, index, len, range, if and println; or --json",
        ) from e


def _parsed(template: str) -> tuple[Any, ...]:
    pieces = _pieces(template)
    nodes, ended = _nodes(pieces, 0)
    if ended:
        raise _Failure(f"{{{{{ended}}}}} ends nothing")
    return nodes


def _pieces(template: str) -> Iterator[_Text | tuple[str, ...]]:
    """Text, and the words inside of each pair of braces."""
    at, trimmed = 0, False
    for found in _PARTS.finditer(template):
        text = template[at : found.start()]
        text = text.lstrip() if trimmed else text
        yield _Text(_unescaped(text.rstrip() if found[0].startswith("{{-") else text))
        yield (found[1],)
        at, trimmed = found.end(), found[0].endswith("-}}")
    rest = template[at:]
    if "{{" in rest:
        raise _Failure("a {{ is not closed")
    yield _Text(_unescaped(rest.lstrip() if trimmed else rest))


def _unescaped(text: str) -> str:
    # docker lets \n and \t stand for what they mean outside of braces.
    return text.replace("\\n", "\n").replace("\\t", "\t")


def _nodes(
    pieces: Iterator[_Text | tuple[str, ...]], depth: int, until: Sequence[str] = ()
) -> tuple[tuple[Any, ...], str]:
    if depth > _DEEPEST:
        raise _Failure("it is nested too deeply")
    nodes: list[Any] = []
    for piece in pieces:
        if isinstance(piece, _Text):
            nodes.append(piece)
            continue
        head = piece[0].split(maxsplit=1)[0] if piece[0].split() else ""
        if head in ("end", "else"):
            if head not in until:
                raise _Failure(f"{{{{{head}}}}} stands alone")
            return tuple(nodes), head
        nodes.append(_node(piece[0], head, pieces, depth))
    if until:
        raise _Failure("{{end}} is missing")
    return tuple(nodes), ""


def _node(
    text: str, head: str, pieces: Iterator[_Text | tuple[str, ...]], depth: int
) -> _Action | _Block:
    if head not in ("range", "if"):
        return _Action(_words(text))
    body, ended = _nodes(pieces, depth + 1, ("end", "else"))
    otherwise: tuple[Any, ...] = ()
    if ended == "else":
        otherwise, _ = _nodes(pieces, depth + 1, ("end",))
    return _Block(head, _words(text)[1:], body, otherwise)


def _words(text: str) -> tuple[Any, ...]:
    """The words of an action; a parenthesis becomes a nested tuple."""
    stack: list[list[Any]] = [[]]
    at = 0
    while text[at:].strip():
        found = _WORD.match(text, at)
        if found is None:
            raise _Failure(f"{text[at:]!r} cannot be read")
        at = found.end()
        if found["open"]:
            stack.append([])
        elif found["close"]:
            if len(stack) == 1:
                raise _Failure("a ) is too many")
            stack[-2].append(tuple(stack.pop()))
        else:
            stack[-1].append(_word(found))
        if len(stack) > _DEEPEST:
            raise _Failure("it is nested too deeply")
    if len(stack) > 1:
        raise _Failure("a ( is not closed")
    if not stack[0]:
        raise _Failure("a pair of braces is empty")
    return tuple(stack[0])


def _word(found: re.Match[str]) -> Any:
    if found["number"]:
        return int(found["number"])
    if (text := found["text"]) is None:
        return found["word"]
    if text.startswith("`"):
        return _Text(text[1:-1])
    try:
        return _Text(json.loads(text, strict=False))
    except ValueError as e:
        raise _Failure(f"the text {text} cannot be read") from e


def _written(node: Any, value: Any, root: Any) -> str:
    if isinstance(node, _Text):
        return node.text
    if isinstance(node, _Action):
        return _shown(_call(node.words, value, root))
    found = _call(node.words, value, root)
    if node.kind == "if":
        chosen = node.body if found else node.otherwise
        return "".join(_written(n, value, root) for n in chosen)
    items = _items(found)
    if not items:
        return "".join(_written(n, value, root) for n in node.otherwise)
    return "".join(_written(n, item, root) for item in items for n in node.body)


def _items(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [value[key] for key in sorted(value)]
    if value is None or isinstance(value, list):
        return value or []
    raise _Failure("range needs a list or an object")


def _call(words: tuple[Any, ...], value: Any, root: Any) -> Any:
    if not words:
        raise _Failure("an expression is empty")
    if "|" in words:
        cut = len(words) - 1 - words[::-1].index("|")
        piped = _call(words[:cut], value, root)
        return _function(words[cut + 1 :], [piped], value, root)
    if isinstance(words[0], str) and not words[0].startswith((".", "$")):
        return _function(words, [], value, root)
    if len(words) > 1:
        raise _Failure("a field takes no arguments")
    return _operand(words[0], value, root)


def _function(words: tuple[Any, ...], piped: list[Any], value: Any, root: Any) -> Any:
    name = words[0] if words else ""
    args = [*(_operand(w, value, root) for w in words[1:]), *piped]
    function = _FUNCTIONS.get(name) if isinstance(name, str) else None
    if function is None:
        raise _Failure(f"there is no function {name!r}")
    try:
        return function(*args)
    except (TypeError, LookupError, ValueError) as e:
        raise _Failure(f"{name} cannot be applied: {e}") from e


def _operand(word: Any, value: Any, root: Any) -> Any:
    if isinstance(word, _Text):
        return word.text
    if isinstance(word, int):
        return word
    if isinstance(word, tuple):
        return _call(word, value, root)
    if word.startswith("$"):
        return _field(root, word[1:])
    if word.startswith("."):
        return _field(value, word)
    return {"true": True, "false": False, "nil": None}.get(word) if word in _NAMES else _bad(word)


_NAMES = ("true", "false", "nil")


def _bad(word: str) -> Any:
    raise _Failure(f"{word!r} is neither a field nor a value")


def _field(value: Any, path: str) -> Any:
    for name in filter(None, path.split(".")):
        if not isinstance(value, dict):
            return None
        found = {key.lower(): key for key in value}.get(name.lower())
        value = value[found] if found is not None else None
    return value


def _shown(value: Any) -> str:
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else value[key]
    return value


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": lambda value: json.dumps(value, ensure_ascii=False),
    "index": _index,
    "len": len,
    "println": lambda *values: " ".join(map(_shown, values)) + "\n",
    "print": lambda *values: "".join(map(_shown, values)),
    "upper": str.upper,
    "lower": str.lower,
    "join": lambda values, by: by.join(map(_shown, values)),
    "eq": lambda value, *others: value in others,
    "ne": lambda a, b: a != b,
    "not": lambda value: not value,
}
