"""Blobs in a real object store: uploads that go on anywhere, and leave nothing behind."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from argosy.catalog.catalog import Catalog, open_catalog
from argosy.catalog.uploads import UploadRows
from argosy.concurrency import in_thread
from argosy.content.blob_storage import Stored, Turn
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.stores.s3.options import S3Options
from argosy.stores.s3.storage import S3Storage, open_s3

MIB = 1 << 20
BODY = os.urandom(MIB) * 18 + b"end"
NAME = Digest.of(BODY)
OWNER = "team/app"


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[Catalog]:
    async with open_catalog(str(tmp_path / "argosy.db")) as opened:
        yield opened


@asynccontextmanager
async def node(catalog: Catalog, options: S3Options) -> AsyncIterator[S3Storage]:
    """What one server process has of the storage."""
    rows = UploadRows(catalog.database)
    async with open_s3(options, rows, rows) as storage:
        yield storage


@pytest.fixture
async def storage(catalog: Catalog, s3_options: S3Options) -> AsyncIterator[S3Storage]:
    async with node(catalog, s3_options) as opened:
        yield opened


async def written(turn: Turn, body: bytes, piece: int = MIB) -> None:
    """As a request's body comes: in pieces whose memory is used again."""

    def feed() -> None:
        for start in range(0, len(body), piece):
            memory = bytearray(body[start : start + piece])
            turn.write(memoryview(memory))
            memory[:] = bytes(len(memory))

    await in_thread(feed)


async def published(catalog: Catalog, turn: Turn, digest: Digest, owner: str = OWNER) -> Stored:
    stored = await turn.commit(digest)
    kept = await catalog.link_blob(owner, digest, stored)
    await turn.settle(kept)
    return kept


async def pushed(catalog: Catalog, storage: S3Storage, body: bytes, owner: str = OWNER) -> Stored:
    upload = await storage.begin(owner)
    async with upload.turn() as turn:
        await written(turn, body)
        return await published(catalog, turn, Digest.of(body), owner)


async def content(storage: S3Storage, stored: Stored, digest: Digest, start: int = 0) -> bytes:
    desc = Descriptor(media_type="", digest=digest, size=stored.size)
    async with storage.open(desc, start=start, key=stored.key) as pieces:
        return b"".join([piece async for piece in pieces])


async def objects(storage: S3Storage) -> list[str]:
    """Everything that is in the bucket: objects, and multipart uploads under way."""
    parts = [f"parts of {begun.key}" async for begun in storage.bucket.begun()]
    return [key async for key in storage.bucket.objects()] + parts


@pytest.mark.parametrize("size", [0, 1, 100_000, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, len(BODY)])
async def test_a_blob_of_any_size_is_one_object_that_its_row_points_at(
    catalog: Catalog, storage: S3Storage, size: int
) -> None:
    body = BODY[:size]
    stored = await pushed(catalog, storage, body)
    assert stored.size == size
    assert await catalog.blob(OWNER, Digest.of(body)) == stored
    assert await content(storage, stored, Digest.of(body)) == body
    assert await objects(storage) == [stored.key]


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    cuts=st.lists(
        st.one_of(st.integers(0, len(BODY)), st.sampled_from([MIB, 5 * MIB, 8 * MIB, 16 * MIB])),
        max_size=5,
    )
)
async def test_each_request_may_go_to_another_node(
    catalog: Catalog, s3_options: S3Options, cuts: list[int]
) -> None:
    edges = [0, *sorted(cuts), len(BODY)]
    async with node(catalog, s3_options) as one, node(catalog, s3_options) as two:
        name = (await one.begin(OWNER)).id
        for count, (start, end) in enumerate(itertools.pairwise(edges)):
            upload = await (one, two)[count % 2].resume(OWNER, name)
            assert upload.offset == start
            async with upload.turn() as turn:
                await written(turn, BODY[start:end])
        upload = await one.resume(OWNER, name)
        async with upload.turn() as turn:
            stored = await published(catalog, turn, NAME)
        assert await content(two, stored, NAME) == BODY
        kept = await catalog.blob(OWNER, NAME)
        assert kept is not None
        assert await objects(one) == [kept.key]


async def test_many_small_chunks_come_to_one_blob(catalog: Catalog, storage: S3Storage) -> None:
    upload = await storage.begin(OWNER)
    step = MIB + 4321
    for start in range(0, len(BODY), step):
        upload = await storage.resume(OWNER, upload.id)
        async with upload.turn() as turn:
            await written(turn, BODY[start : start + step])
    async with upload.turn() as turn:
        stored = await published(catalog, turn, NAME)
    assert await content(storage, stored, NAME, start=17 * MIB) == BODY[17 * MIB :]
    assert await objects(storage) == [stored.key]
