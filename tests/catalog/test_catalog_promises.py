"""The catalog: acknowledged is visible and on disk, and a manifest has all it refers to."""

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from argosy.catalog import schema
from argosy.catalog.actor import SYSTEM
from argosy.catalog.caching.stamps import NEVER
from argosy.catalog.catalog import Catalog, fallback_tag, open_catalog
from argosy.catalog.database import Database, open_database
from argosy.catalog.hosted import HostedRepository
from argosy.catalog.projects.places import place
from argosy.catalog.registry import rows
from argosy.catalog.registry.manifests import Incoming
from argosy.catalog.registry.rows import ReferrersQuery, RepositoryUnknown
from argosy.content.blob_storage import Stored
from argosy.errors import NotFound, RegistryError, StorageError
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.manifest import dump
from argosy.stores.blobs import BlobStore

NAME = "some/app"


def manifest(*layers: bytes, **more: Any) -> Incoming:
    """An image over blobs, the first of which is its config."""
    kinds = [media.OCI_CONFIG, *[media.OCI_LAYER] * (len(layers) - 1)]
    config, *rest = [
        Descriptor.of(kind, layer).to_json() for kind, layer in zip(kinds, layers, strict=True)
    ]
    value = {"schemaVersion": 2, "mediaType": media.OCI_MANIFEST, "config": config}
    return Incoming.parse(dump({**value, "layers": rest, **more}), media.OCI_MANIFEST)


async def hearing(catalog: Catalog) -> None:
    """Wait until what other nodes change is heard: before, nothing is kept in memory."""
    stamps = catalog.database.changes._stamps
    while stamps.memory[0] == NEVER:
        await asyncio.sleep(0.01)


async def push(catalog: Catalog, *tags: str, seed: bytes = b"{}", **more: Any) -> Incoming:
    await catalog.link_blob(NAME, Digest.of(seed), Stored(len(seed)))
    new = manifest(seed, **more)
    await catalog.put_manifest(NAME, new, tags)
    return new


async def test_a_hit_is_answered_without_waiting(catalog: Catalog, where: str) -> None:
    new = await push(catalog, "v1")
    await hearing(catalog)
    assert catalog.at_hand(NAME, "v1") is None
    found = await catalog.manifest(NAME, "v1")
    assert found is not None
    assert (found.body, found.media_type) == (new.body, media.OCI_MANIFEST)
    if "://" in where:  # another node may move the tag: only what cannot move is kept
        assert catalog.at_hand(NAME, "v1") is None
        assert catalog.at_hand(NAME, new.digest) is found
    else:
        assert catalog.at_hand(NAME, "v1") is found


async def test_every_write_is_seen_by_the_next_read(catalog: Catalog) -> None:
    first, second = await push(catalog, "v1", seed=b"1"), await push(catalog, seed=b"2")

    async def tag() -> str | None:
        found = await catalog.manifest(NAME, "v1")
        return found and found.digest

    assert await tag() == first.digest
    await catalog.tag(NAME, second.digest, "v1")
    assert await tag() == second.digest
    await catalog.put_manifest(NAME, first, ["v1"])
    assert await tag() == first.digest
    await catalog.delete_tag(NAME, "v1")
    assert await tag() is None
    await catalog.tag(NAME, first.digest, "v1")
    assert await tag() == first.digest
    await catalog.delete_manifest(NAME, first.digest)
    assert await tag() is None
    assert await catalog.manifest(NAME, first.digest) is None


async def test_everything_is_there_after_reopening(where: str) -> None:
    async with open_catalog(where) as catalog:
        new = await push(catalog, "v1", "v2")
    async with open_catalog(where) as catalog:
        found = await catalog.manifest(NAME, "v2")
        assert found is not None
        assert found.body == new.body
        assert await catalog.tags(NAME, "", 10) == ["v1", "v2"]
        assert await catalog.blob(NAME, Digest.of(b"{}")) == Stored(2)


