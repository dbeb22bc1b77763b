"""What knows people by name and password: the local users, an htpasswd file, a directory.

A back end says who somebody is and which groups they are in. What they may do follows from
the roles that projects give to those names and groups.
"""

from typing import Protocol, runtime_checkable

from argosy.errors import ArgosyError
from argosy.values import frozen


class BackendUnavailable(ArgosyError):
    """A back end cannot be asked: nobody is refused because of it, and nobody let in (503)."""

    code = "backend-unavailable"
    exit_code = 6


@frozen(kw_only=True)
class Identity:
    """Somebody a back end vouches for.

    `external_id` is what never changes over there (a DN, an issuer with its subject), where the
    name may. `is_admin` is None where the back end has no word on it: then the catalog's counts.
    """

    name: str
    backend: str
    groups: tuple[str, ...] = ()
    email: str = ""
    is_admin: bool | None = None
    external_id: str = ""


class Backend(Protocol):
    """One place that can check a password."""

    @property
    def name(self) -> str:
        """What the catalog calls it."""
        ...

    async def verify(self, name: str, password: str) -> Identity | None:
        """Who that is; None for an unknown name and for a wrong password alike.

        BackendUnavailable when it cannot be asked. An empty password is never right.
        """


@runtime_checkable
class Recalls(Protocol):
    """A back end that can tell, without a password, whether somebody is still there."""

    @property
    def recalls(self) -> bool:
        """Whether it can as it is set up."""
        ...

    async def recall(self, name: str, external_id: str) -> Identity | None:
        """Who that is now; None when they are gone. BackendUnavailable when it cannot be asked."""
