"""Which addresses of identity providers may be talked to."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from argosy.errors import ConfigError


def check_address(url: str, *, allow_http: bool = False) -> None:
    """ConfigError for a URL that is not https, unless it is on this machine or `allow_http`."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    good = parts.scheme == "https" or (
        parts.scheme == "http" and (allow_http or is_here(host or ""))
    )
    if not good or not host or parts.username or parts.fragment:
        raise ConfigError(
            f"{url[:300]!r} is no address of an identity provider to trust",
            why="it has to be https: what comes back says who may get in",
            remedy="use https://, or allow_http = true inside of a network you trust",
        )


def is_here(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
