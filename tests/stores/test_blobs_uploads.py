"""The blob store: what is named is whole, what is half is kept to go on from, what is old goes."""

import asyncio
import hashlib
import itertools
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from argosy.content.blob_storage import Stored, UploadBusy
from argosy.content.blob_storage import store as keep
from argosy.errors import (
    DigestMismatch,
    InvalidDigest,
    NoSpace,
    NotFound,
    SizeMismatch,
    StorageError,
)
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.stores import blobs as module
from argosy.stores.blobs import BlobStore, Upload

BODY = os.urandom(20_000)
NAME = Digest.of(BODY)


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(str(tmp_path))


async def written(store: BlobStore, *pieces: bytes, algorithm: str = "sha256") -> Upload:
    upload = await store.begin("me", algorithm)
    async with upload.turn():
        for piece in pieces:
            upload.write(piece)
    return upload


async def content(store: BlobStore, name: Digest, start: int = 0) -> bytes:
    desc = Descriptor(media_type="", digest=name, size=0)
    async with store.open(desc, start=start) as body:
        return b"".join([piece async for piece in body])


def uploads(store: BlobStore) -> list[str]:
    return os.listdir(os.path.join(store.root, "uploads"))


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(cuts=st.lists(st.integers(0, len(BODY)), max_size=6), lives=st.sets(st.integers(0, 6)))
async def test_however_it_is_cut_and_wherever_the_process_ends_it_is_the_same_blob(
    tmp_path: Path, cuts: list[int], lives: set[int]
) -> None:
    store = BlobStore(str(tmp_path))
    upload = await store.begin("me")
    edges = [0, *sorted(cuts), len(BODY)]
    for count, (start, end) in enumerate(itertools.pairwise(edges)):
        if count in lives:  # another process goes on: nothing but the file is left
            store = BlobStore(str(tmp_path))
            upload = await store.resume("me", upload.id)
        assert upload.offset == start
        async with upload.turn():
            upload.write(BODY[start:end])
    assert (await upload.commit(NAME)).size == len(BODY)
    assert await content(store, NAME) == BODY
    assert not uploads(store)


@pytest.mark.parametrize("hashed", ["sha256", "sha512"])
@pytest.mark.parametrize("asked", ["sha256", "sha512"])
async def test_the_digest_asked_for_counts_not_the_one_hashed(
    store: BlobStore, hashed: str, asked: str
) -> None:
    name = Digest.of(BODY, asked)
    upload = await written(store, BODY, algorithm=hashed)
    await upload.commit(name)
    assert await content(store, name) == BODY


