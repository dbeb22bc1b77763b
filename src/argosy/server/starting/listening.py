"""Where to listen, and what must be in place before the world may reach it."""

import ipaddress
from typing import Self

from argosy.errors import UsageError
from argosy.values import frozen


@frozen
class Address:
    """A host and a port; port 0 stands for a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `host:port`, `[v6]:port`, `:port` (every address); UsageError if it is neither."""
        host, colon, port = text.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
        if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise _bad(text)
        if ":" in host and bare == host:
            raise _bad(text)
        return cls(bare or "0.0.0.0", int(port))  # noqa: S104 - it is what ":port" means

    @property
    def is_loopback(self) -> bool:
        """Whether it can be reached from this machine only."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def with_port(self, port: int) -> str:
        """`host:port` as it stands in a URL."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"


def _bad(text: str) -> UsageError:
    return UsageError(
        f"{text!r} is not an address to listen on",
        remedy="write host:port, for example 127.0.0.1:5000 or [::1]:5000",
    )


@frozen(kw_only=True)
class TLSFiles:
    """The PEM files of an https server; all empty: plain http."""

    certificate: str = ""
    key: str = ""
    client_ca: str = ""


def check(address: Address, files: TLSFiles, *, auth: bool = False) -> None:
    """UsageError if the flags contradict, or anybody from elsewhere could push without a name."""
    if bool(files.certificate) != bool(files.key):
        raise UsageError(
            "--tls-cert and --tls-key belong together",
            remedy="give both, or neither to serve plain http",
        )
    if files.client_ca and not files.certificate:
        raise UsageError(
            "--client-ca needs --tls-cert and --tls-key",
            why="client certificates are shown over TLS only",
            remedy="give the server's certificate and key as well",
        )
    if not address.is_loopback and not files.client_ca and not auth:
        raise UsageError(
            f"refusing to serve on {address.host} without authentication",
            why="anybody who can reach this address could push and delete",
            remedy="add --auth (users, robots, tokens), or --tls-cert, --tls-key and --client-ca"
            " (clients then need a certificate of that authority), or listen on 127.0.0.1",
        )


def in_the_clear(address: Address, files: TLSFiles) -> str:
    """What is wrong with taking passwords there; empty if nobody on the way could read them."""
    if address.is_loopback or files.certificate:
        return ""
    return (
        f"passwords and tokens come to {address.host} without TLS: who is on the way can read them;"
        " add --tls-cert and --tls-key, name the proxy that has them in server.trusted_proxies, or"
        " say --insecure-http"
    )
