"""The door of the management API: nothing of it is imported before somebody asks for it."""

import asyncio
from typing import TYPE_CHECKING

from argosy.concurrency import in_thread
from argosy.server.guarding.guard import Guard
from argosy.server.http.messages import Request, Response

if TYPE_CHECKING:
    from argosy.server.limits.limiter import Limiter
    from argosy.server.manage.api import Manage
    from argosy.server.manage.services import Services

PREFIX = "/api/"


class Mount:
    """Answers for everything below `/api/`; made with the first request."""

    def __init__(self, guard: Guard, services: "Services", limiter: "Limiter") -> None:
        self._guard = guard
        self._limiter = limiter
        self._services = services
        self._manage: Manage | None = None
        self._turn = asyncio.Lock()

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        if self._manage is None:
            async with self._turn:
                if self._manage is None:
                    self._manage = await in_thread(self._made)
        return await self._manage(request)

    def _made(self) -> "Manage":
        from argosy.server.manage.api import Manage  # noqa: PLC0415 - 60 ms, for who asks
        from argosy.server.manage.operations import OPERATIONS  # noqa: PLC0415

        return Manage(OPERATIONS, self._guard, self._services, self._limiter)
