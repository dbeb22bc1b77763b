"""From the settings to what observes: the audit log's keeping, readiness, tracing."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from argosy.catalog.auditing.trimming import Retention
from argosy.catalog.catalog import Catalog
from argosy.concurrency import in_thread
from argosy.errors import ConfigError
from argosy.server.config.sections import AuditSection
from argosy.server.observing.auditing import Auditing, AuditOptions
from argosy.server.observing.forwarding.forwarder import Destination

_DAY = 86400.0


@asynccontextmanager
async def audited(
    catalog: Catalog, section: AuditSection, *, keeps_house: bool
) -> AsyncIterator[Auditing]:
    """The audit log of a server, looked after until the end; ConfigError before anything begins."""
    options = AuditOptions(
        pulls=section.pulls,
        retention=Retention(days=section.keep / _DAY, entries=section.keep_rows),
        destinations=await in_thread(destinations, section),
    )
    auditing = Auditing(catalog.database, options, _digest_in(catalog))
    async with auditing.running(keeps_house=keeps_house):
        yield auditing


def destinations(section: AuditSection) -> list[tuple[str, Destination]]:
    """Where entries of the audit log are forwarded to; ConfigError."""
    found: list[tuple[str, Destination]] = []
    if section.syslog:
        from argosy.server.observing.forwarding.syslog import Syslog  # noqa: PLC0415 - see below

        _read("audit.syslog_ca", section.syslog_ca)
        found.append(("syslog", Syslog.parse(section.syslog, section.syslog_ca)))
    if section.http:
        # With the HTTP client: 7 MB and 30 ms, which most servers can do without.
        from argosy.server.observing.forwarding.http import Endpoint  # noqa: PLC0415

        ca = _read("audit.http_ca", section.http_ca)
        found.append(("http", Endpoint.parse(section.http, section.http_token, ca)))
    return found


def _read(key: str, path: str) -> bytes:
    """A PEM file that is named by a setting; nothing if it names none."""
    if not path:
        return b""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as e:
        raise ConfigError(f"{key}: cannot read {path}", why=e.strerror or str(e)) from e


def _digest_in(catalog: Catalog) -> Callable[[str, str], str]:
    def digest(name: str, ref: str) -> str:
        held = catalog.at_hand(name, ref)
        return "" if held is None else str(held.digest)

    return digest
