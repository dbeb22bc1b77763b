"""The migrations make the tables that the code speaks of, keep the data, and let old nodes go on."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from argosy.catalog import schema
from argosy.catalog.catalog import open_catalog
from argosy.catalog.database import open_database
from argosy.catalog.databases.address import parse
from argosy.catalog.databases.dialects import postgres_engine, sqlite_engine
from argosy.catalog.databases.options import DatabaseOptions
from argosy.catalog.migrations.run import config, upgrade_on
from argosy.catalog.schema import REVISION, metadata
from argosy.errors import StorageError
from argosy.model.digest import Digest
from tests.catalog.pushing import NAME, image, push, verify

pytestmark = pytest.mark.usefixtures("real_migrations")

T = TypeVar("T")
Run = Callable[[Callable[[Connection], T]], Any]
REVISIONS = [
    s.revision for s in reversed(list(ScriptDirectory.from_config(config()).walk_revisions()))
]
BREAKING: set[str] = set()
"""Steps that the version before cannot live with: they set schema_compatibility.oldest."""


@pytest.fixture(params=["sqlite", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without a table."""
    if request.param == "postgres":
        return str(request.getfixturevalue("empty_postgres_url"))
    return str(tmp_path / "c.db")


@pytest.fixture
async def run(empty: str) -> AsyncIterator[Run[Any]]:
    """Runs a function of a connection in a transaction, committed when it is done."""
    if "://" not in empty:
        engine = sqlite_engine(empty)

        async def in_file(function: Callable[[Connection], T]) -> T:
            with engine.execution_options(writes=True).begin() as conn:
                return function(conn)

        yield in_file
        engine.dispose()
        return
    remote = postgres_engine(parse(empty), DatabaseOptions())

    async def in_postgres(function: Callable[[Connection], T]) -> T:
        async with remote.begin() as conn:
            return await conn.run_sync(function)

    yield in_postgres
    await remote.dispose()


def to(revision: str) -> Callable[[Connection], None]:
    def go(conn: Connection) -> None:
        held = conn.dialect.has_table(conn, "alembic_version")
        now = conn.execute(text("SELECT version_num FROM alembic_version")).scalar() if held else ""
        step = command.upgrade if (now or "") < revision else command.downgrade
        step(config(conn), revision)

    return go


def tables(conn: Connection) -> list[str]:
    return sorted(inspect(conn).get_table_names())


def everything(names: list[str]) -> Callable[[Connection], dict[str, list[dict[str, Any]]]]:
    """All rows of some tables, each as a dictionary, in some order."""

    def read(conn: Connection) -> dict[str, list[dict[str, Any]]]:
        found = {}
        for name in names:
            rows = [dict(r) for r in conn.execute(text(f"SELECT * FROM {name}")).mappings()]
            found[name] = sorted(rows, key=repr)
        return found

    return read


DIGEST = Digest.of(b"{}")
MANIFEST = image(b"{}")
OLD_ROWS: list[tuple[str, dict[str, Any]]] = [
    ("INSERT INTO repositories (name, created_at) VALUES (:n, 5)", {"n": "team/app"}),
    ("INSERT INTO repositories (name, created_at) VALUES (:n, 3)", {"n": "team/b"}),
    ("INSERT INTO repositories (name, created_at) VALUES (:n, 7)", {"n": "plain"}),
    ("INSERT INTO blobs (digest, size, created_at) VALUES (:d, 2, 1)", {"d": DIGEST}),
    (
        "INSERT INTO repository_blobs (repository_id, digest, linked_at) SELECT id, :d, 1 FROM repositories",
        {"d": DIGEST},
    ),
    (
        ("INSERT INTO manifests (repository_id, digest, media_type, size, body, artifact_type,"
        " annotations, pushed_at) SELECT id, :d, :m, :s, :b, '', '{}', 9 FROM repositories"
        " WHERE name = 'team/app'"),
        {"d": MANIFEST.digest, "m": MANIFEST.media_type, "s": len(MANIFEST.body), "b": MANIFEST.body},
    ),
    (
        ("INSERT INTO manifest_children (repository_id, parent, child) SELECT id, :d, :c"
        " FROM repositories WHERE name = 'team/app'"),
        {"d": MANIFEST.digest, "c": DIGEST},
    ),
    (
        ("INSERT INTO tags (repository_id, name, digest, updated_at) SELECT id, 'v1', :d, 9"
        " FROM repositories WHERE name = 'team/app'"),
        {"d": MANIFEST.digest},
    ),
    (
        ("INSERT INTO tag_history (repository_id, name, digest, at) SELECT id, 'v1', :d, 9"
        " FROM repositories WHERE name = 'team/app'"),
        {"d": MANIFEST.digest},
    ),
]  # fmt: skip
"""What a program of revision 0001 writes, in its own words."""


