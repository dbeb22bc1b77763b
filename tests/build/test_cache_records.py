"""The step cache on disk."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap

import pytest

from argosy.build.cache import BuildCache
from argosy.build.graph import Snapshot
from argosy.errors import StorageError
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest

KEY = Digest.of(b"key")
CHAIN = Snapshot("c", Snapshot("b", Snapshot("a")))
LAYER = Descriptor(media_type="application/x", digest=Digest.of(b"layer"), size=5)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "build" / "cache.db")


async def test_a_record_comes_back_with_its_whole_chain(path):
    async with BuildCache(path) as cache:
        assert await cache.find(KEY) is None
        await cache.keep(KEY, CHAIN, "RUN make")
    async with BuildCache(path) as cache:
        found = await cache.find(KEY)
    assert found.snapshot == CHAIN
    assert found.description == "RUN make"


async def test_the_empty_file_system_is_a_hit_not_a_miss(path):
    async with BuildCache(path) as cache:
        await cache.keep(KEY, None, "scratch")
        found = await cache.find(KEY)
    assert found is not None
    assert found.snapshot is None


async def test_a_record_is_a_miss_while_its_snapshot_is_gone(path):
    gone = set()

    async def exists(snapshot):
        return not gone.intersection(snapshot.chain)

    async with BuildCache(path, exists) as cache:
        await cache.keep(KEY, CHAIN, "")
        assert await cache.find(KEY)
        gone.add("b")
        assert await cache.find(KEY) is None


async def test_a_hit_is_marked_as_used(path):
    async with BuildCache(path) as cache:
        await cache.keep(KEY, CHAIN, "")
        (before,) = await cache.records()
    await asyncio.sleep(0.01)
    async with BuildCache(path) as cache:
        await cache.find(KEY)
    async with BuildCache(path) as cache:
        (after,) = await cache.records()
    assert after.used > before.used
    assert after.created == before.created


async def test_layers_and_pins_are_remembered(path):
    async with BuildCache(path) as cache:
        assert await cache.layer(CHAIN) is None
        await cache.keep_layer(CHAIN, LAYER, Digest.of(b"diff"))
        assert await cache.layer(CHAIN) == (LAYER, Digest.of(b"diff"))
        assert await cache.layer(CHAIN, "epoch=0") is None
        assert await cache.pin("docker.io/library/debian:12", "linux/arm64") is None
        await cache.keep_pin("docker.io/library/debian:12", "linux/arm64", LAYER)
        assert await cache.pin("docker.io/library/debian:12", "linux/arm64") == LAYER
        assert await cache.pin("docker.io/library/debian:12", "linux/amd64") is None


async def test_an_image_is_born_once(path):
    async with BuildCache(path) as cache:
        assert await cache.born(KEY, "2020-01-01T00:00:00Z") == "2020-01-01T00:00:00Z"
        assert await cache.born(KEY, "2021-01-01T00:00:00Z") == "2020-01-01T00:00:00Z"


async def test_a_file_that_is_no_database_is_put_aside(path):
    os.makedirs(os.path.dirname(path))
    with open(path, "wb") as f:
        f.write(b"garbage " * 1000)
    async with BuildCache(path) as cache:
        await cache.keep(KEY, CHAIN, "")
        assert await cache.find(KEY)
    assert os.path.exists(path + ".damaged")


async def test_records_of_another_version_are_forgotten(path):
    async with BuildCache(path) as cache:
        await cache.keep(KEY, CHAIN, "")
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version=99")
    db.close()
    async with BuildCache(path) as cache:
        assert await cache.find(KEY) is None
        await cache.keep(KEY, CHAIN, "")


async def test_a_directory_that_cannot_be_used_is_one_of_our_errors(tmp_path):
    (tmp_path / "cache.db").mkdir()
    with pytest.raises(StorageError, match="build cache"):
        await BuildCache(str(tmp_path / "cache.db")).__aenter__()


async def test_a_closed_cache_says_so(path):
    async with BuildCache(path) as cache:
        pass
    with pytest.raises(StorageError, match="closed"):
        await cache.find(KEY)


WRITER = textwrap.dedent("""
    import asyncio, itertools, sys
    from argosy.build.cache import BuildCache
    from argosy.build.graph import Snapshot
    from argosy.model.digest import Digest

    async def main(path, name):
        async with BuildCache(path) as cache:
            for n in itertools.count():
                await cache.keep(Digest.of(f"{name}{n}".encode()), Snapshot(f"{name}{n}"), name)
                print(n, flush=True)

    asyncio.run(main(sys.argv[1], sys.argv[2]))
""")


async def test_two_processes_write_at_once_and_a_kill_loses_nothing_told(path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, name], stdout=subprocess.PIPE)
        for name in ("x", "y")
    ]
    told = {}
    for writer, name in zip(writers, "xy", strict=True):
        for _ in range(40):
            line = writer.stdout.readline()
        told[name] = int(line)
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    async with BuildCache(path) as cache:
        for name, last in told.items():
            for n in range(last + 1):
                assert await cache.find(Digest.of(f"{name}{n}".encode())) is not None


async def test_a_file_that_is_damaged_further_in_is_put_aside_for_the_next_build(path):
    async with BuildCache(path) as cache:
        for n in range(200):
            await cache.keep(Digest.of(b"%d" % n), CHAIN, "RUN make")
    with open(path, "r+b") as f:
        f.seek(4096)  # the first page stays: it opens
        f.write(os.urandom(os.path.getsize(path) - 4096))
    with pytest.raises(StorageError, match="damaged") as caught:
        async with BuildCache(path) as cache:
            await cache.find(KEY)
    assert "build again" in caught.value.remedy
    async with BuildCache(path) as cache:
        await cache.keep(KEY, CHAIN, "")
        assert await cache.find(KEY)
