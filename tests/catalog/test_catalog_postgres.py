"""PostgreSQL goes away and comes back, cuts and refuses: nothing is lost, done twice or made up."""

import asyncio
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from argosy.catalog.actor import SYSTEM
from argosy.catalog.catalog import open_catalog
from argosy.catalog.database import open_database
from argosy.catalog.databases import leases
from argosy.catalog.databases.address import parse
from argosy.catalog.databases.dialects import connect
from argosy.catalog.databases.locks import Space, exclusive
from argosy.catalog.databases.marks import Mark, leave, was_committed
from argosy.catalog.databases.options import DatabaseOptions
from argosy.catalog.projects.places import place
from argosy.catalog.registry import rows
from argosy.catalog.registry.uploads import UploadRows
from argosy.content.blob_storage import Claim, Stored
from argosy.content.upload_ledger import State
from argosy.errors import ConfigError, NoSpace, StorageError, StorageUnavailable
from argosy.model.digest import Digest
from tests.authority import Authority
from tests.catalog.cutting import cutting
from tests.catalog.pushing import NAME, hearing, image, push, verify
from tests.peers import free_port
from tests.postgres import PASSWORD, Postgres, postgres_program

BRIEF = DatabaseOptions(patience=1, pool=3)
LASTING = DatabaseOptions(patience=30)


def make(conn: Connection, name: str = "made") -> int:
    return place(conn, name, SYSTEM).repository


def count(conn: Connection) -> int:
    return int(conn.execute(text("SELECT count(*) FROM tallies")).scalar_one())


def tally(conn: Connection) -> None:
    conn.execute(text("INSERT INTO tallies DEFAULT VALUES"))


def tallies(conn: Connection) -> None:
    conn.execute(text("CREATE TABLE tallies (id bigserial PRIMARY KEY)"))


async def test_an_empty_database_is_brought_to_the_present_schema(empty_postgres_url: str) -> None:
    async with open_catalog(empty_postgres_url) as catalog:
        assert await catalog.repositories("", 10) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_a_restart_of_the_server_loses_nothing_and_fails_nobody(
    postgres: Postgres, postgres_url: str, how: signal.Signals
) -> None:
    acknowledged: list[str] = []
    stop = asyncio.Event()
    async with open_catalog(postgres_url, LASTING) as catalog:

        async def pusher(number: int) -> None:
            for n in range(10_000):
                if stop.is_set():
                    return
                await push(catalog, f"t{number}-{n}", seed=f"{number} {n}".encode())
                acknowledged.append(f"t{number}-{n}")

        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(pusher(number))
            for _ in range(2):
                before = len(acknowledged)
                while len(acknowledged) < before + 40:
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(postgres.stop, how)
                await asyncio.to_thread(postgres.start)
            before = len(acknowledged)
            while len(acknowledged) < before + 40:
                await asyncio.sleep(0.01)
            stop.set()
        there: list[str] = []
        while page := await catalog.tags(NAME, there[-1] if there else "", 1000):
            there += page
        assert set(there) == set(acknowledged)
        await verify(catalog)


async def test_a_server_that_stays_away_is_told_after_a_bounded_time(
    postgres: Postgres, postgres_url: str
) -> None:
    async with open_catalog(postgres_url, BRIEF) as catalog:
        await asyncio.to_thread(postgres.stop)
        try:
            for ask in (
                catalog.repositories("", 1),
                catalog.manifest(NAME, "v1"),
                catalog.link_blob(NAME, Digest.of(b"x"), Stored(1)),
            ):
                began = time.monotonic()
                with pytest.raises(StorageUnavailable) as caught:
                    await ask
                assert time.monotonic() - began < 6
                assert caught.value.remedy
                assert PASSWORD not in str(caught.value.to_json())
        finally:
            await asyncio.to_thread(postgres.start)
        assert await catalog.repositories("", 1) == []


async def test_a_server_that_is_away_at_the_start_is_told(
    postgres: Postgres, postgres_url: str
) -> None:
    nobody = postgres_url.replace(str(postgres.port), "1")
    with pytest.raises(StorageUnavailable) as caught:
        async with open_catalog(nobody, BRIEF):
            pass
    assert PASSWORD not in str(caught.value.to_json())


