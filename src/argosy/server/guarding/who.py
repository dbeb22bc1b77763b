"""Whose a request is, as the catalog writes it down."""

from argosy.access.permissions.principal import Principal
from argosy.catalog.actor import ANYBODY, Actor
from argosy.server.http.messages import Request
from argosy.server.observing.addresses import host


def actor(request: Request) -> Actor:
    """Who acts by this request: as the guard has found, from the address that it came from."""
    who = request.principal
    name, kind = (who.name, who.kind) if isinstance(who, Principal) else ("", ANYBODY.kind)
    return Actor(name=name, kind=kind, address=address(request), request=request.id)


def address(request: Request) -> str:
    """Where it came from, as honest as the proxies before us are; without the port, which changes."""
    return request.address or host(request.peer)
