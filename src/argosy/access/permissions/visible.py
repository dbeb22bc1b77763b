"""Which repositories somebody may see in a list."""

from collections.abc import Iterable
from typing import Final

from argosy.access.permissions.permission import Action, Permission, Resource
from argosy.access.permissions.principal import EVERYBODY
from argosy.access.permissions.standing import Standing
from argosy.catalog.registry.listing import Among
from argosy.values import frozen


@frozen(kw_only=True)
class Visible:
    """`projects` to look in, besides public ones if `public`; None: all. And whose eyes they are."""

    standing: Standing
    projects: tuple[str, ...] | None = ()
    public: bool = True

    @property
    def among(self) -> Among:
        """Where the catalog has to look."""
        return Among(projects=self.projects, public=self.public)

    @property
    def all(self) -> bool:
        """Whether there is nothing that they may not see."""
        return self.projects is None and self.standing.limit is None

    def sees(self, name: str, *, public: bool) -> bool:
        """Whether a repository, in a project that is public or not, is for their eyes."""
        need = Permission(Resource.REPOSITORY, Action.PULL, name)
        return self.standing.may(need, public=public and self.public)

    def seen(self, rows: Iterable[tuple[str, bool]]) -> list[str]:
        """Those of (repository, in a public project) that are for their eyes."""
        return [name for name, public in rows if self.all or self.sees(name, public=public)]


def visible(standing: Standing, *, public: bool) -> Visible:
    """What somebody with that standing sees."""
    return Visible(standing=standing, projects=_projects(standing), public=public)


def _projects(standing: Standing) -> tuple[str, ...] | None:
    if standing.gone:
        return ()
    if standing.project:
        return (standing.project,)
    if standing.maker is not None:
        return _projects(standing.maker)
    if standing.principal.is_admin or standing.principal.kind in ("robot", "system"):
        return None
    return tuple(sorted(standing.roles))


EVERYTHING: Final = Visible(standing=Standing(principal=EVERYBODY), projects=None)
"""Where access is not controlled."""