@pytest.mark.parametrize("after", [True, False])
async def test_a_connection_lost_in_commit_is_looked_up_and_nothing_is_done_twice(
    postgres_url: str, after: bool
) -> None:
    async with cutting(postgres_url) as cut, open_database(cut.url, LASTING) as database:
        await database.write(tallies)
        runs = 0

        def once(conn: Connection) -> str:
            nonlocal runs
            runs += 1
            tally(conn)
            return f"run {runs}"

        cut.word, cut.after = b"COMMIT;", after
        result = await database.write(once)
        assert cut.cuts == 1
        assert await database.read(count) == 1
        assert (runs, result) == ((1, "run 1") if after else (2, "run 2"))


async def test_an_outcome_that_cannot_be_known_is_said_to_be_unknown(postgres_url: str) -> None:
    async with cutting(postgres_url) as cut, open_database(cut.url, BRIEF) as database:
        await database.write(tallies)
        cut.word, cut.after = b"COMMIT;", True

        def cut_off(conn: Connection) -> None:
            tally(conn)
            cut.refusing = True  # and nobody gets through to ask

        with pytest.raises(StorageUnavailable) as caught:
            await database.write(cut_off)
        assert "cannot be known" in caught.value.summary
        cut.refusing = False
        assert await database.read(count) == 1


async def test_a_connection_lost_in_the_middle_is_no_matter(postgres_url: str) -> None:
    async with cutting(postgres_url) as cut, open_catalog(cut.url, LASTING) as catalog:
        await push(catalog, seed=b"1")
        for word in (b"repositories", b"tag_history", b"pg_advisory", b"BEGIN"):
            cut.word = word
            await push(catalog, f"v-{word.decode()}", seed=word)
        assert cut.cuts >= 3
        cut.cut_all()
        found = await asyncio.gather(*(catalog.tags(NAME, "", 10) for _ in range(10)))
        assert all(len(page) == 4 for page in found)
        await verify(catalog)


async def test_two_that_wait_for_each_other_both_get_through(postgres_url: str) -> None:
    async with open_database(postgres_url) as database:
        await database.write(tallies)
        runs = 0

        def crossing(*names: str) -> None:
            def function(conn: Connection) -> None:
                nonlocal runs
                runs += 1
                tally(conn)
                for name in names:
                    exclusive(conn, Space.WORK, name)
                    conn.execute(text("SELECT pg_sleep(0.1)"))

            return function  # type: ignore[return-value]

        await asyncio.gather(
            database.write(crossing("a", "b")),  # type: ignore[func-returns-value,arg-type]
            database.write(crossing("b", "a")),  # type: ignore[func-returns-value,arg-type]
        )
        assert runs > 2
        assert await database.read(count) == 2


async def test_who_inserts_what_another_inserts_just_now_looks_again(postgres_url: str) -> None:
    async with open_database(postgres_url) as database:
        asked = text("SELECT id FROM projects WHERE name = 'x'")
        insert = text("INSERT INTO projects (name, created_at) VALUES ('x', 0) RETURNING id")

        def look_then_make(conn: Connection) -> int:
            found = conn.execute(asked).scalar()
            if found is None:
                conn.execute(text("SELECT pg_sleep(0.1)"))
                found = conn.execute(insert).scalar_one()
            return int(found)

        made = await asyncio.gather(*(database.write(look_then_make) for _ in range(8)))
        assert len(set(made)) == 1


async def test_what_always_breaks_a_rule_of_the_schema_is_told_in_the_end(
    postgres_url: str,
) -> None:
    async with open_database(postgres_url) as database:

        def dangle(conn: Connection) -> None:
            conn.execute(text("INSERT INTO tags VALUES (77, 'v1', 'sha256:0', 0)"))

        with pytest.raises(StorageError) as caught:
            await database.write(dangle)
        assert "repository_id" in caught.value.why


async def test_an_error_that_was_swallowed_is_no_success(postgres_url: str) -> None:
    async with open_database(postgres_url) as database:

        def swallow(conn: Connection) -> str:
            make(conn)
            with suppress(DBAPIError):
                conn.execute(text("SELECT 1/0"))
            return "done"

        with pytest.raises(StorageError):
            await database.write(swallow)
        assert await database.read(lambda conn: rows.repositories_page(conn, "", 9)) == []


