"""One conversation with a directory server (RFC 4511): bind, search, StartTLS.

Who calls sets the time limit for all of it: a server that sends a byte a second is too slow
as well. Referrals are not followed: they would send passwords where nobody configured it.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

from argosy.access.identity.ldap import ber
from argosy.errors import ConfigError, NetworkError
from argosy.values import frozen

SUCCESS: Final = 0
SIZE_LIMIT: Final = 4

_LARGEST: Final = 16 << 20  # bytes of one message
_START_TLS: Final = "1.3.6.1.4.1.1466.20037"
_PORTS: Final = {"ldap": 389, "ldaps": 636}
_RESULTS: Final = {
    1: "operationsError",
    2: "protocolError",
    3: "timeLimitExceeded",
    8: "strongerAuthRequired",
    10: "referral",
    13: "confidentialityRequired",
    16: "noSuchAttribute",
    18: "inappropriateMatching",
    19: "constraintViolation",
    32: "noSuchObject",
    34: "invalidDNSyntax",
    48: "inappropriateAuthentication",
    49: "invalidCredentials",
    50: "insufficientAccessRights",
    51: "busy",
    52: "unavailable",
    53: "unwillingToPerform",
    80: "other",
}


class LdapError(NetworkError):
    """The directory cannot be reached, or said no to something that is not a password."""

    code = "ldap"


@frozen(kw_only=True)
class Address:
    """Where a directory server listens."""

    host: str
    port: int
    tls: bool

    @classmethod
    def parse(cls, url: str) -> "Address":
        """From `ldap://host[:port]` or `ldaps://host[:port]`."""
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS[parts.scheme]
        except (ValueError, KeyError):
            port = 0
        if not port or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ConfigError(
                f"{url!r} is no address of a directory server",
                remedy="write ldaps://HOST or ldap://HOST:PORT",
            )
        return cls(host=parts.hostname, port=port, tls=parts.scheme == "ldaps")

    def __str__(self) -> str:
        return f"{'ldaps' if self.tls else 'ldap'}://{self.host}:{self.port}"


@frozen
class Result:
    """How an operation ended; `said` is what the server has to say about it."""

    code: int
    said: str = ""

    def __str__(self) -> str:
        name = _RESULTS.get(self.code, "result")
        return f"{name} ({self.code})" + (f": {self.said}" if self.said else "")


@frozen
class Entry:
    """An entry with the attributes that were asked for: names in lower case, values as bytes."""

    dn: str
    attributes: dict[str, tuple[bytes, ...]]

    def texts(self, name: str) -> list[str]:
        """The values of an attribute as text."""
        return [v.decode(errors="replace") for v in self.attributes.get(name.lower(), ())]


@frozen(kw_only=True)
class Search:
    """What to look for: `filter` is encoded. At most `limit` entries come back."""

    base: str
    filter: bytes
    attributes: tuple[str, ...] = ()
    limit: int = 0
    whole_tree: bool = True


class Connection:
    """An open connection; made by `connected`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: Address
    ) -> None:
        self._reader, self._writer = reader, writer
        self.address: Final = address
        self._last = 0

    async def bind(self, dn: str, password: str) -> Result:
        """Show who we are; an empty password only ever goes with an empty DN: nobody."""
        if bool(dn) != bool(password):
            # RFC 4513 §5.1.2: a server may answer "success" to a name without a password.
            raise ValueError("a bind has a name and a password, or neither")
        secret = ber.octets(password.encode(errors="surrogateescape"), 0x80)
        number = await self._send(ber.wrap(0x60, ber.integer(3), ber.octets(dn), secret))
        tag, contents = await self._answer(number)
        return self._result(tag, 0x61, contents)

    async def search(self, wanted: Search) -> list[Entry]:
        """The entries; LdapError when the server will not search. Too many is no error."""
        number = await self._send(_search_request(wanted))
        found: list[Entry] = []
        while True:
            tag, contents = await self._answer(number)
            if tag == 0x64:
                found.append(_entry(contents))
            elif tag != 0x73:  # a reference to another server: not followed
                break
        result = self._result(tag, 0x65, contents)
        if result.code not in (SUCCESS, SIZE_LIMIT):
            raise refused(self.address, f"search below {wanted.base!r}", result)
        return found

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Go on encrypted (RFC 4511 §4.14)."""
        number = await self._send(ber.wrap(0x77, ber.octets(_START_TLS, 0x80)))
        tag, contents = await self._answer(number)
        if (result := self._result(tag, 0x78, contents)).code != SUCCESS:
            raise refused(self.address, "StartTLS", result)
        await self._writer.start_tls(context, server_hostname=self.address.host)

    async def close(self) -> None:
        """Say goodbye and hang up."""
        with suppress(OSError):
            self._last += 1
            self._writer.write(ber.wrap(ber.SEQUENCE, ber.integer(self._last), b"\x42\0"))
        self._writer.close()

    async def _send(self, operation: bytes) -> int:
        self._last += 1
        self._writer.write(ber.wrap(ber.SEQUENCE, ber.integer(self._last), operation))
        await self._writer.drain()
        return self._last

    async def _answer(self, number: int) -> tuple[int, bytes]:
        """The next message that answers `number`: its operation's tag and contents."""
        message = ber.Reader(await self._message())
        answered = message.number()
        tag, contents = message.any()
        if answered == 0 and tag == 0x78:
            raise refused(self.address, "conversation", self._result(tag, 0x78, contents))
        if answered != number:
            raise ber.Malformed("the directory answered what was not asked")
        return tag, contents

    async def _message(self) -> bytes:
        head = await self._reader.readexactly(2)
        count, extra = head[1], b""
        if head[0] != ber.SEQUENCE:
            raise ber.Malformed("the server does not speak LDAP")
        if count >= 0x80:
            extra = await self._reader.readexactly(min(count & 0x7F, 9))
            count = int.from_bytes(extra, "big")
        if count > _LARGEST or len(extra) > 4:
            raise ber.Malformed(f"the directory sent a message of more than {_LARGEST} bytes")
        return await self._reader.readexactly(count)

    def _result(self, tag: int, wanted: int, contents: bytes) -> Result:
        if tag != wanted:
            raise ber.Malformed(f"the directory sent operation {tag:#x} where {wanted:#x} belongs")
        reader = ber.Reader(contents)
        code = reader.number(ber.ENUM)
        reader.take(ber.OCTETS)
        return Result(code, _plain(reader.text()))


