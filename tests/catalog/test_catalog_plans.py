"""On PostgreSQL, what a push or a page reads does not grow with what the registry holds.

Whatever PostgreSQL plans: it decides by statistics that may be of yesterday, or are about another
repository. What is counted is rows that were read, not time.
"""

from sqlalchemy import Connection, insert, text

from argosy.catalog import schema as t
from argosy.catalog.actor import SYSTEM
from argosy.catalog.catalog import open_catalog
from argosy.catalog.databases.options import DatabaseOptions
from argosy.catalog.projects.places import place
from argosy.catalog.registry import browsing, rows
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest

ALONE = DatabaseOptions(pool=1)  # one connection: its plans are kept
MANY = 2000


def rows_read(conn: Connection) -> int:
    """How many rows this transaction has read, of every table."""
    read = "SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_xact_user_tables"
    return int(conn.execute(text(read)).scalar_one())


def digest(number: int) -> Digest:
    return Digest(f"sha256:{number:064x}")


def fill(conn: Connection, name: str, numbers: range) -> None:
    """Blobs, and tags on nothing, in a repository."""
    key = place(conn, name, SYSTEM).repository
    blobs = [{"digest": digest(n), "size": 1, "created_at": 0, "key": ""} for n in numbers]
    links = [{"repository_id": key, "digest": digest(n), "linked_at": 0} for n in numbers]
    tags = [{**link, "name": f"t{link['digest'][-8:]}", "updated_at": 0} for link in links]
    conn.execute(insert(t.blobs), blobs)
    conn.execute(insert(t.repository_blobs), links)
    conn.execute(insert(t.tags), [{k: v for k, v in tag.items() if k in t.tags.c} for tag in tags])


async def test_a_push_by_a_plan_from_when_there_was_little(postgres_url: str) -> None:
    asked = [Descriptor.of(media.OCI_LAYER, b"%d" % i) for i in range(2)]

    def look(conn: Connection) -> int:
        repository = rows.repository(conn, "team/app")
        assert repository is not None
        assert rows.missing(conn, repository, asked) == (asked, [])
        return rows_read(conn)

    async with open_catalog(postgres_url, ALONE) as catalog:
        await catalog.database.write(lambda conn: fill(conn, "team/app", range(20)))
        for _ in range(10):  # then PostgreSQL keeps a plan until the tables are analysed
            await catalog.database.read(look)
        await catalog.database.write(lambda conn: fill(conn, "team/app", range(20, MANY)))
        assert await catalog.database.read(look) < 10 * MANY  # not each with each


async def test_a_page_of_repositories_beside_one_that_has_nearly_everything(
    postgres_url: str,
) -> None:
    def look(conn: Connection) -> int:
        page = browsing.repositories(conn, browsing.RepositoriesQuery())
        assert len(page) == 51
        assert sum(shown.tags for shown in page) == MANY
        return rows_read(conn)

    async with open_catalog(postgres_url, ALONE) as catalog:
        await catalog.database.write(lambda conn: fill(conn, "team/large", range(MANY)))
        for n in range(50):
            name = f"team/app{n}"
            await catalog.database.write(lambda conn, name=name: place(conn, name, SYSTEM) and None)
        await catalog.database.write(lambda conn: conn.execute(text("ANALYZE")) and None)
        assert await catalog.database.read(look) < 5 * MANY  # not all for each
