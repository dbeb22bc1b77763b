"""Where a request really comes from: what trusted proxies say, and nobody else.

The list in X-Forwarded-For grows to the right, so it is read from there: the first address
that is not a trusted proxy's is the client's; what is left of it, the client may have made
up. RFC 7239's Forwarded is not read: a proxy that does not know it passes it on as the client
wrote it.
"""

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from argosy.errors import ConfigError
from argosy.server.http.messages import Request
from argosy.values import frozen

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MOST: Final = 32  # hops that are looked at
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")


class Proxies:
    """Knows the addresses of the proxies in front of the server."""

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        self._networks = tuple(_network(text) for text in trusted if text != "unix")
        self._local = "unix" in trusted
        self._found = lru_cache(4096)(self._find)

    def address(self, request: Request) -> str:
        """The client's address, without port; IPv4 as such also when it came as IPv6."""
        peer = host(request.peer)
        if not self._trusts(peer):
            return peer
        said = ",".join(request.headers.all("x-forwarded-for"))
        return self._found(peer, said) if said else peer

    def secure(self, request: Request) -> bool:
        """Whether the client speaks https: to us, or (X-Forwarded-Proto) to a trusted proxy."""
        if request.scheme == "https":
            return True
        said = request.headers.get("x-forwarded-proto") or ""
        return self._trusts(host(request.peer)) and said.rpartition(",")[2].strip() == "https"

    def _find(self, peer: str, said: str) -> str:
        nearest = peer
        for hop in reversed(said.split(",")[-_MOST:]):
            if (plain := _plain(hop)) is None:
                return nearest  # `unknown`, or nonsense: the proxy that said so is all we know
            nearest = plain
            if not self._trusts(plain):
                return plain
        return nearest

    def _trusts(self, address: str) -> bool:
        if not self._networks and not self._local:
            return False
        if address == "unix":
            return self._local
        parsed = ipaddress.ip_address(address) if _plain(address) else None
        return parsed is not None and any(parsed in network for network in self._networks)


@frozen(kw_only=True)
class Front:
    """What clients call this server, and which proxies are before it."""

    public_url: str = ""
    proxies: Proxies

    def url(self, request: Request) -> str:
        """Scheme and host for this client: as the settings say, else as it came here."""
        if self.public_url:
            return self.public_url.rstrip("/")
        scheme = "https" if self.proxies.secure(request) else "http"
        named = request.headers.get("host") or ""
        return f"{scheme}://{named if _HOST.fullmatch(named) else 'localhost'}"


@lru_cache(4096)
def host(peer: str) -> str:
    """The address of a peer, which the server knows as `address:port`."""
    plain = _plain(peer.rpartition(":")[0])
    return peer if plain is None else plain


def _network(text: str) -> _Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as e:
        raise ConfigError(
            f"{text!r} is no address or network of a proxy",
            why=str(e),
            remedy="write addresses or networks such as 10.0.0.0/8 or 2001:db8::7, or `unix`",
        ) from e


def _plain(text: str) -> str | None:
    """An address in its shortest form, without port, brackets and zone; None if it is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(found)