async def test_a_statement_that_takes_too_long_is_ended_and_told(postgres_url: str) -> None:
    async with open_database(postgres_url, replace(BRIEF, statement_timeout=0.2)) as database:
        with pytest.raises(StorageUnavailable) as caught:
            await database.read(lambda conn: conn.execute(text("SELECT pg_sleep(60)")))
        assert "too long" in caught.value.summary


async def test_more_requests_than_connections_wait_their_turn_and_then_are_told(
    postgres_url: str,
) -> None:
    async with open_database(postgres_url, BRIEF) as database:

        def asleep(seconds: float) -> object:
            return lambda conn: conn.execute(text(f"SELECT pg_sleep({seconds})")).all()

        await asyncio.gather(*(database.read(asleep(0.05)) for _ in range(9)))  # type: ignore[arg-type]
        outcomes = await asyncio.gather(
            *(database.read(asleep(2.5)) for _ in range(5)),  # type: ignore[arg-type]
            return_exceptions=True,
        )
        told = [o for o in outcomes if isinstance(o, StorageUnavailable)]
        assert len(told) == 2
        assert "database.pool" in told[0].remedy


async def test_reads_cannot_write(postgres_url: str) -> None:
    async with open_database(postgres_url, BRIEF) as database:
        with pytest.raises(StorageError):
            await database.read(make)


async def test_reads_see_one_moment(postgres_url: str) -> None:
    async with open_catalog(postgres_url) as catalog:
        loop = asyncio.get_running_loop()
        looked, written = asyncio.Event(), asyncio.Event()

        def twice(conn: Connection) -> tuple[int, int]:
            from sqlalchemy.util import await_only

            first = len(rows.repositories_page(conn, "", 9))
            loop.call_soon(looked.set)
            await_only(written.wait())
            return first, len(rows.repositories_page(conn, "", 9))

        reading = asyncio.ensure_future(catalog.database.read(twice))
        await looked.wait()
        await catalog.database.write(make)
        written.set()
        assert await reading == (0, 0)


async def test_a_peer_that_says_nothing_more_is_given_up(postgres_url: str) -> None:
    options = DatabaseOptions(patience=1, statement_timeout=0.2)
    async with cutting(postgres_url) as cut, open_database(cut.url, options) as database:
        await database.read(count_projects)
        cut.deaf = True
        began = time.monotonic()
        with pytest.raises(StorageUnavailable):
            await database.read(count_projects)
        assert time.monotonic() - began < 20
        cut.deaf = False
        assert await database.read(count_projects) == 0


def count_projects(conn: Connection) -> int:
    return int(conn.execute(text("SELECT count(*) FROM projects")).scalar_one())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("not-to-be-shown", "wrong-one"), "does not let us in"),
        (("test_", "nowhere_"), "does not let us in"),
        (("postgresql://", "mysql://"), "address"),
        (("?sslmode=prefer", "?sslmode=perhaps"), "address"),
        (("?sslmode=prefer", "?sslmode=verify-full&sslrootcert=/nowhere.pem"), ""),
        (("?sslmode=prefer", f"?password={PASSWORD}"), "address"),
        (("@127", "@[127"), "address"),
    ],
)
async def test_an_address_that_does_not_lead_there_is_told_without_the_password(
    postgres_url: str, change: tuple[str, str], words: str
) -> None:
    url = f"{postgres_url}?sslmode=prefer".replace(*change)
    with pytest.raises((StorageError, ConfigError)) as caught:
        async with open_database(url, BRIEF):
            pass
    error: BaseException | None = caught.value
    assert words in str(error)
    shown = str(caught.value.to_json()) + repr(error)
    assert PASSWORD not in shown
    assert "wrong-one" not in shown
    assert caught.value.remedy


