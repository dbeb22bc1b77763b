"""Forwarding of the audit log: every entry arrives, in order, over restarts, faults and two nodes."""

import asyncio
import json
import re
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from argosy.catalog.auditing.searching import AuditEntry
from argosy.catalog.auditing.trimming import Retention, trim
from argosy.catalog.database import Database, open_database
from argosy.errors import ConfigError, NetworkError
from argosy.server.observing.forwarding.forwarder import Forwarder
from argosy.server.observing.forwarding.http import Endpoint
from argosy.server.observing.forwarding.syslog import Syslog, message
from tests.catalog.auditing import write, write_rows

HEADER = re.compile(
    r"<(\d+)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (\S+) argosy - (\S{1,32}) - (\{.*\})"
)


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(str(tmp_path / "c.db")) as found:
        yield found


def entry(**more: Any) -> AuditEntry:
    fields = {
        "id": 1, "at": 1_700_000_000_000_000, "actor": "alice", "actor_kind": "user",
        "address": "10.0.0.1", "request": "r", "action": "tag.move", "project": "team",
        "resource": "team/app:1", "digest": "", "outcome": "done", "details": {}, "count": 1,
        "sequence": 1, "hash": "ab",
    }  # fmt: skip
    return AuditEntry(**{**fields, **more})


def read(text: str) -> tuple[int, dict[str, Any]]:
    found = HEADER.fullmatch(text)
    assert found, text
    fields = json.loads(found[5])
    assert found[2] == fields["at"]
    return int(found[1]), fields


class Kept:
    """A destination that fails as it is told to."""

    name = "a test"

    def __init__(self) -> None:
        self.got: list[int] = []
        self.fails: list[int] = []  # after how many entries of a batch

    async def send(self, entries: Sequence[AuditEntry]) -> None:
        sequences = [e.sequence or 0 for e in entries]
        if self.fails:
            self.got += sequences[: self.fails.pop(0)]
            raise NetworkError("it is a test")
        self.got += sequences


def test_a_message_is_as_rfc_5424_has_it_and_nothing_breaks_out_of_it() -> None:
    hostile = entry(action="tag move\n<13>1", resource="é\n<34>1 - - x", details={"a": "\x1b"})
    text = message(hostile, "host").decode("ascii")
    priority, fields = read(text)
    assert priority == 13 * 8 + 6
    assert fields["resource"] == "é\n<34>1 - - x"
    assert text.isprintable()
    assert read(message(entry(outcome="denied"), "h").decode())[0] == 13 * 8 + 4
    assert read(message(entry(outcome="failed"), "h").decode())[0] == 13 * 8 + 3