async def test_a_commit_reads_no_byte_again(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await written(store, BODY[:7], BODY[7:])
    monkeypatch.setattr(module, "_hash_file", lambda *_: pytest.fail("read a second time"))
    await upload.commit(NAME)


async def test_a_commit_syncs_the_bytes_then_renames_then_syncs_the_folder(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await written(store, BODY)).commit(NAME)  # the folder is there from now on
    done: list[str] = []
    for name in ("fdatasync", "rename", "fsync"):
        real = getattr(os, name)

        def spy(*args: object, name: str = name, real: object = real) -> object:
            done.append(name)
            return real(*args)  # type: ignore[operator]

        monkeypatch.setattr(module.os, name, spy)
    upload = await written(store, BODY)
    await upload.commit(NAME)
    assert done == ["fdatasync", "rename", "fsync"]


async def test_a_wrong_digest_keeps_nothing(store: BlobStore) -> None:
    upload = await written(store, BODY)
    with pytest.raises(DigestMismatch):
        await upload.commit(Digest.of(b"else"))
    assert not uploads(store)
    with pytest.raises(NotFound):
        await store.resume("me", upload.id)


async def test_an_upload_is_only_its_owners(store: BlobStore) -> None:
    upload = await store.begin("me")
    with pytest.raises(NotFound):
        await store.resume("you", upload.id)
    again = BlobStore(store.root)
    with pytest.raises(NotFound):
        await again.resume("you", upload.id)
    assert (await again.resume("me", upload.id)).id == upload.id


@pytest.mark.parametrize("bad", ["", "x", "../../etc/passwd", "*", "A" * 36])
async def test_an_id_that_is_none_is_not_looked_for(store: BlobStore, bad: str) -> None:
    with pytest.raises(NotFound):
        await store.resume("me", bad)


async def test_resuming_twice_at_once_gives_one_upload(store: BlobStore) -> None:
    upload = await written(store, BODY)
    again = BlobStore(store.root)
    first, second = await asyncio.gather(
        again.resume("me", upload.id), again.resume("me", upload.id)
    )
    assert first is second


async def test_an_unknown_algorithm_is_refused(store: BlobStore) -> None:
    with pytest.raises(InvalidDigest):
        await store.begin("me", "md5")


async def test_a_second_request_waits_and_then_is_told(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.02)
    upload = await store.begin("me")
    async with upload.turn():
        with pytest.raises(UploadBusy):
            async with upload.turn():
                pytest.fail("two at once")
    async with upload.turn():
        upload.write(b"x")


async def test_a_cancelled_request_never_closes_under_its_thread(store: BlobStore) -> None:
    upload = await store.begin("me")

    async def request() -> None:
        async with upload.turn():
            await asyncio.to_thread(slow_write)

    def slow_write() -> None:
        for start in range(0, len(BODY), 1000):
            upload.write(BODY[start : start + 1000])
            time.sleep(0.001)

    task = asyncio.create_task(request())
    await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while upload.offset < len(BODY):
        await asyncio.sleep(0.005)
    async with upload.turn():  # closes what the straggler opened again
        pass
    await upload.commit(NAME)
    assert await content(store, NAME) == BODY


async def test_old_uploads_are_swept_and_young_and_busy_ones_stay(store: BlobStore) -> None:
    old, young, busy = [await store.begin("me") for _ in range(3)]
    long_ago = time.time() - 1000
    for upload in (old, busy):
        os.utime(upload._path, (long_ago, long_ago))
    old.touched = busy.touched = time.monotonic() - 1000
    async with busy.turn():
        assert await store.sweep(100) == 1
    assert sorted(name.partition(".")[0] for name in uploads(store)) == sorted([young.id, busy.id])
    with pytest.raises(NotFound):
        await store.resume("me", old.id)


async def test_uploads_of_an_earlier_process_are_swept_too(store: BlobStore) -> None:
    upload = await written(store, BODY)
    os.utime(upload._path, (0, 0))
    assert await BlobStore(store.root).sweep(100) == 1
    assert not uploads(store)


async def test_a_failed_write_takes_the_upload_with_it(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, kind in ((28, NoSpace), (5, StorageError)):
        upload = await store.begin("me")

        def broken(*_: object, number: int = number) -> int:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patched:
            patched.setattr(module.os, "write", broken)
            async with upload.turn():
                with pytest.raises(kind):
                    upload.write(BODY)
        assert not uploads(store)


async def test_short_writes_are_completed(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    with monkeypatch.context() as patched:
        patched.setattr(module.os, "write", lambda fd, data: real(fd, data[:777]))
        upload = await written(store, BODY)
    await upload.commit(NAME)
    assert await content(store, NAME) == BODY


async def bytes_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def linked(stored: Stored) -> Stored:
    return stored


async def test_put_keeps_exactly_what_was_named(store: BlobStore) -> None:
    desc = Descriptor.of("x/y", BODY)
    await keep(store, "me", desc, bytes_of(BODY[:5], BODY[5:]), linked)
    assert await store.exists(desc)
    assert await content(store, NAME, start=19_000) == BODY[19_000:]
    with pytest.raises(SizeMismatch):
        await keep(store, "me", desc, bytes_of(BODY, b"more"), linked)
    with pytest.raises(SizeMismatch):
        await keep(store, "me", desc, bytes_of(BODY[1:]), linked)
    with pytest.raises(DigestMismatch):
        await keep(store, "me", desc, bytes_of(BODY[::-1]), linked)
    assert not uploads(store)
    assert hashlib.sha256(Path(store.path(NAME)).read_bytes()).hexdigest() == NAME.hex


async def test_a_blob_that_is_not_here_is_not_found(store: BlobStore) -> None:
    desc = Descriptor.of("x/y", b"not here")
    assert not await store.exists(desc)
    with pytest.raises(NotFound):
        async with store.open(desc):
            pass
    with pytest.raises(StorageError):
        await store.read(desc.digest)


def test_a_directory_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as caught:
        BlobStore(str(tmp_path / "file"))
    assert caught.value.remedy
