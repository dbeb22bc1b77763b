"""Blobs in a real object store: uploads that go on anywhere, and leave nothing behind."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from argosy.catalog import schema as t
from argosy.catalog.actor import SYSTEM
from argosy.catalog.catalog import Catalog, open_catalog
from argosy.catalog.registry.removing import remove_repository
from argosy.catalog.registry.uploads import UploadRows
from argosy.concurrency import gather, in_thread
from argosy.content.blob_storage import Stored, Turn, Upload, UploadBusy, UploadLost
from argosy.content.blob_storage import store as keep
from argosy.errors import (
    DigestMismatch,
    InvalidDigest,
    NetworkError,
    NotFound,
    RegistryError,
    SizeMismatch,
    StorageError,
    StorageUnavailable,
)
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.stores import hashing
from argosy.stores.s3 import upload as module
from argosy.stores.s3.failures import Refused
from argosy.stores.s3.options import S3Options
from argosy.stores.s3.storage import S3Storage, open_s3
from tests.seaweed import FaultProxy, Seaweed

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


async def test_a_node_with_smaller_parts_goes_on_with_what_one_with_bigger_ones_left(
    catalog: Catalog, s3_options: S3Options
) -> None:
    async with node(catalog, replace(s3_options, part_size=16 * MIB)) as one:
        async with node(catalog, replace(s3_options, part_size=5 * MIB)) as two:
            upload = await one.begin(OWNER)
            async with upload.turn() as turn:
                await written(turn, BODY[: 14 * MIB])
            async with (await two.resume(OWNER, upload.id)).turn() as turn:
                await written(turn, BODY[14 * MIB :])
                stored = await published(catalog, turn, NAME)
            assert await content(two, stored, NAME) == BODY
            assert await objects(two) == [stored.key]


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


async def test_what_is_there_already_stays_and_what_came_again_goes(
    catalog: Catalog, storage: S3Storage
) -> None:
    first = await pushed(catalog, storage, BODY)
    second = await pushed(catalog, storage, BODY, owner="other/app")
    assert second.key == first.key
    assert await objects(storage) == [first.key]
    assert await storage._book.find("other/app", "") is None
    assert await untouched(catalog) == []


async def untouched(catalog: Catalog) -> list[str]:
    """Every upload that is noted anywhere."""
    return list(await UploadRows(catalog.database).untouched(-60, 100))


async def test_many_pushing_the_same_blob_at_once_leave_one_object(
    catalog: Catalog, s3_options: S3Options
) -> None:
    body = BODY[: 9 * MIB]
    async with node(catalog, s3_options) as one, node(catalog, s3_options) as two:
        found = await gather(
            pushed(catalog, (one, two)[n % 2], body, owner=f"p{n}/app") for n in range(6)
        )
        assert len({stored.key for stored in found}) == 1
        assert await objects(one) == [found[0].key]
        assert await content(one, found[0], Digest.of(body)) == body
    assert await untouched(catalog) == []


async def test_an_object_that_somebody_removed_is_an_error_of_the_storage(
    catalog: Catalog, storage: S3Storage
) -> None:
    stored = await pushed(catalog, storage, BODY[:10])
    await storage.bucket.delete(stored.key)
    with pytest.raises(StorageError) as caught:
        await content(storage, stored, Digest.of(BODY[:10]))
    assert caught.value.remedy
    assert await catalog.blob(OWNER, Digest.of(BODY[:10])) == Stored(10, stored.key)  # in memory
    mended = await pushed(catalog, storage, BODY[:10], owner="other/app")
    assert mended.key == stored.key  # what was in force when its row was written
    for owner in (OWNER, "other/app"):
        kept = await catalog.blob(owner, Digest.of(BODY[:10]))
        assert kept is not None
        assert await content(storage, kept, Digest.of(BODY[:10])) == BODY[:10]
    assert len(await objects(storage)) == 1
    assert await untouched(catalog) == []
    with pytest.raises(NotFound):  # a blob of a time when there was no bucket
        await content(storage, Stored(10), Digest.of(BODY[:10]))


@pytest.mark.parametrize("size", [10, 9 * MIB])
async def test_a_wrong_digest_keeps_nothing(
    catalog: Catalog, storage: S3Storage, size: int
) -> None:
    upload = await storage.begin(OWNER)
    with pytest.raises(DigestMismatch):
        async with upload.turn() as turn:
            await written(turn, BODY[:size])
            await turn.commit(Digest.of(b"else"))
    assert await objects(storage) == []
    with pytest.raises(NotFound):
        await storage.resume(OWNER, upload.id)


@pytest.mark.parametrize("size", [10, 9 * MIB])
@pytest.mark.parametrize(("hashed", "asked"), [("sha256", "sha512"), ("sha512", "sha256")])
async def test_a_digest_of_another_algorithm_is_checked_by_reading(
    catalog: Catalog, storage: S3Storage, size: int, hashed: str, asked: str
) -> None:
    for good in (True, False):
        upload = await storage.begin(OWNER, hashed)
        digest = Digest.of(BODY[:size] if good else b"else", asked)
        async with upload.turn() as turn:
            await written(turn, BODY[:size])
            if good:
                stored = await published(catalog, turn, digest)
            else:
                with pytest.raises(DigestMismatch):
                    await turn.commit(digest)
    assert await objects(storage) == [stored.key]


async def test_without_the_state_of_the_hash_the_blob_is_read_before_it_counts(
    catalog: Catalog, storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "resume", lambda *_: None)  # as on another architecture
    for good in (True, False):
        upload = await storage.begin(OWNER)
        async with upload.turn() as turn:
            await written(turn, BODY[: 10 * MIB])
        async with upload.turn() as turn:
            await written(turn, BODY[10 * MIB :])
            if good:
                stored = await published(catalog, turn, NAME)
            else:
                with pytest.raises(DigestMismatch):
                    await turn.commit(Digest.of(b"else"))
    assert await content(storage, stored, NAME) == BODY
    assert await objects(storage) == [stored.key]


async def test_a_commit_reads_nothing_but_a_head(
    catalog: Catalog, seaweed: Seaweed, s3_faults: FaultProxy
) -> None:
    async with node(catalog, seaweed.options(endpoint=s3_faults.endpoint)) as storage:
        upload = await storage.begin(OWNER)
        async with upload.turn() as turn:
            await written(turn, BODY)
        s3_faults.seen.clear()
        upload = await storage.resume(OWNER, upload.id)
        async with upload.turn() as turn:
            await published(catalog, turn, NAME)
        methods = [method for method, _ in s3_faults.seen]
        # Put together, looked at; the tail, which is not needed any more, removed.
        assert methods == ["POST", "HEAD", "DELETE"]


async def test_an_upload_is_only_its_owners_and_ids_are_not_guessed(storage: S3Storage) -> None:
    upload = await storage.begin(OWNER)
    for owner, name in [("you", upload.id), (OWNER, "x"), (OWNER, "x" * 4000), (OWNER, "")]:
        with pytest.raises(NotFound):
            await storage.resume(owner, name)
    with pytest.raises(InvalidDigest):
        await storage.begin(OWNER, "md5")


@pytest.mark.parametrize("size", [0, 10, 100_000, 18 * MIB])
async def test_a_cancelled_upload_leaves_nothing(
    catalog: Catalog, storage: S3Storage, size: int
) -> None:
    upload = await storage.begin(OWNER)
    for _ in range(2):
        async with upload.turn() as turn:
            await written(turn, BODY[:size])
    async with upload.turn() as turn:
        await turn.cancel()
    assert await objects(storage) == []
    assert await untouched(catalog) == []
    with pytest.raises(NotFound):
        async with upload.turn():
            pytest.fail("it is gone")


async def test_two_nodes_at_once_take_turns_or_are_told(
    catalog: Catalog, s3_options: S3Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    async with node(catalog, s3_options) as one, node(catalog, s3_options) as two:
        mine = await one.begin(OWNER)
        theirs = await two.resume(OWNER, mine.id)
        async with mine.turn():
            with pytest.raises(UploadBusy):
                async with theirs.turn():
                    pytest.fail("two at once")
        async with theirs.turn() as turn:
            await written(turn, b"x")
        async with mine.turn():
            assert mine.offset == 1


async def test_what_came_before_the_client_left_is_there_to_go_on_from(
    catalog: Catalog, storage: S3Storage
) -> None:
    upload = await storage.begin(OWNER)
    with pytest.raises(NetworkError):
        async with upload.turn() as turn:
            await written(turn, BODY[: 9 * MIB])
            raise NetworkError("the client left")
    upload = await storage.resume(OWNER, upload.id)
    assert upload.offset == 9 * MIB
    async with upload.turn() as turn:
        await written(turn, BODY[9 * MIB :])
        stored = await published(catalog, turn, NAME)
    assert await content(storage, stored, NAME) == BODY


async def stalled(storage: S3Storage, upload: Upload, body: bytes, held: asyncio.Event) -> None:
    """A node that takes the upload, writes, and then stands still."""
    async with upload.turn() as turn:
        await written(turn, body)
        held.set()
        await asyncio.sleep(3600)


async def test_a_dead_nodes_upload_is_gone_on_with_and_its_traces_vanish(
    catalog: Catalog, s3_options: S3Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(s3_options, lease=0.3)
    async with node(catalog, short) as dead, node(catalog, s3_options) as alive:
        upload = await dead.begin(OWNER)
        async with upload.turn() as turn:
            await written(turn, BODY[: 9 * MIB])
        monkeypatch.setattr(module.S3Turn, "abandon", nothing)  # as kill -9 would
        with monkeypatch.context() as patched:
            patched.setattr(module.S3Turn, "_renew", nothing)
            held = asyncio.Event()
            task = asyncio.create_task(stalled(dead, upload, BODY[9 * MIB : 17 * MIB], held))
            await held.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        upload = await alive.resume(OWNER, upload.id)
        assert upload.offset == 9 * MIB  # what was acknowledged
        async with upload.turn() as turn:
            await written(turn, BODY[9 * MIB :])
            stored = await published(catalog, turn, NAME)
        assert await content(alive, stored, NAME) == BODY
        assert await objects(alive) == [stored.key]


async def test_traces_that_cannot_be_removed_now_are_not_forgotten(
    catalog: Catalog,
    seaweed: Seaweed,
    s3_faults: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = seaweed.options(endpoint=s3_faults.endpoint, retries=0)
    async with node(catalog, replace(options, lease=0.3)) as dead, node(catalog, options) as alive:
        upload = await dead.begin(OWNER)
        with monkeypatch.context() as patched:
            patched.setattr(module.S3Turn, "abandon", nothing)  # as kill -9 would
            patched.setattr(module.S3Turn, "_renew", nothing)
            held = asyncio.Event()
            task = asyncio.create_task(stalled(dead, upload, BODY[: 9 * MIB], held))
            await held.wait()
            while not await objects(alive):
                await asyncio.sleep(0.02)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        s3_faults.fault = lambda method, _t: "503" if method == "DELETE" else ""
        for _ in range(2):
            with pytest.raises(StorageUnavailable):
                async with (await alive.resume(OWNER, upload.id)).turn():
                    pytest.fail("there is something to remove first")
        s3_faults.fault = lambda _m, _t: ""
        async with (await alive.resume(OWNER, upload.id)).turn() as turn:
            assert await objects(alive) == []
            await written(turn, BODY)
            await published(catalog, turn, NAME)


async def nothing(*_: object) -> None:
    """In place of what a dead node does not do."""


async def test_a_node_that_slept_publishes_nothing(
    catalog: Catalog, s3_options: S3Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.S3Turn, "_renew", nothing)
    body = BODY[:100_000]
    async with node(catalog, replace(s3_options, lease=0.2)) as sleepy:
        async with node(catalog, s3_options) as other:
            upload = await sleepy.begin(OWNER)
            with pytest.raises(UploadLost):
                async with upload.turn() as turn:
                    await written(turn, body)
                    stored = await turn.commit(Digest.of(body))
                    await asyncio.sleep(0.3)
                    found = await other.resume(OWNER, upload.id)
                    async with found.turn() as theirs:
                        await theirs.cancel()
                    await catalog.link_blob(OWNER, Digest.of(body), stored)
            assert await catalog.blob(OWNER, Digest.of(body)) is None
            assert await objects(other) == []


async def test_a_node_whose_time_is_over_stores_no_more_parts(
    catalog: Catalog, s3_options: S3Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.S3Turn, "_renew", nothing)
    async with node(catalog, replace(s3_options, lease=0.0)) as sleepy:
        upload = await sleepy.begin(OWNER)
        with pytest.raises(StorageUnavailable):
            async with upload.turn() as turn:
                await written(turn, BODY)
        assert await objects(sleepy) == []


async def test_a_lease_is_renewed_as_long_as_a_request_lasts(
    catalog: Catalog, s3_options: S3Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    async with node(catalog, replace(s3_options, lease=0.3)) as storage:
        upload = await storage.begin(OWNER)
        async with upload.turn() as turn:
            await asyncio.sleep(0.8)
            with pytest.raises(UploadBusy):
                async with (await storage.resume(OWNER, upload.id)).turn():
                    pytest.fail("it is ours")
            await written(turn, BODY[:10])
            await published(catalog, turn, Digest.of(BODY[:10]))


async def test_a_part_that_somebody_else_overwrote_is_noticed(
    catalog: Catalog, storage: S3Storage
) -> None:
    upload = await storage.begin(OWNER)
    async with upload.turn() as turn:
        await written(turn, BODY)
    state = await storage._book.find(OWNER, upload.id)
    assert state is not None
    forged = bytes(state.parts[0].size)
    await storage.bucket.put_part(state.key, state.multipart, state.parts[0].number, forged)
    with suppress(DigestMismatch, Refused):
        async with upload.turn() as turn:
            await published(catalog, turn, NAME)
    # SeaweedFS keeps both parts and takes the one that was asked for; others refuse, or
    # give themselves away by the ETag of the whole.
    kept = await catalog.blob(OWNER, NAME)
    assert kept is None or await content(storage, kept, NAME) == BODY


async def test_parts_that_are_not_surely_those_that_were_hashed_are_read_again(
    catalog: Catalog, storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for good in (True, False):
        upload = await storage.begin(OWNER)
        async with upload.turn() as turn:
            await written(turn, BODY)
        state = await storage._book.find(OWNER, upload.id)
        assert state is not None
        real = storage.bucket.join_parts

        async def joined(*args: Any, good: bool = good, real: Any = real) -> str:
            found = await real(*args)
            if not good:
                await storage.bucket.put(args[0], bytes(len(BODY)))
            return found[:-3] + 'x"'

        with monkeypatch.context() as patched:
            patched.setattr(storage.bucket, "join_parts", joined)
            async with upload.turn() as turn:
                if good:
                    stored = await published(catalog, turn, NAME)
                else:
                    with pytest.raises(DigestMismatch):
                        await turn.commit(NAME)
    assert await content(storage, stored, NAME) == BODY
    assert await objects(storage) == [stored.key]


@pytest.mark.parametrize("fault", ["503", "cut", "lose"])
async def test_a_commit_whose_answer_gets_lost_is_done_again(
    catalog: Catalog, seaweed: Seaweed, s3_faults: FaultProxy, fault: str
) -> None:
    async with node(catalog, seaweed.options(endpoint=s3_faults.endpoint)) as storage:
        upload = await storage.begin(OWNER)
        async with upload.turn() as turn:
            await written(turn, BODY)
            first = len(s3_faults.seen)
            s3_faults.fault = lambda _m, _t: fault if len(s3_faults.seen) <= first + 2 else ""
            stored = await published(catalog, turn, NAME)
        assert await content(storage, stored, NAME) == BODY


async def test_a_service_that_is_away_fails_the_request_and_not_the_upload(
    catalog: Catalog, seaweed: Seaweed, s3_faults: FaultProxy
) -> None:
    options = seaweed.options(endpoint=s3_faults.endpoint, retries=1)
    async with node(catalog, options) as storage:
        upload = await storage.begin(OWNER)
        async with upload.turn() as turn:
            await written(turn, BODY[: 9 * MIB])
        s3_faults.fault = lambda _m, _t: "503"
        with pytest.raises(StorageUnavailable):
            async with (await storage.resume(OWNER, upload.id)).turn() as turn:
                await written(turn, BODY[9 * MIB :])
                await turn.commit(NAME)
        s3_faults.fault = lambda _m, _t: ""
        upload = await storage.resume(OWNER, upload.id)
        assert upload.offset == 9 * MIB
        async with upload.turn() as turn:
            await written(turn, BODY[9 * MIB :])
            stored = await published(catalog, turn, NAME)
        assert await content(storage, stored, NAME) == BODY
        assert await objects(storage) == [stored.key]


async def test_a_row_that_is_refused_takes_the_object_with_it(
    catalog: Catalog, storage: S3Storage
) -> None:
    async def refuse(_stored: Stored) -> Stored:
        raise RegistryError("the quota is used up", status=403)

    async def body() -> AsyncIterator[bytes]:
        yield BODY

    desc = Descriptor.of("x/y", BODY)
    with pytest.raises(RegistryError):
        await keep(storage, OWNER, desc, body(), refuse)
    assert await objects(storage) == []
    assert await untouched(catalog) == []
    with pytest.raises(SizeMismatch):
        await keep(storage, OWNER, replace(desc, size=5), body(), refuse)
    with pytest.raises(SizeMismatch):
        await keep(storage, OWNER, replace(desc, size=desc.size + 1), body(), refuse)
    assert await objects(storage) == []


async def test_a_row_of_which_nobody_knows_keeps_its_object(
    catalog: Catalog, storage: S3Storage
) -> None:
    """The database was lost in COMMIT: the blob may be in force, so nothing is removed."""
    upload = await storage.begin(OWNER)
    with pytest.raises(StorageUnavailable):
        async with upload.turn() as turn:
            await written(turn, BODY)
            stored = await turn.commit(NAME)
            await catalog.link_blob(OWNER, NAME, stored)
            raise StorageUnavailable("nobody knows what became of it")
    kept = await catalog.blob(OWNER, NAME)
    assert kept is not None
    assert await content(storage, kept, NAME) == BODY


@pytest.mark.parametrize("size", [100_000, 9 * MIB])
async def test_what_was_given_back_unheard_is_there_for_the_next_one(
    catalog: Catalog, storage: S3Storage, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """The database was lost in COMMIT: the row names what is stored, so nothing is removed."""
    ledger = storage.ground.ledger
    give = ledger.give

    async def unheard(*given: Any) -> None:
        await give(*given)
        raise StorageUnavailable("nobody knows what became of it")

    upload = await storage.begin(OWNER)
    with monkeypatch.context() as patched, pytest.raises(StorageUnavailable):
        patched.setattr(ledger, "give", unheard)
        async with upload.turn() as turn:
            await written(turn, BODY[:size])
    upload = await storage.resume(OWNER, upload.id)
    assert upload.offset == size
    async with upload.turn() as turn:
        await written(turn, BODY[size:])
        stored = await published(catalog, turn, NAME)
    assert await content(storage, stored, NAME) == BODY
    assert await objects(storage) == [stored.key]


@pytest.mark.parametrize(("word", "done"), [("take", True), ("give", False), ("give", True)])
async def test_who_leaves_while_it_is_taken_or_given_back_does_not_keep_it(
    catalog: Catalog, storage: S3Storage, monkeypatch: pytest.MonkeyPatch, word: str, done: bool
) -> None:
    ledger, asked = storage.ground.ledger, asyncio.Event()
    real = getattr(ledger, word)

    async def slow(*given: Any) -> None:
        if done:
            await real(*given)
        asked.set()
        await asyncio.sleep(3600)

    async def patch(upload: Upload) -> None:
        async with upload.turn() as turn:
            await written(turn, BODY[: 9 * MIB])

    upload = await storage.begin(OWNER)
    with monkeypatch.context() as patched:
        patched.setattr(ledger, word, slow)
        task = asyncio.create_task(patch(upload))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    upload = await storage.resume(OWNER, upload.id)
    assert upload.offset == (9 * MIB if (word, done) == ("give", True) else 0)
    async with upload.turn() as turn:
        await written(turn, BODY[upload.offset :])
        stored = await published(catalog, turn, NAME)
    assert await content(storage, stored, NAME) == BODY
    assert await objects(storage) == [stored.key]


async def test_what_nobody_touches_is_swept_once_and_nothing_else(
    catalog: Catalog, s3_options: S3Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(catalog, s3_options) as one, node(catalog, s3_options) as two:
        kept = await pushed(catalog, one, BODY[: 9 * MIB])
        for size in (0, 100_000, 9 * MIB):
            async with (await one.begin(OWNER)).turn() as turn:
                await written(turn, BODY[:size])
        nameless = await one.bucket.begin_parts("blobs/no/body")
        await one.bucket.put_part("blobs/no/body", nameless, 1, b"x")
        assert await two.sweep(60) == 0
        busy = await one.begin(OWNER)
        async with busy.turn() as turn:
            await written(turn, BODY[: 9 * MIB])
            await asyncio.sleep(1.1)  # what the service says of its age has whole seconds
            counts = await gather([one.sweep(0), two.sweep(0)])
            assert 4 <= sum(counts) <= 5  # dropping what has no name twice does no harm
            stored = await published(catalog, turn, Digest.of(BODY[: 9 * MIB]))
        assert stored.key == kept.key
        assert await objects(one) == [kept.key]
        assert await untouched(catalog) == []


@pytest.mark.parametrize("size", [100, 100_000, 9 * MIB, 17 * MIB])
async def test_who_slept_does_not_take_back_what_another_has_gone_on_with(
    catalog: Catalog, s3_options: S3Options, size: int
) -> None:
    async with node(catalog, s3_options) as one, node(catalog, s3_options) as two:
        mine = await one.begin(OWNER)
        with pytest.raises(NotFound):
            async with mine.turn() as slow:
                await written(slow, os.urandom(size))
                over = update(t.uploads).values(held_until=0)  # it slept for so long
                await catalog.database.write(lambda conn: conn.execute(over) and None)
                async with (await two.resume(OWNER, mine.id)).turn() as turn:
                    await written(turn, BODY[:size])
                async with asyncio.timeout(10):
                    await slow._renew(0.01)  # it wakes: nobody holds the upload now
        assert (await one.resume(OWNER, mine.id)).offset == size
        async with (await one.resume(OWNER, mine.id)).turn() as turn:
            await written(turn, BODY[size:])
            stored = await published(catalog, turn, NAME)
        assert await content(one, stored, NAME) == BODY
        assert await objects(one) == [stored.key]
        assert await untouched(catalog) == []


async def test_an_upload_that_somebody_goes_on_with_is_not_swept_after_all(
    catalog: Catalog, storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await storage.begin(OWNER)

    async def found_before(*_: object) -> list[str]:
        return [upload.id]

    async with upload.turn() as turn:
        await written(turn, BODY[: 9 * MIB])
    monkeypatch.setattr(storage._book, "untouched", found_before)
    assert await storage.sweep(60) == 0
    async with upload.turn() as turn:
        await written(turn, BODY[9 * MIB :])
        stored = await published(catalog, turn, NAME)
    assert await content(storage, stored, NAME) == BODY


async def test_a_push_is_not_refused_because_its_second_copy_cannot_be_removed_now(
    catalog: Catalog, seaweed: Seaweed, s3_faults: FaultProxy
) -> None:
    options = seaweed.options(endpoint=s3_faults.endpoint, retries=0)
    async with node(catalog, options) as storage:
        first = await pushed(catalog, storage, BODY)
        s3_faults.fault = lambda method, _t: "503" if method == "DELETE" else ""
        assert await pushed(catalog, storage, BODY, owner="other/app") == first
        s3_faults.fault = lambda _m, _t: ""
        over = update(t.uploads).values(held_until=0)
        await catalog.database.write(lambda conn: conn.execute(over) and None)
        assert await storage.sweep(0) == 1
        assert await objects(storage) == [first.key]


@pytest.mark.parametrize("operation", ["POST", "HEAD"])  # putting together, and looking at it
@pytest.mark.parametrize("size", [100, 8 * MIB, 9 * MIB, 16 * MIB + 100])
@pytest.mark.parametrize("before", [False, True])
async def test_a_commit_that_broke_off_can_be_tried_again(
    catalog: Catalog,
    seaweed: Seaweed,
    s3_faults: FaultProxy,
    *,
    before: bool,
    size: int,
    operation: str,
) -> None:
    def fault(method: str, target: str) -> str:
        return "503" if method == operation and not target.endswith("uploads=") else ""

    body, digest = BODY[:size], Digest.of(BODY[:size])
    options = seaweed.options(endpoint=s3_faults.endpoint, retries=0)
    async with node(catalog, options) as storage:
        upload = await storage.begin(OWNER)
        if before:  # all that is asked for then is the commit
            async with upload.turn() as turn:
                await written(turn, body)
        s3_faults.fault = fault
        with suppress(StorageUnavailable):  # what is small needs no putting together
            async with upload.turn() as turn:
                await written(turn, body[upload.offset :])
                await published(catalog, turn, digest)
        s3_faults.fault = lambda _m, _t: ""
        with suppress(UploadLost):  # it went well
            upload = await storage.resume(OWNER, upload.id)
            async with upload.turn() as turn:
                await written(turn, body[upload.offset :])
                await published(catalog, turn, digest)
        stored = await catalog.blob(OWNER, digest)
        assert stored is not None
        assert await content(storage, stored, digest) == body
        assert await objects(storage) == [stored.key]
        assert await untouched(catalog) == []


async def test_what_uploads_to_a_removed_repository_have_stored_is_swept(
    catalog: Catalog, storage: S3Storage
) -> None:
    await pushed(catalog, storage, b"x")
    ids = []
    for size in (100, 100_000, len(BODY)):
        upload = await storage.begin(OWNER)
        ids.append(upload.id)
        async with upload.turn() as turn:
            await written(turn, BODY[:size])
    await catalog.database.write(lambda conn: remove_repository(conn, OWNER, SYSTEM))
    for name in ids:
        with pytest.raises(NotFound):
            await storage.resume(OWNER, name)
    assert await storage.sweep(0) == 3
    assert len(await objects(storage)) == 1  # the blob, which is the collector's


async def test_a_blob_of_the_time_of_files_is_where_it_was_pushed_anew_for_all_who_have_it(
    catalog: Catalog, storage: S3Storage
) -> None:
    digest = Digest.of(b"old")
    for name in ("a/app", "b/app"):
        await catalog.link_blob(name, digest, Stored(3))
        assert await catalog.blob(name, digest) == Stored(3)  # in memory
    await pushed(catalog, storage, b"old", "a/app")
    for name in ("a/app", "b/app"):
        stored = await catalog.blob(name, digest)
        assert stored is not None
        assert await content(storage, stored, digest) == b"old"


async def test_many_who_push_a_blob_of_the_time_of_files_anew_leave_one_object(
    postgres_url: str, s3_options: S3Options
) -> None:
    bodies = [b"%d" % number for number in range(6)]
    async with open_catalog(postgres_url) as catalog, node(catalog, s3_options) as storage:
        for body in bodies:
            await catalog.link_blob("old/app", Digest.of(body), Stored(len(body)))
            await gather(pushed(catalog, storage, body, owner=f"p{n}/app") for n in range(8))
        kept = [await catalog.blob("old/app", Digest.of(body)) for body in bodies]
        assert sorted(await objects(storage)) == sorted(stored.key for stored in kept if stored)


async def test_what_cannot_be_removed_now_is_removed_the_next_time(
    catalog: Catalog, seaweed: Seaweed, s3_faults: FaultProxy
) -> None:
    options = seaweed.options(endpoint=s3_faults.endpoint, retries=0)
    async with node(catalog, options) as storage:
        for _ in range(2):
            async with (await storage.begin(OWNER)).turn() as turn:
                await written(turn, BODY[: 9 * MIB])
        s3_faults.fault = lambda method, _t: "503" if method == "DELETE" else ""
        assert await storage.sweep(0) == 0
        assert len(await untouched(catalog)) == 2
        s3_faults.fault = lambda _m, _t: ""
        assert await storage.sweep(0) == 2
        assert await objects(storage) == []


async def test_memory_is_bounded_however_many_upload(
    catalog: Catalog, seaweed: Seaweed, s3_faults: FaultProxy
) -> None:
    options = seaweed.options(endpoint=s3_faults.endpoint, memory=16 * MIB)
    async with node(catalog, options) as storage:
        uploads = [await storage.begin(f"p{n}/app") for n in range(5)]
        s3_faults.gate.clear()  # nothing gets through
        taken: list[int] = []

        async def push(upload: Upload) -> None:
            async with upload.turn() as turn:
                await written(turn, BODY * 2)
                taken.append(upload.offset)
                await published(catalog, turn, Digest.of(BODY * 2), f"p{upload.id}/app")

        async with asyncio.TaskGroup() as group:
            for upload in uploads:
                group.create_task(push(upload))
            for _ in range(30):
                await asyncio.sleep(0.02)
            assert not taken
            # Two parts on their way in all; whoever else has filled one waits.
            assert storage.ground.room._free == 0
            assert sum(upload.offset for upload in uploads) <= (2 + 5) * 9 * MIB
            s3_faults.gate.set()
        assert storage.ground.room._free == 16 * MIB


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@settings(deadline=None)
@given(cuts=st.lists(st.binary(max_size=300), max_size=8))
def test_a_hash_goes_on_from_its_state_as_if_it_had_never_stopped(
    algorithm: str, cuts: list[bytes]
) -> None:
    state = hashing.begin(algorithm)
    for number, piece in enumerate(cuts):
        as_given = (piece, memoryview(piece), memoryview(bytearray(piece)))[number % 3]
        state.update(as_given)
        found = hashing.resume(algorithm, state.state(), hashing.tag())
        assert found is not None
        state = found
    assert state.digest() == state.digest() == Digest.of(b"".join(cuts), algorithm)
    assert hashing.resume(algorithm, state.state(), "pdp11-middle-2-1") is None
    assert hashing.resume(algorithm, b"", hashing.tag()) is None
