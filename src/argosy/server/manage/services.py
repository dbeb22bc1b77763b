"""What the operations stand on: the parts of the server that they call."""

from typing import TYPE_CHECKING

from argosy.values import frozen

if TYPE_CHECKING:  # the app makes one before anybody has asked for the API
    from argosy.access.service import Access
    from argosy.catalog.catalog import Catalog
    from argosy.catalog.database import Database


@frozen(kw_only=True, eq=False)
class Services:
    """The library behind the API, put together by the app. No `access`: nobody is asked who they are."""

    catalog: "Catalog"
    database: "Database"
    access: "Access | None" = None
