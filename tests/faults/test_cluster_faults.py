"""A cluster under load loses no acknowledged push, whichever of its parts fails.

Every test: sixteen clients push and pull through haproxy, a fault, and the load goes on until it
succeeds again. Then every acknowledged manifest, blob and tag is asked for and hashed, quotas
are counted by SQL that shares nothing with what charges them, and every object that a row names
is looked for. At the end of all tests, whatever their order, what the faults have left is swept.
"""

import asyncio
import hashlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from argosy.stores.s3.bucket import open_bucket
from bench.enrol import basic
from bench.traffic import Traffic
from tests import newer_argosy
from tests.cluster import TTL, Running, running_cluster
from tests.serving import Client

LONG = float(os.environ.get("ARGOSY_FAULT_SECONDS", "5"))  # 30: as long as an operator takes
pytestmark = [pytest.mark.slow, pytest.mark.peer, pytest.mark.xdist_group("cluster")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Running]:
    """One cluster for all tests."""
    with running_cluster() as running:
        yield running
        asyncio.run(_is_swept(running))


@contextmanager
def load(cluster: Running, fault: str) -> Iterator[Traffic]:
    """Traffic in the block; afterwards everything acknowledged is there, and every refusal was honest."""
    traffic = cluster.traffic(seed=hash(fault) % 10_000)
    with traffic.running():
        traffic.more()
        yield traffic
        traffic.more(seconds=90)
    counts = traffic.verify()
    print(f"{fault}: {counts}")
    assert (counts.lost, counts.corrupt, counts.failed) == (0, 0, 0), counts
    assert counts.dishonest == []
    _quotas_equal_a_recount(cluster)
    asyncio.run(_has_what_rows_name(cluster))


def _quotas_equal_a_recount(cluster: Running) -> None:
    charged = cluster.sql(
        """SELECT sum(bytes) || '|' || sum(artifacts) FROM
        (SELECT project_id, bytes, artifacts FROM quota_usage
        UNION ALL SELECT project_id, bytes, artifacts FROM quota_deltas) charged
        JOIN projects p ON p.id = project_id WHERE p.name = 'load'"""
    )
    blobs = cluster.sql(
        """SELECT sum(size) FROM (SELECT DISTINCT b.digest, b.size FROM blobs b
        JOIN repository_blobs l ON l.digest = b.digest JOIN repositories r
        ON r.id = l.repository_id WHERE r.name LIKE 'load/%') held"""
    )
    count, size = cluster.sql(
        """SELECT count(*) || '|' || sum(size) FROM manifests m JOIN repositories r
        ON r.id = m.repository_id WHERE r.name LIKE 'load/%'"""
    ).split("|")
    used, artifacts = map(int, charged.split("|"))
    assert (used, artifacts) == (int(blobs) + int(size), int(count))
    said = cluster.api("GET", "/projects/load/quota")
    assert said["used"] == {"bytes": used, "artifacts": artifacts}


async def _has_what_rows_name(cluster: Running) -> set[str]:
    """Every object that a row names is there; the names of the others."""
    bucket = await open_bucket(cluster.bucket_options())
    try:
        named = set(cluster.sql("SELECT key FROM blobs WHERE key <> ''").split())
        keys = {key async for key in bucket.objects()}
        assert named <= keys, "a row names an object that is gone"
        begun = {f"parts of {begun.key}" async for begun in bucket.begun()}
        return (keys - named) | begun
    finally:
        await bucket.close()


async def _is_swept(cluster: Running) -> None:
    """What nobody goes on with is gone soon after `uploads.ttl`, which is short here."""
    end = time.monotonic() + 4 * TTL
    while True:
        left = await _has_what_rows_name(cluster)
        rows = cluster.sql('SELECT id, "offset", holder FROM uploads').splitlines()
        if not left and not rows:
            return
        assert time.monotonic() < end, f"{len(left)} objects that no row names: {left}; {rows}"
        await asyncio.sleep(1)


def test_a_node_that_is_killed_and_then_another(cluster):
    with load(cluster, "kill -9 of one node, then of another") as traffic:
        for node in cluster.cluster.nodes[:2]:
            node.kill(signal.SIGKILL)
            traffic.more(seconds=90)
            node.start()
            traffic.more(seconds=90)


