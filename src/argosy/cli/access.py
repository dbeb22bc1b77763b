"""How registries are reached: the TLS flags, and the client they give."""

import argparse
import re
from typing import TYPE_CHECKING

from argosy.errors import UsageError
from argosy.observe import Report
from argosy.settings import Settings

if TYPE_CHECKING:
    from argosy.stores.remote.client import Client
    from argosy.stores.remote.credentials import Credentials
    from argosy.stores.remote.hosts import Hosts, Tls

_HUB = frozenset({"index.docker.io", "registry-1.docker.io", "hub.docker.com"})


def tls_mode(args: argparse.Namespace, end: str = "") -> "Tls | None":
    """What the flags say, for an end (`src`, `dest`) of a copy; None: the files and defaults say."""
    if getattr(args, "plain_http", False):
        return "off"
    verified = getattr(args, "tls_verify", True) and getattr(args, f"{end}_tls_verify", True)
    return "auto" if getattr(args, "insecure", False) or not verified else None


def client(
    args: argparse.Namespace,
    settings: Settings,
    report: Report,
    end: str = "",
    *,
    credentials: "Credentials | None" = None,
) -> "Client":
    """The client of registries, to be entered."""
    from argosy.stores.remote.client import Client

    return Client(settings, hosts=hosts(args, end), credentials=credentials, report=report)


def hosts(args: argparse.Namespace, end: str = "") -> "Hosts":
    """How each host is reached: the flags, else the files of this machine."""
    from argosy.stores.remote.hosts import Hosts

    mode = tls_mode(args, end)
    return _flagged(mode) if mode else Hosts()


def host_of(text: str) -> str:
    """The registry meant by what people type: `https://host/v2/` is `host`; UsageError if it is none."""
    host = (text.partition("://")[2] or text).partition("/")[0]
    if not re.fullmatch(r"[A-Za-z0-9.-]+(:\d+)?|\[[0-9a-fA-F:]+\](:\d+)?", host):
        raise UsageError(f"{text!r} names no registry", remedy="write host or host:port")
    return "docker.io" if host in _HUB else host


def _flagged(mode: "Tls") -> "Hosts":
    from argosy.stores.remote.hosts import Hosts

    class Flagged(Hosts):
        """Every host as the flag says, whatever the files say."""

        def tls(self, host: str) -> "Tls":  # noqa: ARG002
            return mode

    return Flagged()
