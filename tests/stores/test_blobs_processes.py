"""Blob files under several processes: an upload goes on in any of them, one at a time."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from argosy.content.blob_storage import UploadBusy
from argosy.errors import NotFound, StorageError
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.stores import blobs as module
from argosy.stores import file_turns
from argosy.stores.blobs import BlobStore

BODY = os.urandom(50_000)
NAME = Digest.of(BODY)


def processes(root: Path, count: int = 3) -> list[BlobStore]:
    """What so many processes have of one directory: nothing in common but files."""
    return [BlobStore(str(root), shared=True) for _ in range(count)]


async def content(store: BlobStore, name: Digest) -> bytes:
    async with store.open(Descriptor(media_type="", digest=name, size=0)) as body:
        return b"".join([piece async for piece in body])


def left(store: BlobStore) -> list[str]:
    return os.listdir(os.path.join(store.root, "uploads"))


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    cuts=st.lists(st.integers(0, len(BODY)), max_size=6),
    who=st.lists(st.integers(0, 2), min_size=8, max_size=8),
    algorithm=st.sampled_from(["sha256", "sha512"]),
)
async def test_whichever_process_gets_a_request_goes_on_and_nothing_is_read_again(
    tmp_path: Path, cuts: list[int], who: list[int], algorithm: str
) -> None:
    stores, turns = processes(tmp_path), iter(who)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_hash_file", lambda *_: pytest.fail("read a second time"))
        name = (await stores[next(turns)].begin("me", algorithm)).id
        for start, end in itertools.pairwise([0, *sorted(cuts), len(BODY)]):
            upload = await stores[next(turns, 0)].resume("me", name)
            async with upload.turn() as turn:
                assert upload.offset == start
                turn.write(BODY[start:end])
        upload = await stores[2].resume("me", name)
        digest = Digest.of(BODY, algorithm)
        async with upload.turn() as turn:
            assert (await turn.commit(digest)).size == len(BODY)
    assert await content(stores[0], digest) == BODY
    assert not left(stores[0])
    assert all(store.uploads == 0 for store in stores)


async def test_who_goes_away_while_he_waits_for_his_turn_keeps_nobody_else_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, _ = processes(tmp_path)
    upload = await first.begin("me")
    entered, leave, real = threading.Event(), threading.Event(), file_turns.hold

    def slow(path: str) -> int | None:
        entered.set()
        leave.wait(10)
        return real(path)

    async def wait() -> None:
        async with upload.turn():
            pytest.fail("he is gone")

    monkeypatch.setattr(file_turns, "hold", slow)
    waiting = asyncio.ensure_future(wait())
    await asyncio.to_thread(entered.wait)
    waiting.cancel()
    asyncio.get_running_loop().call_soon(leave.set)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    monkeypatch.undo()
    monkeypatch.setattr(module, "PATIENCE", 0.5)
    async with (await second.resume("me", upload.id)).turn() as turn:
        turn.write(BODY)
        await turn.commit(NAME)
    assert not left(second)


@pytest.mark.parametrize("shared", [True, False])
async def test_a_commit_whose_request_was_cancelled_leaves_only_the_blob(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, shared: bool
) -> None:
    store = BlobStore(str(tmp_path), shared=shared)
    upload = await store.begin("me")
    entered, leave, real = threading.Event(), threading.Event(), module._move_durably

    def slow(source: str, target: str) -> None:
        entered.set()
        leave.wait(10)
        real(source, target)

    async def push() -> None:
        async with upload.turn() as turn:
            turn.write(BODY)
            await turn.commit(NAME)

    monkeypatch.setattr(module, "_move_durably", slow)
    pushing = asyncio.ensure_future(push())
    await asyncio.to_thread(entered.wait)
    pushing.cancel()
    asyncio.get_running_loop().call_later(0.05, leave.set)
    with pytest.raises(asyncio.CancelledError):
        await pushing
    assert await content(store, NAME) == BODY
    assert not left(store)
    assert store.uploads == 0
    with pytest.raises(NotFound):
        await store.resume("me", upload.id)


@pytest.mark.parametrize("damage", ["missing", "cut short", "of another boot", "of another build"])
async def test_without_a_hash_to_go_on_from_the_file_is_read(tmp_path: Path, damage: str) -> None:
    first, second, _ = processes(tmp_path)
    upload = await first.begin("me")
    async with upload.turn() as turn:
        turn.write(BODY[:30_000])
    state = Path(upload._path + file_turns.STATE)
    text = state.read_text()
    if damage == "missing":
        state.unlink()
    elif damage == "cut short":
        state.write_text(text[:40])
    elif damage == "of another boot":
        state.write_text(text.replace(file_turns._boot(), "elsewhere"))
    else:
        state.write_text(text.replace("x86_64-", "pdp11-").replace("aarch64-", "pdp11-"))
    upload = await second.resume("me", upload.id)
    async with upload.turn() as turn:
        turn.write(BODY[30_000:])
        await turn.commit(NAME)
    assert await content(first, NAME) == BODY


async def test_what_another_process_wrote_last_counts(tmp_path: Path) -> None:
    first, second, _ = processes(tmp_path)
    mine = await first.begin("me")
    async with mine.turn() as turn:
        turn.write(BODY[:10])
    theirs = await second.resume("me", mine.id)
    async with theirs.turn() as turn:
        turn.write(BODY[10:40_000])
    async with mine.turn() as turn:  # the same object as before: all it knows is out of date
        assert mine.offset == 40_000
        turn.write(BODY[40_000:])
        await turn.commit(NAME)
    with pytest.raises(NotFound):
        async with theirs.turn():
            pytest.fail("it has become a blob")
    assert await content(second, NAME) == BODY


async def test_two_processes_at_once_take_turns_or_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    first, second, _ = processes(tmp_path)
    mine = await first.begin("me")
    theirs = await second.resume("me", mine.id)
    async with mine.turn():
        with pytest.raises(UploadBusy):
            async with theirs.turn():
                pytest.fail("two at once")
    monkeypatch.setattr(module, "PATIENCE", 10)
    order: list[str] = []

    async def turn(name: str, upload: module.Upload, piece: bytes) -> None:
        async with upload.turn() as held:
            order.append(name)
            await asyncio.sleep(0)
            held.write(piece)
            order.append(name)

    await asyncio.gather(turn("mine", mine, b"x"), turn("theirs", theirs, b"y"))
    assert order[0] == order[1]
    assert order[2] == order[3]
    async with mine.turn():
        assert mine.offset == 2


async def test_an_upload_that_another_process_cancelled_is_gone(tmp_path: Path) -> None:
    first, second, _ = processes(tmp_path)
    mine = await first.begin("me")
    theirs = await second.resume("me", mine.id)
    async with theirs.turn() as turn:
        turn.write(b"x")
        await turn.cancel()
    with pytest.raises(NotFound):
        async with mine.turn():
            pytest.fail("it is gone")
    assert not left(first)


async def test_the_sweeper_of_one_process_leaves_what_another_one_holds(tmp_path: Path) -> None:
    first, second, _ = processes(tmp_path)
    held, old = await first.begin("me"), await first.begin("me")
    for upload in (held, old):
        async with upload.turn() as turn:
            turn.write(b"x")
        os.utime(upload._path, (0, 0))
    async with held.turn():
        os.utime(held._path, (0, 0))
        assert await second.sweep(100) == 1
    assert [name for name in left(first) if file_turns.STATE not in name] == [
        os.path.basename(held._path)
    ]
    assert not any(name.startswith(old.id) for name in left(first))


async def test_a_request_that_was_cancelled_writes_nothing_any_more(tmp_path: Path) -> None:
    store = processes(tmp_path, 1)[0]
    upload = await store.begin("me")
    async with upload.turn() as turn:
        turn.write(b"x")
    with pytest.raises(StorageError):
        turn.write(b"y")


HOLD = """
import asyncio, os, sys
from argosy.stores.blobs import BlobStore

async def main():
    upload = await BlobStore(sys.argv[1], shared=True).resume("me", sys.argv[2])
    async with upload.turn() as turn:
        turn.write(b"theirs")
        print("held", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_killed_process_lets_go_and_what_it_wrote_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = processes(tmp_path, 1)[0]
    upload = await store.begin("me")
    words = [sys.executable, "-c", HOLD, str(tmp_path), upload.id]
    process = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"held\n"
    with monkeypatch.context() as patched:
        patched.setattr(module, "PATIENCE", 0.1)
        with pytest.raises(UploadBusy):
            async with upload.turn():
                pytest.fail("another process has it")
    process.send_signal(signal.SIGKILL)
    await process.wait()
    async with upload.turn() as turn:
        assert upload.offset == 6
        turn.write(b" and mine")
        stored = await turn.commit(Digest.of(b"theirs and mine"))
    assert stored.size == 15
