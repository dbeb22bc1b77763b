"""Audit entries in batches to an HTTP endpoint: a POST of JSON lines each."""

from collections.abc import Sequence
from dataclasses import field
from typing import Final
from urllib.parse import urlsplit

from argosy.catalog.auditing.searching import AuditEntry
from argosy.errors import ConfigError, NetworkError
from argosy.settings import Settings
from argosy.stores.remote.transport import Request, Transport, Trust
from argosy.values import frozen

_SETTINGS: Final = Settings(read_timeout=20.0)


@frozen(kw_only=True)
class Endpoint:
    """Where the batches go; `token`: a bearer token."""

    url: str
    token: str = field(default="", repr=False)
    ca: bytes = b""

    @classmethod
    def parse(cls, url: str, token: str = "", ca: bytes = b"") -> "Endpoint":
        """Check the URL; ConfigError."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ConfigError(
                "audit.http is not an http or https URL without a name and password in it",
                remedy="put the secret into audit.http_token",
            )
        return cls(url=url, token=token, ca=ca)

    @property
    def name(self) -> str:
        """For people: without what may be a secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{parts.path}"

    async def send(self, entries: Sequence[AuditEntry]) -> None:
        """POST them; NetworkError unless the answer is 2xx.

        `Idempotency-Key` is the same when a batch is sent again.
        """
        headers = {
            "Content-Type": "application/x-ndjson",
            "Idempotency-Key": f"{entries[0].sequence}-{entries[-1].sequence}",
        }
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        body = b"".join(entry.line() for entry in entries)
        request = Request(method="POST", url=self.url, headers=headers, body=body)
        transport = Transport(_SETTINGS, lambda _host: Trust(ca=(self.ca,) if self.ca else ()))
        try:
            async with await transport.send(request) as answer:
                said = (await answer.read()).decode("utf-8", "replace")[:200]
        finally:
            await transport.close()
        if not 200 <= answer.status < 300:
            raise NetworkError(
                f"the audit log cannot be forwarded to {self.name}",
                why=f"it answered {answer.status}: {said}",
                remedy="look at the endpoint, and at audit.http and audit.http_token",
            )
