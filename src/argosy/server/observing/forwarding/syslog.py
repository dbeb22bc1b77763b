"""Audit entries as syslog messages, over UDP, TCP or TLS.

RFC 5424 (the message), RFC 5426 (UDP: one datagram each), RFC 6587 §3.4.1 and RFC 5425
(TCP and TLS: octet counting). Facility 13 is the log audit. The message is the entry's
JSON in ASCII, so it needs no byte order mark.
"""

import asyncio
import errno
import fcntl
import json
import re
import socket
import struct
import termios
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from argosy.catalog.auditing.searching import AuditEntry
from argosy.concurrency import in_thread
from argosy.errors import ConfigError, NetworkError
from argosy.values import frozen

if TYPE_CHECKING:
    from ssl import SSLContext

_FACILITY: Final = 13
_SEVERITY: Final = {"done": 6, "denied": 4, "failed": 3}  # informational, warning, error
_TIMEOUT: Final = 10.0
_LARGEST: Final = 65_000  # bytes of a datagram
_PORTS: Final = {"udp": 514, "tcp": 601, "tls": 6514}
_UNPRINTABLE: Final = re.compile(r"[^!-~]")


@frozen(kw_only=True)
class Syslog:
    """A syslog server: `scheme` is udp, tcp or tls; `ca`: PEM file of its authority."""

    scheme: str
    host: str
    port: int
    ca: str = ""

    @classmethod
    def parse(cls, url: str, ca: str = "") -> "Syslog":
        """Read `tls://host:port`; ConfigError."""
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as e:
            raise _bad(url, str(e)) from e
        if parts.scheme not in _PORTS or not parts.hostname or parts.path not in ("", "/"):
            raise _bad(url, "it is not of the form udp://, tcp:// or tls://host:port")
        return cls(
            scheme=parts.scheme, host=parts.hostname, port=port or _PORTS[parts.scheme], ca=ca
        )

    @property
    def name(self) -> str:
        """For people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    async def send(self, entries: Sequence[AuditEntry]) -> None:
        """Send them all; NetworkError unless the server's machine has taken every byte.

        Syslog has no acknowledgements: over UDP this only says that they went out.
        """
        messages = [message(entry, _hostname()) for entry in entries]
        try:
            async with asyncio.timeout(_TIMEOUT):
                if self.scheme == "udp":
                    await self._datagrams(messages)
                else:
                    await self._stream(b"".join(b"%d %b" % (len(m), m) for m in messages))
        except OSError as e:  # TimeoutError and ssl.SSLError are such
            why = e.strerror or str(e) or "it took too long"
            raise NetworkError(
                f"the audit log cannot be forwarded to {self.name}",
                why=why,
                remedy="look at the syslog server, and at audit.syslog and audit.syslog_ca",
            ) from e

    async def _datagrams(self, messages: Sequence[bytes]) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=(self.host, self.port)
        )
        try:
            for text in messages:
                transport.sendto(text[:_LARGEST])
        finally:
            transport.close()

    async def _stream(self, data: bytes) -> None:
        async with self._connected() as (reader, writer):
            writer.write(data)
            await writer.drain()
            # Written is not received: wait until the other machine has acknowledged all of it.
            while not (writer.is_closing() or reader.at_eof()):
                if not _unacknowledged(writer):
                    return
                await asyncio.sleep(0.005)
            raise ConnectionResetError(errno.ECONNRESET, "the server closed the connection")

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        tls = await in_thread(_context, self.ca) if self.scheme == "tls" else None
        reader, writer = await asyncio.open_connection(self.host, self.port, ssl=tls)
        writer.transport.set_write_buffer_limits(
            0
        )  # `drain` is then done when all is in the kernel
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def message(entry: AuditEntry, hostname: str) -> bytes:
    """`<PRI>1 TIME HOST argosy - ACTION - {…}`."""
    fields = entry.to_json()
    priority = _FACILITY * 8 + _SEVERITY.get(entry.outcome, 5)
    kind = _UNPRINTABLE.sub("?", entry.action)[:32] or "-"
    text = json.dumps(fields, separators=(",", ":"))
    return f"<{priority}>1 {fields['at']} {hostname} argosy - {kind} - {text}".encode("ascii")


def _hostname() -> str:
    return _UNPRINTABLE.sub("?", socket.gethostname())[:255] or "-"


def _unacknowledged(writer: asyncio.StreamWriter) -> int:
    # tcp(7): SIOCOUTQ, the bytes in the send queue, sent or not, that were not acknowledged.
    sock = writer.get_extra_info("socket")
    answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    return int(struct.unpack("i", answer)[0])


def _context(ca: str) -> "SSLContext":
    import ssl  # noqa: PLC0415 - most forward nothing

    return ssl.create_default_context(cafile=ca or None)


def _bad(url: str, why: str) -> ConfigError:
    return ConfigError(
        f"audit.syslog: {url!r} is no syslog server", why=why, remedy="write tls://host:6514"
    )