async def test_who_holds_an_upload_or_a_lease_is_a_matter_of_one_clock(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_database(postgres_url, BRIEF) as database:
        uploads = UploadRows(database)
        await uploads.begin("team/app", "one", "sha256")
        assert await uploads.take(Claim("one", "mine"), 30) is not None
        assert await database.write(lambda conn: leases.take(conn, "work", "mine", 30))
        for ahead in (-3600, 3600):  # as a node with another clock sees it
            now = time.time_ns() + ahead * 10**9
            monkeypatch.setattr(time, "time_ns", lambda now=now: now)
            monkeypatch.setattr(time, "time", lambda now=now: now / 1e9)
            assert await uploads.take(Claim("one", "other"), 30) is None
            assert await uploads.untouched(60, 10) == []
            assert not await database.write(lambda conn: leases.take(conn, "work", "other", 30))
            await uploads.keep(Claim("one", "mine"), 30)
            monkeypatch.undo()
        await uploads.give(Claim("one", "mine"), State(algorithm="sha256"))
        await database.write(lambda conn: leases.give(conn, "work", "mine"))
        assert await uploads.untouched(60, 10) == []
        assert await uploads.untouched(-1, 10) == ["one"]
        assert await uploads.take(Claim("one", "other"), 30, idle=60) is None
        assert await uploads.take(Claim("one", "other"), 30) is not None
        assert await database.write(lambda conn: leases.take(conn, "work", "other", 30))


async def test_the_database_s_own_defaults_weaken_nothing_unseen(
    postgres: Postgres, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = postgres_url.rpartition("/")[2]
    postgres.sql(f"ALTER DATABASE {name} SET default_transaction_isolation TO serializable")
    postgres.sql(f"ALTER DATABASE {name} SET synchronous_commit TO off")
    asked = text("SHOW transaction_isolation")
    async with open_database(postgres_url, BRIEF) as database:
        found = await database.write(lambda conn: conn.execute(asked).scalar())
    assert found == "read committed"  # under others a lock is taken after one has looked
    assert "synchronous_commit = off" in caplog.text


async def test_a_connection_brings_along_no_setting_that_a_pooler_refuses() -> None:
    """PgBouncer knows these few, and ends who names any other; the rest is set afterwards."""
    brought: set[bytes] = set()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length = int.from_bytes(await reader.readexactly(4))
                words = (await reader.readexactly(length - 4))[4:].split(b"\0")
                if len(words) > 1:
                    brought.update(filter(None, words[::2]))
                    break
                writer.write(b"N")  # to the question for TLS
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with suppress(Exception):
            await connect(parse(f"postgresql://u:p@127.0.0.1:{port}/d"), BRIEF)
    assert brought >= {b"user", b"database"}
    assert brought <= {b"user", b"database", b"client_encoding", b"application_name"}


@pytest.fixture(scope="module")
def over_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Postgres, Path]]:
    """A server that lets nobody in without TLS, and the authority to trust."""
    postgres_program("initdb")
    home = tmp_path_factory.mktemp("tls")
    authority = Authority(home)
    certificate, key = authority.issue("localhost")
    with tempfile.TemporaryDirectory(prefix="argosy-postgres-") as folder:
        server = Postgres(Path(folder), free_port())
        server.make()
        files = {
            "ssl_cert_file": server.take(certificate, "server.pem"),
            "ssl_key_file": server.take(key, "server.key"),
        }
        server.settings.update({"ssl": "on", **files})
        access = server.folder / "data" / "pg_hba.conf"
        access.write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        server.start()
        try:
            yield server, authority.ca
        finally:
            server.stop()


@pytest.mark.parametrize(
    ("host", "words", "refused"),
    [
        ("localhost", "sslmode=verify-full&sslrootcert={its}", ""),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert={its}", ""),
        ("127.0.0.1", "sslmode=require", ""),
        ("localhost", "sslmode=disable", "does not let us in"),
        ("localhost", "sslmode=verify-full&sslrootcert={other}", "certificate"),
        ("127.0.0.1", "sslmode=verify-full&sslrootcert={its}", "certificate"),
    ],
)
async def test_the_tls_words_of_the_address_count(
    over_tls: tuple[Postgres, Path], tmp_path: Path, host: str, words: str, refused: str
) -> None:
    server, its = over_tls
    other = Authority(tmp_path, "somebody else").ca
    url = server.url().replace("@127.0.0.1", f"@{host}") + "?"
    url += words.format(its=its, other=other)

    async def secured() -> bool:
        async with open_catalog(url, BRIEF) as catalog:
            asked = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            found = await catalog.database.read(lambda conn: conn.execute(asked).scalar_one())
            await hearing(catalog)  # a connection that is not there yet is not closed at once
            return bool(found)

    if not refused:
        assert await secured()
        return
    with pytest.raises(StorageError) as caught:
        await secured()
    assert refused in caught.value.summary
    assert caught.value.remedy
    assert PASSWORD not in str(caught.value.to_json())


