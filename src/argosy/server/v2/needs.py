"""Which permission each endpoint of the registry needs, as one table."""

from functools import lru_cache
from typing import Final

from argosy.access.permissions.permission import ANYONE, CATALOG, Action, Permission, Resource

_READ: Final = {"GET": Action.PULL, "HEAD": Action.PULL}

NEEDS: Final[dict[str, dict[str, Action]]] = {
    "manifests": {**_READ, "PUT": Action.PUSH, "DELETE": Action.DELETE},
    "blobs": {**_READ, "DELETE": Action.DELETE},
    "referrers": _READ,
    "tags": {"GET": Action.LIST, "HEAD": Action.LIST},
    "uploads": {"POST": Action.PUSH},
    "upload": {
        "GET": Action.PUSH,
        "HEAD": Action.PUSH,
        "PATCH": Action.PUSH,
        "PUT": Action.PUSH,
        "DELETE": Action.PUSH,
    },
}
"""The action on the repository, by endpoint and method."""


@lru_cache(maxsize=65536)
def need(endpoint: str, name: str, method: str) -> Permission:
    """What has to be allowed before that is done."""
    if endpoint == "catalog":
        return CATALOG
    actions = NEEDS.get(endpoint)
    if actions is None:
        return ANYONE
    return Permission(Resource.REPOSITORY, actions[method], name)