def refused(address: Address, what: str, result: Result) -> LdapError:
    """The error for a server that said no."""
    return LdapError(f"{address} refuses the {what}", why=str(result))


def _plain(said: str) -> str:
    """What a server says, as it may be shown: one line, not without end."""
    return "".join(c if c.isprintable() else " " for c in said)[:300].strip()


def _search_request(wanted: Search) -> bytes:
    return ber.wrap(
        0x63,
        ber.octets(wanted.base),
        ber.integer(2 if wanted.whole_tree else 0, ber.ENUM),
        ber.integer(0, ber.ENUM),  # aliases are what they are
        ber.integer(wanted.limit),
        ber.integer(0),  # the time limit is ours
        ber.boolean(False),
        wanted.filter,
        # 1.1: no attributes at all (RFC 4511 §4.5.1.8)
        ber.wrap(ber.SEQUENCE, *(ber.octets(name) for name in wanted.attributes or ("1.1",))),
    )


def _entry(contents: bytes) -> Entry:
    reader = ber.Reader(contents)
    dn, attributes = reader.text(), reader.inner(ber.SEQUENCE)
    found: dict[str, tuple[bytes, ...]] = {}
    for each in attributes.each(ber.SEQUENCE):
        attribute = ber.Reader(each)
        name = attribute.text().lower()
        found[name] = tuple(attribute.inner(ber.SET).each(ber.OCTETS))
    return Entry(dn, found)


@asynccontextmanager
async def connected(
    address: Address, context: ssl.SSLContext | None, *, start_tls: bool = False
) -> AsyncIterator[Connection]:
    """A connection for the block; LdapError when there is none, or it breaks within.

    `context` is needed for ldaps and for StartTLS; the certificate has to name the host.
    """
    try:
        reader, writer = await asyncio.open_connection(
            address.host, address.port, ssl=context if address.tls else None
        )
        connection = Connection(reader, writer, address)
        try:
            if start_tls and not address.tls and context is not None:
                await connection.start_tls(context)
            yield connection
        finally:
            await connection.close()
    except (OSError, EOFError, ssl.SSLError) as e:
        raise _broken(address, e) from e


def _broken(address: Address, e: Exception) -> LdapError:
    if isinstance(e, ssl.SSLCertVerificationError):
        why = f"its certificate is not trusted: {e.verify_message}"
        return LdapError(
            f"cannot trust {address}", why=why, remedy="set [auth.ldap] ca_file to its authority"
        )
    if isinstance(e, EOFError):
        return LdapError(f"{address} hung up", why="it ended the connection before its answer")
    why = getattr(e, "strerror", None) or str(e) or type(e).__name__
    return LdapError(f"cannot reach {address}", why=why)


def trusting(ca_file: str) -> ssl.SSLContext:
    """TLS that trusts these authorities, or the system's; ConfigError for a file that is none."""
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as e:
        raise ConfigError(
            f"cannot use {ca_file} as [auth.ldap] ca_file", why=getattr(e, "strerror", "") or str(e)
        ) from e


def names(values: Sequence[str]) -> tuple[str, ...]:
    """Each name once, in order, without regard to case: attributes' names have none."""
    return tuple({value.lower(): value for value in values if value}.values())
