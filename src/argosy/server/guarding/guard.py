"""The guard: what every request is asked before anything is done for it."""

from typing import Protocol

from argosy.access.permissions.decision import Decision
from argosy.access.permissions.permission import Permission
from argosy.access.permissions.visible import Visible
from argosy.server.http.messages import Request, Response


class Guard(Protocol):
    """Decides who may do what, and says no in the client's language.

    `at_once` and `decide` note on the request whose it is; `may` is for questions in passing.
    """

    def at_once(self, request: Request, need: Permission) -> Decision | None:
        """The decision if memory has it: no waiting, no thread. None: ask `decide`."""
        ...

    async def decide(self, request: Request, need: Permission) -> Decision:
        """The decision."""
        ...

    async def may(self, request: Request, need: Permission) -> bool:
        """Whether they may, in passing."""
        ...

    async def visible(self, request: Request) -> Visible:
        """Which repositories may be listed for who asks."""
        ...

    def refusal(self, request: Request, decision: Decision) -> Response:
        """The answer to a denied request: 401 with a challenge, or 403, in the registry's format."""
        ...
