"""What the operations stand on: the parts of the server that they call."""

from collections.abc import Sequence

from argosy.access.principal import Principal
from argosy.catalog.catalog import Catalog
from argosy.catalog.database import Database
from argosy.values import frozen


@frozen(kw_only=True, eq=False)
class Services:
    """The library behind the API, put together by the app."""

    catalog: Catalog
    database: Database
    access_controlled: bool = False

    @property
    def database_kind(self) -> str:
        """Sqlite or postgresql."""
        return "sqlite"

    async def visible(self, principal: Principal) -> Sequence[str] | None:
        """The projects whose repositories somebody may list; None: all of them."""
        return None if principal.is_admin else ()