def write_as_0001(conn: Connection) -> None:
    for statement, values in OLD_ROWS:
        conn.execute(text(statement), values)


def test_the_latest_migration_is_the_one_the_code_expects() -> None:
    assert ScriptDirectory.from_config(config()).get_heads() == [REVISION]


async def test_the_migrations_make_the_tables_of_the_schema(run: Run[Any]) -> None:
    await run(upgrade_on)
    assert await run(lambda c: compare_metadata(MigrationContext.configure(c), metadata)) == []


async def test_every_migration_can_be_undone(run: Run[Any]) -> None:
    await run(upgrade_on)
    for revision in reversed(REVISIONS[:-1]):
        await run(to(revision))
    await run(lambda conn: command.downgrade(config(conn), "base"))
    assert await run(tables) == ["alembic_version"]


async def test_data_of_the_first_release_is_kept_on_the_way_up_and_back_again(
    run: Run[Any], empty: str
) -> None:
    await run(to("0001"))
    names = [name for name in await run(tables) if name != "alembic_version"]
    await run(write_as_0001)
    before = await run(everything(names))
    await run(upgrade_on)
    async with open_catalog(empty) as catalog:
        found = await catalog.manifest("team/app", "v1")
        assert found is not None
        assert found.body == MANIFEST.body
        assert await catalog.repositories("", 9) == ["plain", "team/app", "team/b"]
    projects = text("SELECT name, created_at FROM projects ORDER BY name")
    assert [tuple(r) for r in await run(lambda c: c.execute(projects).all())] == [
        ("plain", 7),
        ("team", 3),
    ]
    used = text(
        "SELECT p.name, sum(d.bytes), sum(d.artifacts) FROM quota_deltas d"
        " JOIN projects p ON p.id = d.project_id GROUP BY p.name ORDER BY p.name"
    )
    assert [tuple(map(str, r)) for r in await run(lambda c: c.execute(used).all())] == [
        ("plain", "2", "0"),
        ("team", str(2 + len(MANIFEST.body)), "1"),  # the blob of two repositories counts once
    ]
    await run(to("0001"))
    assert await run(everything(names)) == before
    await run(upgrade_on)
    async with open_catalog(empty) as catalog:
        assert await catalog.manifest("team/app", "v1") is not None


@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_migration_only_adds(run: Run[Any], revision: str) -> None:
    """See migrations/README.md: a node of the version before goes on working."""
    number = REVISIONS.index(revision)
    if number == 0 or revision in BREAKING:
        return
    await run(to(REVISIONS[number - 1]))
    before = await run(columns)
    await run(to(revision))
    after = await run(columns)
    for (table, name), (kind, nullable, _) in before.items():
        now = after.get((table, name))
        assert now is not None, f"{revision} drops {table}.{name}"
        assert now[0] == kind, f"{revision} changes the type of {table}.{name}"
        assert now[1] or not nullable, f"{revision} makes {table}.{name} NOT NULL"
    old_tables = {table for table, _ in before}
    for (table, name), (_, nullable, default) in after.items():
        if (table, name) not in before and table in old_tables:
            assert nullable or default is not None, f"{revision} demands {table}.{name}"


def columns(conn: Connection) -> dict[tuple[str, str], tuple[str, bool, object]]:
    found = {}
    for table in tables(conn):
        for column in inspect(conn).get_columns(table):
            shape = str(column["type"]), bool(column["nullable"]), column["default"]
            found[table, column["name"]] = shape
    return found