async def test_commits_are_made_to_survive_a_power_cut(tmp_path: Path) -> None:
    async with open_database(str(tmp_path / "c.db")) as database:

        def pragmas(conn: Connection) -> list[Any]:
            names = ("journal_mode", "synchronous", "foreign_keys")
            return [conn.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

        assert await database.read(pragmas) == ["wal", 2, 1]


async def test_a_refused_manifest_leaves_no_tag_and_no_row(catalog: Catalog) -> None:
    await catalog.link_blob(NAME, Digest.of(b"{}"), Stored(2))
    new = manifest(b"{}", b"not here")
    with pytest.raises(RegistryError) as caught:
        await catalog.put_manifest(NAME, new, ["v1"])
    assert caught.value.registry_code == "MANIFEST_BLOB_UNKNOWN"
    assert caught.value.evidence["digests"] == [Digest.of(b"not here")]
    assert await catalog.manifest(NAME, "v1") is None
    assert await catalog.manifest(NAME, new.digest) is None


@pytest.mark.parametrize("order", [1, -1])
async def test_a_blob_is_no_manifest_of_an_index_that_lists_it_as_both(
    catalog: Catalog, order: int
) -> None:
    inner = manifest(b"{}")
    await catalog.link_blob(NAME, inner.digest, Stored(len(inner.body)))
    kinds = (media.OCI_LAYER, media.OCI_MANIFEST)[::order]
    listed = [Descriptor.of(kind, inner.body).to_json() for kind in kinds]
    value = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": listed}
    new = Incoming.parse(dump(value), media.OCI_INDEX)
    with pytest.raises(RegistryError) as caught:
        await catalog.put_manifest(NAME, new, ["v1"])
    assert caught.value.evidence["digests"] == [inner.digest]
    await catalog.link_blob(NAME, Digest.of(b"{}"), Stored(2))
    await catalog.put_manifest(NAME, inner)
    await catalog.put_manifest(NAME, new, ["v1"])


async def test_a_manifest_of_a_thousand_layers_is_checked(catalog: Catalog) -> None:
    layers = [str(n).encode() for n in range(1200)]
    for layer in layers[:-1]:
        await catalog.link_blob(NAME, Digest.of(layer), Stored(len(layer)))
    with pytest.raises(RegistryError) as caught:
        await catalog.put_manifest(NAME, manifest(*layers))
    assert caught.value.evidence["digests"] == [Digest.of(layers[-1])]
    await catalog.link_blob(NAME, Digest.of(layers[-1]), Stored(len(layers[-1])))
    await catalog.put_manifest(NAME, manifest(*layers), ["v1"])


async def test_the_history_of_a_tag_is_kept(catalog: Catalog) -> None:
    first, second = await push(catalog, "v1", seed=b"1"), await push(catalog, "v1", seed=b"2")
    await catalog.put_manifest(NAME, second, ["v1"])  # no move
    await catalog.delete_tag(NAME, "v1")

    def moves(conn: Connection) -> Sequence[str | None]:
        table = schema.tag_history
        found = select(table.c.digest).where(table.c.name == "v1").order_by(table.c.id)
        return list(conn.execute(found).scalars())

    assert await catalog._db.read(moves) == [first.digest, second.digest, None]


async def test_the_history_tells_that_tags_went_with_their_manifest(catalog: Catalog) -> None:
    tags = [f"t{n:03}" for n in range(300)]
    gone, stays = await push(catalog, *tags, seed=b"1"), await push(catalog, "z", seed=b"2")
    await catalog.delete_manifest(NAME, gone.digest)
    assert await catalog.tags(NAME, "", 1000) == ["z"]
    assert await catalog.manifest(NAME, "z") is not None

    def last(conn: Connection) -> dict[str, str | None]:
        table = schema.tag_history
        found = conn.execute(select(table.c.name, table.c.digest).order_by(table.c.id))
        return {row.name: row.digest for row in found}

    assert await catalog._db.read(last) == {**dict.fromkeys(tags), "z": stays.digest}


async def test_a_tag_on_nothing_is_refused(catalog: Catalog) -> None:
    with pytest.raises(RepositoryUnknown):
        await catalog.tag(NAME, Digest.of(b"x"), "v1")
    await push(catalog)
    with pytest.raises(NotFound):
        await catalog.tag(NAME, Digest.of(b"x"), "v1")
    assert await catalog.tags(NAME, "", 10) == []


async def test_referrers_are_read_only_until_there_is_enough_text(catalog: Catalog) -> None:
    subject = Descriptor.of(media.OCI_MANIFEST, b"subject")
    pushed = [
        (await push(catalog, subject=subject.to_json(), annotations={"n": str(n), "pad": "x" * 99}))
        for n in range(9)
    ]
    every = sorted(new.digest for new in pushed)
    # The fallback tag lists them too, also those behind the cut: they are not to be skipped.
    listed = [Descriptor.of(media.OCI_MANIFEST, new.body).to_json() for new in pushed]
    old = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": listed}
    tag = fallback_tag(subject.digest)
    await catalog.put_manifest(NAME, Incoming.parse(dump(old), media.OCI_INDEX), [tag])
    found: list[str] = []
    while True:
        query = ReferrersQuery(
            subject=subject.digest, last=found[-1] if found else "", most_text=250
        )
        page = await catalog.referrers(NAME, query)
        assert len(page) <= 3
        if not page:
            break
        found += [d.digest for d in page]
    assert found == every


async def test_a_hosted_repository_lists_referrers_past_a_short_page(
    catalog: Catalog, tmp_path: Path
) -> None:
    subject = Descriptor.of(media.OCI_MANIFEST, b"subject")
    for n in range(5):
        await push(
            catalog, subject=subject.to_json(), annotations={"n": str(n), "pad": "x" * 2_000_000}
        )
    hosted = HostedRepository(catalog, BlobStore(str(tmp_path)), NAME)
    assert len(await hosted.referrers(subject.digest)) == 5


async def test_a_subject_is_no_child_and_may_go(catalog: Catalog) -> None:
    subject = await push(catalog, seed=b"subject")
    about = Descriptor.of(media.OCI_MANIFEST, subject.body).to_json()
    await push(catalog, seed=b"about", subject=about)
    await catalog.delete_manifest(NAME, subject.digest)
    query = rows.ReferrersQuery(subject=subject.digest)
    assert len(await catalog.referrers(NAME, query)) == 1


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_the_fallback_tag_is_the_specs(algorithm: str) -> None:
    tag = fallback_tag(Digest.of(b"x", algorithm))
    assert tag == f"{algorithm}-{Digest.of(b'x', algorithm).hex[:64]}"
    assert len(tag) <= 128


async def test_a_write_that_fails_takes_no_other_with_it(tmp_path: Path) -> None:
    async with open_database(str(tmp_path / "c.db")) as database:
        hold = threading.Event()

        def wait(_conn: Connection) -> None:  # so that those after it share one commit
            hold.wait(5)

        def make(number: int) -> Any:
            def function(conn: Connection) -> int:
                found = place(conn, f"r{number}", SYSTEM).repository
                if number % 3 == 0:
                    raise NotFound("on purpose")
                return found

            return function

        waiting = [asyncio.ensure_future(database.write(wait))]
        waiting += [asyncio.ensure_future(database.write(make(n))) for n in range(30)]
        await asyncio.sleep(0.05)
        hold.set()
        outcomes = await asyncio.gather(*waiting[1:], return_exceptions=True)
        assert [isinstance(o, NotFound) for o in outcomes] == [n % 3 == 0 for n in range(30)]
        names = await database.read(lambda conn: rows.repositories_page(conn, "", 100))
        assert sorted(names) == sorted(f"r{n}" for n in range(30) if n % 3)


async def test_a_commit_that_fails_is_told_to_all_who_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_database(str(tmp_path / "c.db")) as database:
        await database.write(lambda conn: place(conn, "before", SYSTEM).repository)

        def broken(conn: Connection) -> None:
            place(conn, "lost", SYSTEM)
            conn.exec_driver_sql("SELECT * FROM no_such_table")

        with pytest.raises(StorageError):
            await database.write(broken)
        names = await database.read(lambda conn: rows.repositories_page(conn, "", 100))
        assert names == ["before"]
        await database.write(lambda conn: place(conn, "after", SYSTEM).repository)


async def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "c.db").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StorageError) as caught:
        async with open_database(str(tmp_path / "c.db")):
            pass
    assert caught.value.remedy


async def test_many_writers_share_commits(tmp_path: Path) -> None:
    async with open_database(str(tmp_path / "c.db")) as database:
        commits = count_commits(database)
        await asyncio.gather(
            *(
                database.write(lambda conn, n=n: place(conn, f"r{n}", SYSTEM).repository)
                for n in range(100)
            )
        )
        assert len(commits) < 50


def count_commits(database: Database) -> list[int]:
    real, seen = database._commit, []

    def counting(batch: list[Any]) -> None:
        seen.append(len(batch))
        real(batch)

    database._commit = counting  # type: ignore[method-assign]
    return seen


def test_the_driver_is_the_one_of_the_standard_library() -> None:
    assert sqlite3.sqlite_version_info >= (3, 24)  # ON CONFLICT
