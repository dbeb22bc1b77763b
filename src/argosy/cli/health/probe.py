"""The way to a registry, walked by hand: names, sockets, TLS, one request.

Not through the registry client on purpose: the doctor shows each stretch of the
way apart, with its own evidence.
"""

import asyncio
import hashlib
import os
import re
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from argosy.values import frozen

_MAX_HEAD = 64 << 10  # bytes of an answer's head


@frozen
class Address:
    """One address of a host and what came of connecting to it: seconds, or what failed."""

    ip: str
    seconds: float = 0.0
    problem: str = ""


@frozen
class Head:
    """The head of an HTTP answer; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    tls: str = ""  # version and cipher, or empty without TLS


class NotTLS(Exception):
    """The server answered the TLS greeting in plain HTTP, or with something else."""


async def addresses(host: str, port: int) -> list[str]:
    """The addresses of a host, in the order the system gives; OSError if there is none."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def connect(ip: str, port: int, timeout: float) -> Address:
    """Try one address."""
    start = time.monotonic()
    try:
        async with asyncio.timeout(timeout):
            _reader, writer = await asyncio.open_connection(ip, port)
    except TimeoutError:
        return Address(ip, problem=f"no answer within {timeout:g} s")
    except OSError as e:
        return Address(ip, problem=os.strerror(e.errno) if e.errno else str(e))
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return Address(ip, time.monotonic() - start)


async def ask(host: str, port: int, context: ssl.SSLContext | None, timeout: float) -> Head:
    """GET /v2/; ssl.SSLError, OSError, TimeoutError or NotTLS say what is in the way."""
    async with asyncio.timeout(timeout):
        reader, writer = await _greeted(host, port, context, timeout / 2)
        try:
            writer.write(
                f"GET /v2/ HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: argosy-doctor\r\n"
                "Accept: */*\r\nConnection: close\r\n\r\n".encode()
            )
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            return parse_head(head, _tls(writer))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as e:
            raise ConnectionError("what came back is not an HTTP answer") from e
        finally:
            writer.close()


async def _greeted(
    host: str, port: int, context: ssl.SSLContext | None, timeout: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    name = host if context else None
    try:
        async with asyncio.timeout(timeout):
            return await asyncio.open_connection(
                host, port, ssl=context, server_hostname=name, limit=_MAX_HEAD
            )
    except ssl.SSLCertVerificationError:
        raise
    except OSError as e:  # TLS's errors and timeouts are OSErrors
        first = await _first_bytes(host, port) if context else ""
        # A TLS server may answer plain HTTP as well, but with 400.
        if first.startswith("HTTP/") and " 400" not in first:
            raise NotTLS(first) from e
        raise


def parse_head(head: bytes, tls: str = "") -> Head:
    """Read the head of an answer; ConnectionError if it is none."""
    first, *lines = head.decode("latin-1").split("\r\n")
    found = re.fullmatch(r"HTTP/\d(?:\.\d)? (\d{3})(?: .*)?", first)
    if found is None:
        raise ConnectionError(f"the answer begins with {first[:40]!r}, which is not HTTP")
    pairs = [line.partition(":") for line in lines if ":" in line]
    return Head(int(found[1]), {n.strip().lower(): v.strip() for n, _, v in pairs}, tls)


async def certificate(host: str, port: int, timeout: float) -> list[str]:
    """What the server's certificate says of itself, unverified; empty if it shows none."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(timeout):
            _reader, writer = await asyncio.open_connection(
                host, port, ssl=context, server_hostname=host
            )
    except (OSError, TimeoutError):
        return []
    try:
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
    if not der:
        return []
    return [*_described(der), f"SHA-256 {hashlib.sha256(der).hexdigest()}"]


def _described(der: bytes) -> list[str]:
    # getpeercert() gives fields of verified certificates only; the library's own decoder reads files.
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".pem", encoding="ascii") as file:
        file.write(ssl.DER_cert_to_PEM_cert(der))
        file.flush()
        try:
            decode: Any = ssl._ssl._test_decode_cert  # type: ignore[attr-defined]  # noqa: SLF001
            value = decode(file.name)
        except (AttributeError, ssl.SSLError):
            return []
    names = ", ".join(f"{kind}:{name}" for kind, name in value.get("subjectAltName", ()))
    return [
        f"subject {_name(value.get('subject', ()))}",
        f"issuer  {_name(value.get('issuer', ()))}",
        f"names   {names or 'none'}",
        f"valid   {value.get('notBefore', '?')} to {value.get('notAfter', '?')}",
    ]


def _name(parts: Any) -> str:
    return ", ".join(f"{key}={value}" for part in parts for key, value in part) or "none"


def _tls(writer: asyncio.StreamWriter) -> str:
    seen = writer.get_extra_info("ssl_object")
    if seen is None:
        return ""
    return f"{seen.version()} {(seen.cipher() or ('',))[0]}"


async def _first_bytes(host: str, port: int) -> str:
    try:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /v2/ HTTP/1.0\r\n\r\n")
        first = await reader.read(16)
        writer.close()
    except OSError:
        return ""
    return first.decode("latin-1")
