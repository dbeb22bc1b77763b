"""kill -9 at any moment of a push to S3: nothing acknowledged is lost, nothing is left for good.

Two real server processes on one PostgreSQL and one bucket. The first dies, at a random
moment or at the worst one; the second finishes what the client sends again.
"""

import asyncio
import http.client
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, update

from argosy.catalog import schema as t
from argosy.catalog.catalog import Catalog, open_catalog
from argosy.catalog.registry.uploads import UploadRows
from argosy.model.digest import Digest
from argosy.stores.s3.options import S3Options
from argosy.stores.s3.storage import S3Storage, open_s3
from tests.seaweed import FaultProxy, Seaweed
from tests.serving import Client, digest

BIG = os.urandom(1 << 20) * 20 + b"end"
STEP = 6 << 20


@dataclass
class Node:
    """A server process."""

    process: "subprocess.Popen[str]"
    port: int

    def at(self, name: str) -> Client:
        return Client("127.0.0.1", self.port, name)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@dataclass
class Cluster:
    """Nodes that can be started, and what they have in common."""

    url: str
    options: S3Options
    folder: Path
    nodes: list[Node]

    def start(self, endpoint: str = "") -> Node:
        """A node, maybe with a proxy before its bucket."""
        s3 = {name: getattr(self.options, name) for name in ("bucket", "prefix", "access_key")}
        s3 |= {"endpoint": endpoint or self.options.endpoint, "redirect": "false"}
        env = {f"ARGOSY_STORAGE_S3_{name.upper()}": str(value) for name, value in s3.items()}
        env |= {"ARGOSY_DATABASE_URL": self.url, "ARGOSY_STORAGE_BACKEND": "s3"}
        env |= {"ARGOSY_STORAGE_S3_SECRET_KEY": self.options.secret_key}
        data = self.folder / f"node{len(self.nodes)}"
        words = [sys.executable, "-m", "argosy", "serve", "--listen", "127.0.0.1:0"]
        with (self.folder / f"log{len(self.nodes)}").open("w") as log:
            process = subprocess.Popen(
                [*words, "--data", str(data)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **env},
            )
        assert process.stdout is not None
        node = Node(process, 0)
        self.nodes.append(node)
        line = process.stdout.readline()
        assert "serving" in line, Path(log.name).read_text()
        node.port = int(line.split(":")[3].split()[0])
        return node

    def swept(self) -> None:
        """After the sweep, the bucket holds what rows point at, and nothing else."""
        asyncio.run(self._swept())

    async def _swept(self) -> None:
        async with open_catalog(self.url) as catalog:
            rows = UploadRows(catalog.database)
            async with open_s3(self.options, rows, rows) as storage:
                until = time.monotonic() + 30
                await catalog.database.write(_expire)
                while await rows.untouched(-60, 1) or await left_over(storage, catalog):
                    await storage.sweep(0)
                    assert time.monotonic() < until, await left_over(storage, catalog)
                    await asyncio.sleep(0.5)


def _expire(conn: Connection) -> None:
    """Let the time go by for which a dead node holds an upload."""
    conn.execute(update(t.uploads).values(held_until=0))


async def left_over(storage: S3Storage, catalog: Catalog) -> list[str]:
    """What is in the bucket and no row of a blob points at."""
    keys = await catalog.database.read(
        lambda conn: set(conn.execute(select(t.blobs.c.key)).scalars())
    )
    found = [key async for key in storage.bucket.objects()]
    assert keys <= set(found)
    found += [begun.key async for begun in storage.bucket.begun()]
    return [key for key in found if key not in keys]


