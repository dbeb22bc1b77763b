"""The guard of a registry without access control."""

from typing import Final

from argosy.access.permissions.decision import Allow, Decision
from argosy.access.permissions.permission import Permission
from argosy.access.permissions.principal import EVERYBODY
from argosy.access.permissions.visible import EVERYTHING, Visible
from argosy.server.http.messages import Request, Response

_YES: Final = Allow(EVERYBODY)


class OpenGuard:
    """Lets everybody do everything."""

    def at_once(self, _request: Request, _need: Permission) -> Decision | None:
        """They may."""
        return _YES

    async def decide(self, _request: Request, _need: Permission) -> Decision:
        """They may."""
        return _YES

    async def may(self, _request: Request, _need: Permission) -> bool:
        """They may."""
        return True

    async def visible(self, _request: Request) -> Visible:
        """All of them."""
        return EVERYTHING

    def refusal(self, _request: Request, _decision: Decision) -> Response:
        """Never asked for."""
        raise AssertionError("an open registry refuses nobody")
