"""Around every request: whose it is to the outside, its trace, and what is told of it at the end."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from argosy.server.http.common import AccessLog
from argosy.server.http.messages import Handler, Request, Response
from argosy.server.observing.addresses import Proxies
from argosy.server.observing.logs import serving


class Tracer(Protocol):
    """Makes a span of a request, if it is sampled."""

    def begin(self, request: Request) -> None:
        """Before anything is done for it."""
        ...

    def end(self, request: Request, status: int, sent: int) -> None:
        """After the last byte of its answer."""
        ...


class Observer:
    """A handler around the handler, and what the server tells of each answer."""

    def __init__(
        self,
        handler: Handler,
        listeners: Sequence[AccessLog],
        *,
        proxies: Proxies | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._handler: Final = handler
        self._address: Callable[[Request], str] = (proxies or Proxies()).address
        self._tracer = tracer
        self._listeners: Final = tuple(listeners)

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        request.address = self._address(request)
        serving.set(request)
        if self._tracer is not None:
            self._tracer.begin(request)
        return await self._handler(request)

    def tell(self, request: Request, status: int, sent: int, seconds: float) -> None:
        """What the server calls after each answer."""
        for listener in self._listeners:
            listener(request, status, sent, seconds)
        if self._tracer is not None:
            self._tracer.end(request, status, sent)