async def test_what_the_version_before_writes_is_understood(run: Run[Any], empty: str) -> None:
    await run(upgrade_on)
    await run(write_as_0001)  # a node that has not been upgraded yet
    async with open_catalog(empty) as catalog:
        found = await catalog.manifest("team/app", "v1")
        assert found is not None
        assert found.body == MANIFEST.body
        new = await push(catalog, "v1", seed=b"new", name="team/app")
        await catalog.delete_manifest("team/app", new.digest)
        assert await catalog.tags("team/app", "", 9) == []


def pretend(oldest: str) -> Callable[[Connection], None]:
    """Leave the database as a program of the future would."""

    def leave(conn: Connection) -> None:
        upgrade_on(conn)
        conn.execute(text("ALTER TABLE repositories ADD COLUMN sparkle BIGINT DEFAULT 7 NOT NULL"))
        conn.execute(text("CREATE TABLE of_the_future (id BIGINT PRIMARY KEY)"))
        conn.execute(text("UPDATE alembic_version SET version_num = '9001'"))
        conn.execute(text("UPDATE schema_compatibility SET oldest = :o"), {"o": oldest})

    return leave


async def test_a_node_that_runs_goes_on_while_a_newer_one_migrates(
    run: Run[Any], empty: str
) -> None:
    await run(upgrade_on)
    async with open_catalog(empty) as catalog:
        await push(catalog, "v1", seed=b"1")
        stop = asyncio.Event()

        async def pushing() -> int:
            for n in range(10_000):
                await push(catalog, f"t{n}", seed=f"{n}".encode())
                if stop.is_set():
                    return n
            raise AssertionError

        load = asyncio.ensure_future(pushing())
        await asyncio.sleep(0.05)
        await run(pretend(REVISION))
        await asyncio.sleep(0.05)
        stop.set()
        assert await load > 0
        await verify(catalog)


async def test_a_program_that_is_older_but_fit_starts_and_says_so(
    run: Run[Any], empty: str, caplog: pytest.LogCaptureFixture
) -> None:
    await run(pretend(REVISION))
    async with open_catalog(empty) as catalog:
        await push(catalog, "v1")
        assert await catalog.repositories("", 9) == [NAME]
    assert "9001" in caplog.text
    assert REVISION in caplog.text


async def test_a_program_too_old_for_the_schema_refuses_with_clear_words(
    run: Run[Any], empty: str
) -> None:
    await run(pretend("9000"))
    with pytest.raises(StorageError) as caught:
        async with open_catalog(empty):
            pass
    assert "newer argosy" in caught.value.summary
    assert "9001" in caught.value.why
    assert "9000" in caught.value.why
    assert caught.value.remedy
    assert (
        await run(lambda c: c.execute(text("SELECT version_num FROM alembic_version")).scalar())
        == "9001"
    )


async def test_nodes_that_start_at_once_migrate_once(empty: str) -> None:
    async def start(number: int) -> None:
        options = DatabaseOptions(workers=True, pool=2)
        async with open_database(empty, options) as database:
            await database.write(lambda c: c.execute(text("SELECT 1")).scalar())
            found = await database.read(
                lambda c: c.execute(text("SELECT version_num FROM alembic_version")).all()
            )
            assert [row[0] for row in found] == [REVISION]

    await asyncio.gather(*(start(n) for n in range(8)))


async def test_a_migration_that_fails_leaves_the_old_schema(run: Run[Any], empty: str) -> None:
    await run(to("0001"))
    before = await run(tables)

    def half(conn: Connection) -> None:
        upgrade_on(conn)
        raise StorageError("the power went")

    with pytest.raises(StorageError):
        await run(half)
    assert await run(tables) == before
    async with open_catalog(empty) as catalog:
        assert await catalog.repositories("", 9) == []


async def test_a_database_that_is_up_to_date_is_opened_without_alembic(
    empty: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with open_catalog(empty):
        pass
    monkeypatch.setitem(sys.modules, "argosy.catalog.migrations.run", None)  # importing it fails
    async with open_catalog(empty) as catalog:
        assert await catalog.repositories("", 10) == []
    with pytest.raises(ImportError):
        async with open_catalog(str(tmp_path / "new.db")):
            pass


def test_every_table_is_named_in_the_package() -> None:
    assert set(metadata.tables) <= set(schema.__all__)
