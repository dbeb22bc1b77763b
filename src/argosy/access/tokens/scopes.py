"""Docker's scopes: what a client asks a token for, and what of it it is granted.

    repository:team/app:pull,push      type(class):name:actions; the name may hold a port's colon

Source: distribution docs/spec/auth/scope.md and token.md. What is granted is what was asked
for and is allowed: less than was asked for is an answer, not an error.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, Self

from argosy.access.permissions.permission import Action, Permission, Resource
from argosy.errors import UsageError
from argosy.model.reference import is_name
from argosy.values import frozen

MOST: Final = 50
"""Scopes in one request; a token has to fit into a header."""

REPOSITORY: Final = "repository"
CATALOG: Final = ("registry", "catalog")
_ACTIONS: Final = ("pull", "push", "delete")
LIST: Final = "list"  # of tags: granted with pull to who has it, asked for by nobody

May = Callable[[Permission], Awaitable[bool]]


@frozen
class Scope:
    """Actions that somebody wants on a resource."""

    kind: str
    name: str
    actions: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `type:name:actions`; UsageError if it is not of that form."""
        kind, _, rest = text.partition(":")
        name, colon, listed = rest.rpartition(":")
        if not colon or not kind or not name:
            raise UsageError(
                f"{text[:300]!r} is not a scope",
                remedy="a scope is type:name:actions, such as repository:team/app:pull",
            )
        actions = tuple(dict.fromkeys(word.strip() for word in listed.split(",") if word.strip()))
        return cls(kind.partition("(")[0], name, actions)

    @property
    def wanted(self) -> tuple[str, ...]:
        """The actions of a repository that it stands for: `*` is all of them."""
        if "*" in self.actions:
            return _ACTIONS
        return tuple(action for action in self.actions if action in _ACTIONS)


@frozen
class Granted:
    """Actions that somebody got, as a token says it."""

    kind: str
    name: str
    actions: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """An entry of the claim `access`."""
        return {"type": self.kind, "name": self.name, "actions": list(self.actions)}

    @classmethod
    def from_json(cls, value: Any) -> Self | None:
        """Read an entry; None if it is not of that form."""
        if not isinstance(value, dict):
            return None
        kind, name, actions = value.get("type"), value.get("name"), value.get("actions")
        if not isinstance(kind, str) or not isinstance(name, str) or not isinstance(actions, list):
            return None
        if not all(isinstance(action, str) for action in actions):
            return None
        return cls(kind, name, tuple(actions))

    def __str__(self) -> str:
        shown = [action for action in self.actions if action != LIST]
        return f"{self.kind}:{self.name}:{','.join(shown)}"


def parse_scopes(values: Iterable[str]) -> tuple[Scope, ...]:
    """Scopes, repeated and separated by blanks; each once. UsageError if they are too many."""
    found = tuple(
        dict.fromkeys(Scope.parse(text) for value in values for text in value.split(" ") if text)
    )
    if len(found) > MOST:
        raise UsageError(f"more than {MOST} scopes", remedy="ask for fewer at once")
    return found


async def granted(scopes: Sequence[Scope], may: May) -> list[Granted]:
    """What of the scopes is allowed."""
    found = []
    for scope in scopes:
        if scope.kind == REPOSITORY and is_name(scope.name):
            actions = [word for word in scope.wanted if await may(_need(scope.name, word))]
            if "pull" in scope.wanted and await may(_need(scope.name, LIST)):
                actions.append(LIST)
            found.append(Granted(REPOSITORY, scope.name, tuple(actions)))
        elif (scope.kind, scope.name) == CATALOG and "*" in scope.actions:
            # Everybody may list: what is on the list is another matter.
            found.append(Granted(*CATALOG, ("*",)))
    return [one for one in found if one.actions]


def _need(name: str, action: str) -> Permission:
    return Permission(Resource.REPOSITORY, Action(action), name)
