"""What can be asked for, and which role has it: one table."""

from enum import StrEnum
from typing import Final

from argosy.values import frozen


class Action(StrEnum):
    """Something one can do to a resource. Those of the registry API are Docker's words."""

    PULL = "pull"  # manifests and blobs
    PUSH = "push"
    DELETE = "delete"  # manifests, blobs, tags, repositories
    LIST = "list"  # repositories, tags
    READ = "read"  # settings and state of the resource
    WRITE = "write"  # make and change it
    ADMIN = "admin"  # remove it, or hand it to others


class Resource(StrEnum):
    """What things are done to. All but SYSTEM and REGISTRY lie in a project."""

    REPOSITORY = "repository"
    TAG_RULE = "tag-rule"
    MEMBER = "member"
    ROBOT = "robot"
    QUOTA = "quota"
    PROJECT = "project"
    AUDIT = "audit"
    SYSTEM = "system"
    REGISTRY = "registry"  # what it says to everybody whom it knows


@frozen
class Permission:
    """An action on a resource; `name` is the repository or project it is about ("": the system)."""

    resource: Resource
    action: Action
    name: str = ""

    @property
    def project(self) -> str:
        """The project it lies in: the first component of the name."""
        return self.name.partition("/")[0]


class Role(StrEnum):
    """What a member of a project is; each has all that those before it have."""

    LIMITED_GUEST = "limited-guest"
    GUEST = "guest"
    DEVELOPER = "developer"
    MAINTAINER = "maintainer"
    PROJECT_ADMIN = "project-admin"


_R, _A = Resource, Action

ADDED: Final[dict[Role, tuple[tuple[Resource, Action], ...]]] = {
    Role.LIMITED_GUEST: ((_R.REPOSITORY, _A.PULL), (_R.PROJECT, _A.READ)),
    Role.GUEST: ((_R.REPOSITORY, _A.LIST), (_R.REPOSITORY, _A.READ), (_R.TAG_RULE, _A.READ)),
    Role.DEVELOPER: ((_R.REPOSITORY, _A.PUSH), (_R.QUOTA, _A.READ), (_R.MEMBER, _A.READ)),
    Role.MAINTAINER: (
        (_R.REPOSITORY, _A.DELETE),
        (_R.TAG_RULE, _A.WRITE),
        (_R.ROBOT, _A.READ),
        (_R.AUDIT, _A.READ),
    ),
    Role.PROJECT_ADMIN: (
        (_R.MEMBER, _A.WRITE),
        (_R.ROBOT, _A.WRITE),
        (_R.PROJECT, _A.WRITE),
        (_R.PROJECT, _A.ADMIN),
    ),
}
"""What each role has more than the one before it. A system admin has everything."""


def _cumulated() -> dict[Role, frozenset[tuple[Resource, Action]]]:
    found: dict[Role, frozenset[tuple[Resource, Action]]] = {}
    so_far: frozenset[tuple[Resource, Action]] = frozenset()
    for role, more in ADDED.items():
        so_far = found[role] = so_far | frozenset(more)
    return found


OF_ROLE: Final = _cumulated()
"""Everything each role has."""


def least_role(need: Permission) -> Role | None:
    """The first role that has it; None if only system admins may."""
    wanted = (need.resource, need.action)
    return next((role for role in Role if need.name and wanted in OF_ROLE[role]), None)


OF_EVERYBODY: Final = frozenset(
    {
        (_R.REPOSITORY, _A.PULL),
        (_R.REPOSITORY, _A.LIST),
        (_R.REPOSITORY, _A.READ),
        (_R.PROJECT, _A.READ),
    }
)
"""What everybody has, also without a name, in a public project."""

ANYONE: Final = Permission(_R.REGISTRY, _A.READ)
"""Needed where it is enough to show who one is."""

ONESELF: Final = Permission(_R.REGISTRY, _A.WRITE)
"""Needed to change what is somebody's own: who has only some of their rights is not them."""

CATALOG: Final = Permission(_R.REGISTRY, _A.LIST)
"""Needed to list repositories; which ones are listed is another matter."""
