"""What stands in the way of a change to accounts."""

from argosy.errors import Denied, RegistryError


class Conflict(RegistryError):
    """The change does not go with what is there (409)."""

    code = "conflict"

    def __init__(self, summary: str, *, why: str = "", remedy: str = "") -> None:
        super().__init__(summary, status=409, registry_code="CONFLICT", why=why, remedy=remedy)


def beyond(summary: str, *, why: str, remedy: str = "") -> Denied:
    """A change that would give more than its maker has (403)."""
    return Denied(summary, status=403, registry_code="DENIED", why=why, remedy=remedy)
