"""From a method and a path to an operation: a tree of segments, and nothing guessed.

A segment is percent-decoded after the path is split, so a repository's name is one
segment (`team%2Fapp`). Empty segments, `.` and `..` are names like others and fit nothing.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import unquote

from argosy.server.manage.operation import Operation

PREFIX: Final = "/api/v1"


class Route(NamedTuple):
    """An operation and what its path's names stand for."""

    operation: Operation
    names: dict[str, str]


class Unrouted(NamedTuple):
    """No operation: the methods that the path has; none if there is no such path."""

    methods: list[str]


class _Node:
    __slots__ = ("fixed", "methods", "parameter", "variable")

    def __init__(self) -> None:
        self.fixed: dict[str, _Node] = {}
        self.variable: _Node | None = None
        self.parameter = ""
        self.methods: dict[str, Operation] = {}

    def child(self, part: str) -> "_Node":
        if not part.startswith("{"):
            return self.fixed.setdefault(part, _Node())
        if self.variable is None:
            self.variable, self.parameter = _Node(), part[1:-1]
        if self.parameter != part[1:-1]:
            raise ValueError(f"{part} and {{{self.parameter}}} stand in the same place")
        return self.variable


class Router:
    """Finds operations by their paths below the prefix."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._root = _Node()
        for operation in operations:
            node = self._root
            for part in operation.path[1:].split("/"):
                node = node.child(part)
            if operation.method in node.methods:
                raise ValueError(f"{operation.method} {operation.path} is there twice")
            node.methods[operation.method] = operation

    def find(self, method: str, target: str) -> Route | Unrouted:
        """The operation for a method and a raw path below the prefix; HEAD is GET's."""
        node, names = self._root, {}
        for segment in target[1:].split("/"):
            following = node.fixed.get(segment)
            if following is None:
                if (following := node.variable) is None or not segment:
                    return Unrouted([])
                names[node.parameter] = unquote(segment, errors="strict")
            node = following
        found = node.methods.get("GET" if method == "HEAD" else method)
        if found is None:
            return Unrouted(_allowed(node.methods))
        return Route(found, names)


def _allowed(methods: Iterable[str]) -> list[str]:
    known = set(methods)
    if not known:
        return []
    return sorted(known | {"OPTIONS"} | ({"HEAD"} if "GET" in known else set()))