async def test_the_password_may_come_from_elsewhere(postgres_url: str) -> None:
    without = postgres_url.replace(f":{PASSWORD}", "")
    async with open_database(without, replace(BRIEF, password=PASSWORD)) as database:
        assert await database.read(count_projects) == 0
    assert PASSWORD not in repr(replace(BRIEF, password=PASSWORD))


async def test_a_full_disk_is_told_as_such(postgres_url: str) -> None:
    async with open_database(postgres_url, BRIEF) as database:
        full = text("DO $$ BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END $$")
        with pytest.raises(NoSpace):
            await database.write(lambda conn: conn.execute(full))


async def test_a_standby_is_left_for_the_primary(postgres: Postgres, postgres_url: str) -> None:
    name = postgres_url.rpartition("/")[2]
    async with open_catalog(postgres_url, LASTING) as catalog:
        postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        postgres.sql(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        pushing = asyncio.ensure_future(catalog.link_blob(NAME, Digest.of(b"x"), Stored(1)))
        await asyncio.sleep(0.2)
        postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
        await pushing
        assert await catalog.blob(NAME, Digest.of(b"x")) == Stored(1)


async def test_a_pushed_image_is_kept_byte_for_byte(postgres_url: str) -> None:
    async with open_catalog(postgres_url) as catalog:
        new = image(bytes(range(256)), annotations={"text": "Ωμέγα \u0001 \U0001f40b"})
        await catalog.link_blob(NAME, Digest.of(bytes(range(256))), Stored(256))
        await catalog.put_manifest(NAME, new, ["v1"])
        found = await catalog.manifest(NAME, "v1")
        assert found is not None
        assert found.body == new.body


async def test_the_fate_of_a_transaction_is_known_whatever_became_of_its_number(
    postgres_url: str,
) -> None:
    """A crash may give the number of a lost transaction to another one that commits."""
    there, lost = Mark("a", 1), Mark("b", 1)
    async with open_database(postgres_url) as database:
        await database.write(lambda conn: leave_after_writing(conn, there))
        assert await database.write(lambda conn: was_committed(conn, there))
        assert not await database.write(lambda conn: was_committed(conn, lost))
        assert not await database.write(lambda conn: was_committed(conn, Mark("a", 2)))
        assert await database.write(lambda conn: was_committed(conn, there))


async def test_who_looks_a_transaction_up_waits_for_its_end(postgres_url: str) -> None:
    mark = Mark("a", 1)
    async with open_database(postgres_url) as one, open_database(postgres_url) as two:
        loop, begun = asyncio.get_running_loop(), asyncio.Event()

        def slow(conn: Connection) -> None:
            leave_after_writing(conn, mark)
            loop.call_soon(begun.set)
            conn.execute(text("SELECT pg_sleep(0.3)"))

        writing = asyncio.ensure_future(one.write(slow))
        await begun.wait()
        assert await two.write(lambda conn: was_committed(conn, mark))
        await writing


def leave_after_writing(conn: Connection, mark: Mark) -> None:
    rows_before = make(conn, f"marked-{mark.token}")
    assert rows_before
    assert leave(conn, mark)


async def test_marks_do_not_pile_up(postgres_url: str) -> None:
    asked = text("SELECT count(*) FROM commit_marks")
    few = replace(LASTING, pool=3)
    async with open_catalog(postgres_url, few) as catalog:
        await asyncio.gather(*(push(catalog, "v1", seed=f"{n}".encode()) for n in range(40)))
        db = catalog.database
        assert (
            await db.read(lambda conn: conn.execute(asked).scalar_one()) <= few.pool + 1
        )  # and who migrated
        before = await db.read(lambda conn: conn.execute(asked).scalar_one())
        for _ in range(5):
            await db.write(lambda conn: conn.execute(text("SELECT 1")).scalar())
        assert await db.read(lambda conn: conn.execute(asked).scalar_one()) == before
        await db.write(lambda conn: conn.execute(text("UPDATE commit_marks SET at = 5")))
    async with open_catalog(postgres_url, few) as catalog:
        assert await catalog.database.read(lambda conn: conn.execute(asked).scalar_one()) <= 2