@pytest.fixture
def cluster(seaweed: Seaweed, postgres_url: str, tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(postgres_url, seaweed.options(), tmp_path, [])
    try:
        yield made
    finally:
        for node in made.nodes:
            node.kill()
            assert node.process.stdout is not None
            node.process.stdout.close()


def push(repo: Client, body: bytes, *, chunks: bool) -> None:
    """Push a blob; AssertionError or OSError when it was not acknowledged."""
    where, name = repo.begin(), digest(body)
    if chunks:
        for start in range(0, len(body), STEP):
            assert repo("PATCH", where, body[start : start + STEP]).status == 202
        body = b""
    assert repo("PUT", f"{where}?digest={name}", body).status == 201


Moment = Callable[[str, str], bool]
MOMENTS: dict[str, Moment] = {
    "a part is stored": lambda method, target: method == "PUT" and "partNumber=2" in target,
    "the parts are put together": lambda method, target: method == "POST" and "uploadId" in target,
    "they are together, there is no row": lambda method, _target: method == "HEAD",
    "what is left is removed": lambda method, _target: method == "DELETE",
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_node_killed_at_the_worst_moment_loses_and_leaves_nothing(
    cluster: Cluster, s3_faults: FaultProxy, moment: str
) -> None:
    dying, other = cluster.start(s3_faults.endpoint), cluster.start()

    def fault(method: str, target: str) -> str:
        if MOMENTS[moment](method, target):
            dying.process.send_signal(signal.SIGKILL)
            return "cut"
        return ""

    push(dying.at("team/app"), b"acknowledged" * 10_000, chunks=False)
    s3_faults.fault = fault
    with pytest.raises((OSError, http.client.HTTPException)):
        push(dying.at("team/app"), BIG, chunks=True)
    assert dying.process.wait() == -signal.SIGKILL
    push(other.at("team/app"), BIG, chunks=True)
    for body in (BIG, b"acknowledged" * 10_000):
        assert other.at("team/app")("GET", f"blobs/{digest(body)}").body == body
    cluster.swept()
    assert other.at("team/app")("GET", f"blobs/{digest(BIG)}").body == BIG


@pytest.mark.slow
def test_an_upload_of_a_killed_node_goes_on_on_another(
    cluster: Cluster, s3_faults: FaultProxy
) -> None:
    dying, other = cluster.start(s3_faults.endpoint), cluster.start()
    where = dying.at("team/app").begin()
    assert dying.at("team/app")("PATCH", where, BIG[:STEP]).status == 202
    dying.kill()
    repo = other.at("team/app")
    assert repo("GET", where)["Range"] == f"0-{STEP - 1}"
    assert repo("PUT", f"{where}?digest={digest(BIG)}", BIG[STEP:]).status == 201
    assert repo("GET", f"blobs/{digest(BIG)}").body == BIG
    cluster.swept()


@pytest.mark.slow
def test_killed_again_and_again_at_random_nothing_acknowledged_is_lost(cluster: Cluster) -> None:
    """Four clients push to a node that is killed and started anew; they push again what failed."""
    chance = random.Random(4)
    node, over = [cluster.start()], threading.Event()
    acknowledged: list[bytes] = []
    failures: list[str] = []

    def client(number: int) -> None:
        mine = random.Random(number)
        while not over.is_set():
            size = mine.choice([100, 50_000, 3 << 20, 9 << 20])
            body = mine.randbytes(16) + BIG[:size]
            chunks = mine.random() < 0.5
            while True:
                try:
                    push(node[0].at(f"team/app{number}"), body, chunks=chunks)
                except (OSError, AssertionError, http.client.HTTPException) as e:
                    failures.append(type(e).__name__)
                    over.wait(0.05)
                    if over.is_set():
                        return
                else:
                    acknowledged.append(body)
                    break

    threads = [threading.Thread(target=client, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            time.sleep(chance.uniform(0.5, 1.5))
            node[0].kill()
            node[0] = cluster.start()
        time.sleep(1)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert failures
    assert len(acknowledged) > 8
    cluster.swept()
    repo = cluster.start().at("")
    for body in acknowledged:
        names = [f"team/app{number}" for number in range(4)]
        found = [repo.at(name)("GET", f"blobs/{Digest.of(body)}") for name in names]
        assert body in [answer.body for answer in found if answer.status == 200]


def test_the_helpers_see_what_is_left(cluster: Cluster) -> None:
    with suppress(AssertionError):
        push(cluster.start().at("team/app"), BIG, chunks=False)

    async def look() -> list[str]:
        async with open_catalog(cluster.url) as catalog:
            rows = UploadRows(catalog.database)
            async with open_s3(cluster.options, rows, rows) as storage:
                await storage.bucket.put("blobs/no/body", b"x")
                return await left_over(storage, catalog)

    assert asyncio.run(look()) == ["blobs/no/body"]
