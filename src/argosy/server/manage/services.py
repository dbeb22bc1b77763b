"""What the operations stand on: the parts of the server that they call."""

from functools import cached_property
from typing import TYPE_CHECKING

from argosy.values import frozen

if TYPE_CHECKING:  # the app makes one before anybody has asked for the API
    from argosy.access.identity.workload import Workloads
    from argosy.access.service import Access
    from argosy.access.signing_in.second_factor import SecondFactor
    from argosy.catalog.catalog import Catalog
    from argosy.catalog.database import Database
    from argosy.catalog.projects.accounts import Accounts
    from argosy.catalog.projects.projects import Projects


@frozen(kw_only=True, eq=False)
class Services:
    """The library behind the API, put together by the app.

    No `access`: nobody is asked who they are. No `workloads`: no CI job's token counts.
    """

    catalog: "Catalog"
    access: "Access | None" = None
    workloads: "Workloads | None" = None
    everybody_makes_projects: bool = False

    @property
    def database(self) -> "Database":
        """Where all of it is kept."""
        return self.catalog.database

    @cached_property
    def projects(self) -> "Projects":
        """The tenants."""
        from argosy.catalog.projects.projects import Projects  # noqa: PLC0415 - see above

        return Projects(self.database)

    @cached_property
    def accounts(self) -> "Accounts":
        """What projects use."""
        from argosy.catalog.projects.accounts import Accounts  # noqa: PLC0415 - see above

        return Accounts(self.database)

    @cached_property
    def second_factor(self) -> "SecondFactor":
        """The authenticator apps of people; where access is controlled."""
        from argosy.access.signing_in.second_factor import SecondFactor  # noqa: PLC0415 - see above

        assert self.access is not None
        return SecondFactor(self.database, self.access.sealer)
