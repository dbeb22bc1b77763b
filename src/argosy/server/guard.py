"""The guard: what every request is asked before anything is done for it."""

from typing import Protocol

from argosy.access.decision import Allow, Decision
from argosy.access.permission import Permission
from argosy.access.principal import EVERYBODY
from argosy.server.http.messages import Request, Response


class Guard(Protocol):
    """Decides who may do what, and says no in the client's language."""

    def at_once(self, request: Request, need: Permission) -> Decision | None:
        """The decision if memory has it: no waiting, no thread. None: ask `decide`."""
        ...

    async def decide(self, request: Request, need: Permission) -> Decision:
        """The decision."""
        ...

    def refusal(self, request: Request, decision: Decision) -> Response:
        """The answer to a denied request: 401 with a challenge, or 403, in the registry's format."""
        ...


class OpenGuard:
    """Lets everybody do everything: a registry without access control."""

    def at_once(self, _request: Request, _need: Permission) -> Decision | None:
        """They may."""
        return _YES

    async def decide(self, _request: Request, _need: Permission) -> Decision:
        """They may."""
        return _YES

    def refusal(self, _request: Request, _decision: Decision) -> Response:
        """Never asked for."""
        raise AssertionError("an open registry refuses nobody")


_YES = Allow(EVERYBODY)