@asynccontextmanager
async def listening(
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[tuple[int, list[tuple[int, dict[str, Any]]]]]:
    """A syslog server that counts octets (RFC 6587 §3.4.1)."""
    got: list[tuple[int, dict[str, Any]]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                length = int(await reader.readuntil(b" "))
                got.append(read((await reader.readexactly(length)).decode()))
        except (asyncio.IncompleteReadError, ConnectionResetError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1], got


async def until(got: Sequence[object], count: int) -> None:
    async with asyncio.timeout(20):
        while len(got) < count:
            await asyncio.sleep(0.005)


async def test_entries_arrive_over_tcp_with_octet_counting() -> None:
    async with listening() as (port, got):
        many = [entry(sequence=n, details={"text": "é" * n}) for n in range(1, 200)]
        await Syslog.parse(f"tcp://127.0.0.1:{port}").send(many)
        await until(got, 199)
    assert [fields["sequence"] for _, fields in got] == list(range(1, 200))


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for localhost that signs itself, with its key in one file."""
    path = tmp_path / "cert.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    words += " -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    key = tmp_path / "key.pem"
    subprocess.run(
        ["openssl", *words.split(), "-keyout", key, "-out", path], check=True, capture_output=True
    )
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path


async def test_entries_arrive_over_tls_and_only_at_who_we_trust(certificate: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    async with listening(context) as (port, got):
        await Syslog.parse(f"tls://localhost:{port}", str(certificate)).send([entry()])
        await until(got, 1)
        with pytest.raises(NetworkError, match="cannot be forwarded"):
            await Syslog.parse(f"tls://localhost:{port}").send([entry()])
        with pytest.raises(NetworkError):
            await Syslog.parse(f"tls://127.0.0.1:{port}", str(certificate)).send([entry()])
    assert len(got) == 1


async def test_entries_arrive_over_udp_one_datagram_each() -> None:
    got: list[bytes] = []

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            got.append(data)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Receiver, ("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    await Syslog.parse(f"udp://127.0.0.1:{port}").send([entry(sequence=n) for n in (1, 2, 3)])
    await until(got, 3)
    transport.close()
    assert [read(data.decode())[1]["sequence"] for data in got] == [1, 2, 3]


async def test_a_server_that_hangs_up_has_taken_nothing() -> None:
    async def drop(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(drop, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(NetworkError):
            await Syslog.parse(f"tcp://127.0.0.1:{port}").send([entry()] * 2000)
    with pytest.raises(NetworkError) as caught:
        await Syslog.parse(f"tcp://127.0.0.1:{port}").send([entry()])
    assert caught.value.why
    assert "audit.syslog" in caught.value.remedy


@pytest.mark.parametrize(
    "url", ["", "host:514", "http://x", "tcp://", "tcp://h:99999", "tls://h/x"]
)
def test_what_is_no_syslog_server_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"audit\.syslog"):
        Syslog.parse(url)


def test_ports_are_those_of_the_rfcs() -> None:
    assert [Syslog.parse(f"{s}://[::1]").name for s in ("udp", "tcp", "tls")] == [
        "udp://[::1]:514",
        "tcp://[::1]:601",
        "tls://[::1]:6514",
    ]


@asynccontextmanager
async def posting(statuses: list[int]) -> AsyncIterator[tuple[str, list[tuple[str, bytes]]]]:
    """An HTTP endpoint that answers with these statuses, then 204."""
    got: list[tuple[str, bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"(?i)content-length: (\d+)", head)
        assert length
        got.append((head, await reader.readexactly(int(length[1]))))
        status = statuses.pop(0) if statuses else 204
        body = b"" if status == 204 else b"Content-Length: 5\r\n\r\nsorry"
        writer.write(b"HTTP/1.1 %d X\r\nConnection: close\r\n%b\r\n" % (status, body))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/audit?key=hush", got


async def test_batches_are_posted_as_lines_and_again_until_they_are_taken(db: Database) -> None:
    await write(db, 700)
    async with posting([503, 401]) as (url, got):
        forwarder = Forwarder(db, "http", Endpoint.parse(url, "token-1"))
        for _ in range(2):
            with pytest.raises(NetworkError) as caught:
                await forwarder.once()
            assert "hush" not in str(caught.value)
            assert "token-1" not in f"{caught.value.summary} {caught.value.why}"
        assert await forwarder.once() == 700
        assert await forwarder.once() == 0
    assert len(got) == 4
    keys = [re.findall(r"(?i)idempotency-key: (\S+)", head)[0] for head, _ in got]
    assert keys == ["1-500", "1-500", "1-500", "501-700"]
    assert all("Bearer token-1" in head and "application/x-ndjson" in head for head, _ in got)
    lines = [json.loads(line) for _, body in got[2:] for line in body.splitlines()]
    assert [line["sequence"] for line in lines] == list(range(1, 701))


@pytest.mark.parametrize("url", ["ftp://x", "x", "https://name:secret@host/"])
def test_what_is_no_endpoint_is_refused_without_telling_its_secret(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Endpoint.parse(url)
    assert "secret@" not in str(caught.value)
    assert "token-2" not in repr(Endpoint.parse("https://h/", "token-2"))


async def test_nothing_is_lost_or_out_of_order_over_failures_and_restarts(db: Database) -> None:
    kept = Kept()
    kept.fails = [0, 3, 500]
    await write(db, 30)
    for _ in range(3):
        with pytest.raises(NetworkError):
            await Forwarder(db, "x", kept).once()  # each is another process
        # Its lease is in the way of the next, as after a crash; a minute passes.
        await db.write(lambda conn: conn.exec_driver_sql("UPDATE leases SET until = 0"))
        await write(db, 10)
    await Forwarder(db, "x", kept).once()
    assert list(dict.fromkeys(kept.got)) == list(range(1, 61))  # some twice, none missing
    assert kept.got[-60:] == list(range(1, 61))


async def test_two_nodes_take_turns(postgres_url: str) -> None:
    kept = Kept()
    async with open_database(postgres_url) as one, open_database(postgres_url) as two:
        nodes = [Forwarder(db, "x", kept, every=0.005) for db in (one, two)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(node.run()) for node in nodes]
            for _ in range(6):
                await write(one, 40)
            await until(kept.got, 240)
            for task in tasks:
                task.cancel()
    assert kept.got == list(range(1, 241))


async def test_a_new_destination_gets_what_is_there_and_two_have_positions_of_their_own(
    db: Database,
) -> None:
    await write(db, 5)
    one, two = Kept(), Kept()
    await Forwarder(db, "one", one).once()
    await write(db, 2)
    await Forwarder(db, "two", two).once()
    await Forwarder(db, "one", one).once()  # whose lease is another's: nothing
    assert two.got == [1, 2, 3, 4, 5, 6, 7]
    assert one.got == [1, 2, 3, 4, 5]


async def test_what_was_trimmed_too_early_is_told_and_the_rest_goes_on(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept()
    forwarder = Forwarder(db, "x", kept)
    await write_rows(db, [{}] * 3)
    await write(db, 17)
    kept.fails = [0]
    with pytest.raises(NetworkError):
        await forwarder.once()
    assert await db.write(lambda conn: trim(conn, Retention(days=0, entries=8))) == 12
    await write(db, 0)
    await forwarder.once()
    assert kept.got == list(range(13, 22))
    assert "12 audit entries were trimmed" in caplog.text


async def test_a_failing_destination_is_told_of_once_not_every_second(
    db: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("argosy.server.observing.forwarding.forwarder._FIRST_PAUSE", 0.001)
    kept = Kept()
    kept.fails = [0] * 5
    await write(db, 4)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(Forwarder(db, "x", kept, every=0.001).run())
        await until(kept.got, 4)
        task.cancel()
    assert [r.levelname for r in caplog.records if "it is a test" in r.message] == ["ERROR"]
