"""What a robot or a personal access token may do: actions on resources, by patterns of their names.

As text, which people type and databases keep:

    repository:team/**:pull,push        the repositories that the pattern fits
    tag-rule:team:read,write            something of the projects that it fits
"""

from collections.abc import Iterable, Sequence
from typing import Final, Self

from argosy.access.permissions.permission import Action, Permission, Resource
from argosy.catalog.tagging import patterns
from argosy.errors import UsageError
from argosy.values import frozen

_MOST: Final = 100
_OF_REPOSITORIES: Final = frozenset(
    {Action.PULL, Action.PUSH, Action.DELETE, Action.LIST, Action.READ}
)
_OF_OTHERS: Final = frozenset({Action.READ, Action.WRITE})
_NOT_GRANTED: Final = frozenset({Resource.SYSTEM, Resource.REGISTRY})


@frozen
class Grant:
    """Some actions on the resources whose names (of repositories or projects) fit a pattern."""

    resource: Resource
    pattern: str
    actions: frozenset[Action]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `resource:pattern:action,action`; UsageError says what cannot be granted."""
        head, _, listed = text.rpartition(":")
        kind, _, pattern = head.partition(":")
        try:
            resource = Resource(kind)
            actions = frozenset(Action(word) for word in listed.split(","))
        except ValueError as e:
            raise _bad(text, str(e)) from e
        possible = _OF_REPOSITORIES if resource is Resource.REPOSITORY else _OF_OTHERS
        if resource in _NOT_GRANTED or not actions <= possible:
            words = ", ".join(sorted(possible))
            raise _bad(text, f"on a {kind} it can grant {words}; on the system nothing")
        return cls(resource, patterns.check(pattern), actions)

    def __str__(self) -> str:
        return f"{self.resource}:{self.pattern}:{','.join(sorted(self.actions))}"

    def covers(self, need: Permission) -> bool:
        """Whether it grants that."""
        if need.resource is not self.resource:
            return False
        if need.action not in self.actions and not self._implies(need.action):
            return False
        return patterns.matches(self.pattern, need.name)

    def _implies(self, action: Action) -> bool:
        # Who may pull may see which tags there are: what else would they pull?
        return action in (Action.LIST, Action.READ) and Action.PULL in self.actions


def parse_grants(texts: Iterable[str]) -> tuple[Grant, ...]:
    """Several, each once."""
    found = tuple(dict.fromkeys(Grant.parse(text) for text in texts))
    if len(found) > _MOST:
        raise UsageError(f"more than {_MOST} grants", remedy="use patterns: team/**")
    return found


def texts(grants: Sequence[Grant]) -> list[str]:
    """As `parse_grants` reads them."""
    return [str(grant) for grant in grants]


def covered(grants: Iterable[Grant], need: Permission) -> bool:
    """Whether one of them grants that."""
    return any(grant.covers(need) for grant in grants)


def _bad(text: str, why: str) -> UsageError:
    return UsageError(
        f"{text[:300]!r} is not a grant",
        why=why,
        remedy="write repository:PATTERN:ACTIONS, for example repository:team/**:pull,push",
    )
