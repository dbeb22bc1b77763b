"""Looking into the audit log: every field by an index, pages that go on, exports that are whole."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import Connection, text

from argosy.catalog import schema as t
from argosy.catalog.auditing.sealing import Sealer
from argosy.catalog.auditing.searching import AuditQuery, export, search, statement
from argosy.catalog.database import Database, open_database
from tests.catalog.auditing import write_rows

DIGEST = "sha256:" + "a" * 64
HOUR = 3_600_000_000
NOON = 1_700_000_000_000_000


@pytest.fixture
async def db(where: str) -> AsyncIterator[Database]:
    async with open_database(where) as found:
        yield found


def entry(number: int) -> dict[str, Any]:
    return {
        "at": NOON + number * HOUR,
        "actor": f"user{number % 3}",
        "project": f"p{number % 4}",
        "resource": f"p{number % 4}/app:{number}",
        "action": ["tag.move", "tag.delete", "robot.create"][number % 3],
        "digest": DIGEST if number % 5 == 0 else "",
        "outcome": "denied" if number % 7 == 0 else "done",
    }


async def ids(db: Database, **query: Any) -> list[int]:
    return [e.id for e in await db.read(lambda conn: search(conn, AuditQuery(**query)))]


@pytest.mark.parametrize(
    ("query", "meant"),
    [
        ({"actor": "user1"}, lambda e: e["actor"] == "user1"),
        ({"project": "p2"}, lambda e: e["project"] == "p2"),
        ({"resource": "p3/app:7"}, lambda e: e["resource"] == "p3/app:7"),
        ({"digest": DIGEST}, lambda e: e["digest"] == DIGEST),
        ({"action": "tag.move"}, lambda e: e["action"] == "tag.move"),
        ({"action": "tag."}, lambda e: e["action"].startswith("tag.")),
        ({"outcome": "denied"}, lambda e: e["outcome"] == "denied"),
        ({"outcome": "done"}, lambda e: e["outcome"] == "done"),
        ({"since": NOON + 10 * HOUR}, lambda e: e["at"] >= NOON + 10 * HOUR),
        ({"until": NOON + 10 * HOUR}, lambda e: e["at"] < NOON + 10 * HOUR),
        (
            {"since": NOON + 5 * HOUR, "until": NOON + 20 * HOUR, "actor": "user0"},
            lambda e: NOON + 5 * HOUR <= e["at"] < NOON + 20 * HOUR and e["actor"] == "user0",
        ),
        ({"since": NOON + 900 * HOUR}, lambda e: False),
        ({"actor": "' OR 1=1 --"}, lambda e: False),
        ({}, lambda e: True),
    ],
    ids=lambda value: "&".join(value) or "all" if isinstance(value, dict) else "",
)
async def test_a_search_finds_what_it_asks_for_newest_first(
    db: Database, query: dict[str, Any], meant: Any
) -> None:
    made = [entry(n) for n in range(40)]
    await write_rows(db, made)
    expected = [n + 1 for n, e in enumerate(made) if meant(e)][::-1]
    assert await ids(db, **query) == expected
    paged: list[int] = []
    while page := await ids(db, **query, count=4, after=paged[-1] if paged else 0):
        paged += page
    assert paged == expected


async def test_times_find_entries_though_the_clocks_of_nodes_differ(db: Database) -> None:
    await write_rows(db, [{"at": NOON + at * 1_000_000} for at in (0, 60, 20, 80, 40)])
    between = {"since": NOON + 20_000_000, "until": NOON + 80_000_000}
    assert await ids(db, **between) == [5, 3, 2]


async def test_an_export_is_every_entry_as_a_line_oldest_first(db: Database) -> None:
    await write_rows(db, [{**entry(n), "details": {"was": f"é\n{n}"}} for n in range(2500)])
    await Sealer(db).once()
    whole = b"".join([part async for part in export(db, AuditQuery(action="tag."))])
    lines = [json.loads(line) for line in whole.splitlines()]
    expected = [n for n in range(2500) if n % 3 != 2]
    assert [line["id"] - 1 for line in lines] == expected
    assert lines[0]["at"] == "2023-11-14T22:13:20.000000Z"
    assert (lines[0]["sequence"], len(lines[0]["hash"])) == (1, 64)
    assert lines[1]["details"] == {"was": "é\n1"}


QUERIES = [
    ({"actor": "user1"}, "ix_audit_actor_id"),
    ({"project": "p2"}, "ix_audit_project_id"),
    ({"resource": "p3/app:7"}, "ix_audit_resource_id"),
    ({"digest": DIGEST}, "ix_audit_digest_id"),
    ({"action": "robot.create"}, "ix_audit_action_id"),
    ({"outcome": "denied"}, "ix_audit_outcome_id"),
    (
        {"actor": "user1", "since": NOON, "until": NOON + 900 * HOUR},
        "ix_audit_actor_id|PRIMARY KEY",
    ),
    ({"since": NOON + 10 * HOUR, "until": NOON + 20 * HOUR}, "pk_audit|PRIMARY KEY|ix_audit_at_id"),
    ({}, "pk_audit|SCAN audit"),
]


@pytest.mark.parametrize(
    ("query", "index"), QUERIES, ids=["&".join(q) or "all" for q, _ in QUERIES]
)
async def test_every_search_goes_by_an_index(
    where: str, db: Database, query: dict[str, Any], index: str
) -> None:
    """So many entries that PostgreSQL does not prefer to read them all."""
    values = (
        "SELECT {at}, 'user' || (n % 300), 'user', '', '', {action} || (n % 200), 'p' || (n % 400),"
        " 'p' || (n % 400) || '/app:' || n, 'd' || n, CASE WHEN n % 500 = 0 THEN 'denied'"
        " ELSE 'done' END, '{{}}', 1 FROM {series}"
    ).format(
        at=f"{NOON} + n * CAST({HOUR} AS BIGINT)",
        action="'tag.'",
        series="generate_series(1, 5000) AS n"
        if "://" in where
        else "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 5000)"
        " SELECT n FROM s)",
    )
    columns = (
        "at, actor, actor_kind, address, request, action, project, resource, digest,"
        " outcome, details, count"
    )
    values = values.replace("'{}'", "CAST('{}' AS JSON)") if "://" in where else values
    await db.write(lambda conn: conn.execute(text(f"INSERT INTO audit ({columns}) {values}")))
    await db.write(lambda conn: conn.execute(text("ANALYZE")))

    def explain(conn: Connection) -> str:
        asked = statement(conn, AuditQuery(**query, count=50))
        words = asked.compile(conn, compile_kwargs={"literal_binds": True})
        how = "EXPLAIN" if "://" in where else "EXPLAIN QUERY PLAN"
        return "\n".join(str(tuple(row)) for row in conn.exec_driver_sql(f"{how} {words}"))

    plan = await db.read(explain)
    assert "Seq Scan" not in plan
    assert "TEMP B-TREE" not in plan  # PostgreSQL may sort the few that an index gave it
    assert re.search(index, plan), plan


async def test_the_sealer_looks_for_its_entries_by_an_index(where: str, db: Database) -> None:
    await write_rows(db, [{}] * 2000)
    await Sealer(db).once()
    await db.write(lambda conn: conn.execute(text("ANALYZE")))
    how = "EXPLAIN" if "://" in where else "EXPLAIN QUERY PLAN"
    asked = f"{how} SELECT id FROM audit WHERE sequence IS NULL ORDER BY id LIMIT 200"
    plan = await db.read(lambda conn: str(conn.execute(text(asked)).all()))
    assert "uq_audit_sequence" in plan or "sqlite_autoindex_audit" in plan, plan
    assert t.audit.c.sequence.unique