def test_postgresql_restarts(cluster):
    with load(cluster, "PostgreSQL restarts, in order and by a crash") as traffic:
        for how in (signal.SIGINT, signal.SIGQUIT):
            cluster.cluster.postgres.kill(how)
            time.sleep(1)
            cluster.cluster.postgres.start()
            traffic.more(seconds=90)


def test_the_object_storage_says_slow_down_and_then_is_slow(cluster):
    with load(cluster, f"S3 answers 503 for {LONG:g} s, then nothing for {LONG:g} s") as traffic:
        cluster.storage.fault = lambda _method, _target: "503"
        time.sleep(LONG)
        cluster.storage.fault = lambda _method, _target: ""
        traffic.more(seconds=90)
        cluster.storage.gate.clear()
        time.sleep(LONG)
        cluster.storage.gate.set()


def test_the_object_storage_loses_answers(cluster):
    """What the registry does not know to be done it must not acknowledge, nor believe undone."""
    count = iter(range(10**9))
    with load(cluster, "every eighth answer of S3 is lost") as traffic:
        cluster.storage.fault = lambda method, _: "lose" if next(count) % 8 == 0 else ""
        traffic.more(seconds=90)
        cluster.storage.fault = lambda _method, _target: ""


def test_redis_is_lost_and_comes_back(cluster):
    with load(cluster, "Redis is killed and comes back") as traffic:
        cluster.cluster.redis.kill()
        traffic.more(seconds=60)
        cluster.cluster.redis.start()


def test_a_node_is_cut_off_from_the_database(cluster):
    if cluster.host is None:
        pytest.skip("a host of its own needs root")
    with load(cluster, "one node is cut off from PostgreSQL without a word") as traffic:
        with cluster.host.cut(cluster.cluster.postgres.port):
            time.sleep(6)
            traffic.more(seconds=90)
        cluster.cluster.nodes[2].wait(60)  # ready again


def test_a_release_with_a_new_schema_goes_out_node_by_node_and_no_client_notices(cluster, tmp_path):
    """The first new node migrates under load; nodes of both releases work side by side, either way."""
    (tmp_path / "0003_to_come.py").write_text(newer_argosy.MIGRATION)
    nodes = cluster.cluster.nodes
    before = [list(node.argv) for node in nodes]
    with load(cluster, "a release with a migration goes out, and one node goes back") as traffic:
        for node, argv in zip(nodes, before, strict=True):
            at = argv.index("-m")
            node.argv = [*argv[:at], newer_argosy.__file__, *argv[at + 2 :]]
            node.env["NEWER_VERSIONS"] = str(tmp_path)
            node.kill(signal.SIGTERM)
            node.start()
            traffic.more(pushes=3, pulls=3)
            assert cluster.sql("SELECT version_num FROM alembic_version") == newer_argosy.REVISION
        for node, argv in zip(nodes, before, strict=True):
            node.argv = argv
        nodes[0].kill(signal.SIGTERM)
        nodes[0].start()
        traffic.more(pushes=3, pulls=3)
    # Not even a retry: a node that ends is not ready first, and the balancer has seen it.
    assert (traffic.counts.dropped, traffic.counts.retries) == (0, 0), traffic.counts
    assert cluster.sql("SELECT count(*) FROM tags WHERE pinned") == "0"


def test_an_upload_begun_on_one_node_is_finished_on_another(cluster):
    who = basic(cluster.robot, cluster.secret)
    nodes = [Client(*cluster.cluster.address(n), "load/moving") for n in range(3)]
    for size in (10, 400_000, 7_000_000):
        parts = [os.urandom(size), os.urandom(size // 2), os.urandom(1)]
        begun = nodes[0]("POST", "blobs/uploads/", headers=who)
        assert begun.status == 202, begun.body
        where, start = begun["Location"], 0
        for node, part in zip((nodes[1], nodes[2], nodes[0]), parts, strict=True):
            span = {"Content-Range": f"{start}-{start + len(part) - 1}", **who}
            done = node("PATCH", where, part, span)
            assert done.status == 202, done.body
            where, start = done["Location"], start + len(part)
        name = "sha256:" + hashlib.sha256(b"".join(parts)).hexdigest()
        assert nodes[2]("PUT", f"{where}?digest={name}", b"", who).status == 201
        for node in nodes:
            found = node("HEAD", f"blobs/{name}", headers=who)
            assert found["Content-Length"] == str(start)
