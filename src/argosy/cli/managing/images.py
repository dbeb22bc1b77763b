"""Tags as people write them, and where the management API has them."""

from argosy.cli.managing.client import path
from argosy.cli.session import registry_reference
from argosy.errors import UsageError
from argosy.values import frozen


@frozen
class NamedTag:
    """A registry, and the path of a tag in its API."""

    registry: str
    path: str


def named(text: str) -> NamedTag:
    """What `registry/repository:tag` names; UsageError if it names no tag."""
    found = registry_reference(text)
    if not found.tag or found.digest:
        raise UsageError(f"{text} names no tag", remedy="write registry/repository:tag")
    return NamedTag(found.registry, path("repositories", found.repository, "tags", found.tag))
