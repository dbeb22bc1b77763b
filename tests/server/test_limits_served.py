"""Limits and quotas as clients of a registry meet them."""

import json
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from argosy.catalog.actor import SYSTEM
from argosy.catalog.projects.accounts import Accounts
from argosy.catalog.projects.limits import Limits
from argosy.catalog.projects.projects import ProjectChange, Projects
from argosy.catalog.projects.quotas import Amount, Quota, unfolded
from argosy.server.config.sections import (
    DatabaseSection,
    LimitsSection,
    RedisSection,
    ServerSection,
    ServerSettings,
    UploadsSection,
)
from tests.peers import need
from tests.redis_server import RedisServer
from tests.serving import (
    CONFIG,
    MANIFEST,
    OCTETS,
    Serving,
    descriptor,
    digest,
    dump,
    image,
    served,
)

pytestmark = pytest.mark.slow


def settings(data: Path, **sections: Any) -> ServerSettings:
    return ServerSettings(server=ServerSection(data=str(data)), **sections)


def make(serving: Serving, name: str, **change: Any) -> None:
    projects = Projects(serving.app.catalog.database)
    serving.run(projects.create(name, ProjectChange(**change), by=SYSTEM))


def used(serving: Serving, name: str) -> Amount:
    return serving.run(Projects(serving.app.catalog.database).usage(name))[1]


def off(serving: Serving, name: str) -> Amount:
    return serving.run(Accounts(serving.app.catalog.database).recount(name)).off


def files(data: Path) -> list[Path]:
    """The blobs and uploads on the disk."""
    return [f for part in ("blobs", "uploads") for f in (data / part).rglob("*") if f.is_file()]


# Requests.


def test_who_comes_too_often_is_told_how_often_they_may(tmp_path: Path) -> None:
    limits = LimitsSection(requests=0.01, burst=5)
    with served(tmp_path, settings=settings(tmp_path, limits=limits)) as (client, _):
        answers = [client("GET", "/v2/") for _ in range(7)]
    assert [a.status for a in answers] == [200] * 5 + [429] * 2
    last = answers[-1]
    assert last.code == "TOOMANYREQUESTS"
    assert "account 127.0.0.1" in last.json["errors"][0]["message"]
    assert 1 < int(last["Retry-After"]) <= 100
    assert last.headers.get_all("Retry-After") == [last["Retry-After"]]
    assert last["RateLimit-Policy"] == '"account";q=5;w=500'
    assert last["RateLimit"] == f'"account";r=0;t={last["Retry-After"]}'


def test_the_management_api_counts_too_and_answers_in_its_own_format(tmp_path: Path) -> None:
    limits = LimitsSection(requests=0.01, burst=3)
    with served(tmp_path, settings=settings(tmp_path, limits=limits)) as (client, _):
        answers = [client("GET", "/api/v1/projects") for _ in range(4)]
        assert client("GET", "/v2/").status == 429
        assert client("GET", "/healthz").status == 200
    assert [a.status for a in answers] == [200, 200, 200, 429]
    assert answers[-1]["Content-Type"] == "application/problem+json"
    assert answers[-1].json["code"] == "too-many-requests"
    assert int(answers[-1]["Retry-After"]) > 1


def test_a_project_s_own_limit_holds_for_it_alone_and_can_be_changed(tmp_path: Path) -> None:
    with served(tmp_path) as (client, serving):
        make(serving, "busy", limits=Limits(requests=0.01, burst=2))
        make(serving, "calm")
        busy, calm = client.at("busy/app"), client.at("calm/app")
        assert [busy("GET", "tags/list").status for _ in range(3)] == [404, 404, 429]
        assert {calm("GET", "tags/list").status for _ in range(10)} == {404}
        projects = Projects(serving.app.catalog.database)
        lifted = ProjectChange(limits=Limits(requests=0))
        serving.run(projects.update("busy", lifted, by=SYSTEM))
        assert {busy("GET", "tags/list").status for _ in range(10)} == {404}


@pytest.mark.peer
def test_two_servers_share_a_limit_through_redis(tmp_path: Path, redis: RedisServer) -> None:
    limits = LimitsSection(requests=0.01, burst=10)
    more: Any = {"limits": limits, "redis": RedisSection(url=redis.url)}
    one, two = (settings(tmp_path / name, **more) for name in ("one", "two"))
    with served(tmp_path, settings=one) as (a, first), served(tmp_path, settings=two) as (b, other):
        until = time.monotonic() + 20
        while any(s.app._registry._limiter._shared.away for s in (first, other)):
            assert time.monotonic() < until
            time.sleep(0.01)
        done = [client("GET", "/v2/").status for _ in range(10) for client in (a, b)]
        assert done.count(200) == 10
        redis.kill()
        # When they notice, each goes on with its part: a bucket for one of two nodes.
        until = time.monotonic() + 20
        while a("GET", "/v2/").status == 429:
            assert time.monotonic() < until
            time.sleep(0.1)


def test_a_cached_manifest_is_limited_too(tmp_path: Path) -> None:
    with served(tmp_path) as (client, serving):
        repo = client.at("busy/app")
        repo.push_image("v1")
        assert repo("GET", "manifests/v1").status == 200
        change = ProjectChange(limits=Limits(requests=0.01, burst=2))
        projects = Projects(serving.app.catalog.database)
        serving.run(projects.update("busy", change, by=SYSTEM))
        assert [repo("GET", "manifests/v1").status for _ in range(3)] == [200, 200, 429]


# Bytes per second.


def test_bodies_move_at_the_project_s_pace_both_ways(tmp_path: Path) -> None:
    limits = Limits(download=400_000, upload=400_000)
    body = os.urandom(500_000)
    with served(tmp_path) as (client, serving):
        make(serving, "slow", limits=limits)
        repo = client.at("slow/app")
        began = time.monotonic()
        name = repo.push_blob(body)
        pushed = time.monotonic()
        assert repo("GET", f"blobs/{name}").body == body
        pulled = time.monotonic()
    # A quarter of a second's worth was there at the start: 400 000 bytes are left at 400 000/s.
    assert pushed - began >= 0.9
    assert pulled - pushed >= 0.9


def test_several_transfers_share_one_pace(tmp_path: Path) -> None:
    body = os.urandom(150_000)
    with served(tmp_path) as (client, serving):
        make(serving, "slow", limits=Limits(download=400_000))
        repo = client.at("slow/app")
        name = repo.push_blob(body)
        began = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            bodies = list(pool.map(lambda _: repo("GET", f"blobs/{name}").body, range(4)))
        took = time.monotonic() - began
    assert bodies == [body] * 4
    assert took >= 0.9 * (4 * len(body) - 100_000) / 400_000


# Quotas.


def test_a_blob_that_cannot_fit_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    with served(tmp_path) as (client, serving):
        make(serving, "small", quota=Quota(bytes=1 << 20))
        repo = client.at("small/app")
        where = repo.begin()
        head = {"Content-Type": OCTETS, "Content-Length": str(5 << 20)}
        # Only the head is sent: who waited for the body would wait for ever.
        refused = repo("PATCH", where, iter([b""]), head)
        assert (refused.status, refused.code) == (403, "DENIED")
        message = refused.json["errors"][0]["message"]
        assert "project small uses 0B of its quota of 1.05MB of storage" in message
        assert "this push needs 5.24MB more" in message
        assert "free space by deleting what is not needed" in message
        assert files(tmp_path) == []
        assert used(serving, "small") == Amount()


def test_a_stream_without_a_length_is_cut_where_the_quota_ends(tmp_path: Path) -> None:
    with served(tmp_path) as (client, serving):
        make(serving, "small", quota=Quota(bytes=1 << 20))
        repo = client.at("small/app")
        stream = (bytes(1 << 20) for _ in range(40))
        head = {"Transfer-Encoding": "chunked"}
        refused = repo("PATCH", repo.begin(), stream, head, chunked=True)
        assert (refused.status, refused.code) == (403, "DENIED")
        assert files(tmp_path) == []


def test_a_full_project_refuses_an_upload_at_its_beginning(tmp_path: Path) -> None:
    with served(tmp_path) as (client, serving):
        make(serving, "small", quota=Quota(bytes=1000))
        repo = client.at("small/app")
        repo.push_blob(bytes(1000))
        serving.app._registry._room.accounts._looks.clear()  # as if two seconds had passed
        refused = repo("POST", "blobs/uploads/")
        assert (refused.status, refused.code) == (403, "DENIED")
        message = refused.json["errors"][0]["message"]
        assert message.startswith(
            "project small uses 1kB of its quota of 1kB of storage: free space"
        )
        assert "small/app 1kB" in message
        again = repo("POST", f"blobs/uploads/?digest={digest(bytes(1000))}", bytes(1000))
        assert again.status == 201  # it is here already and costs nothing
        mounted = client.at("small/other")(
            "POST", f"blobs/uploads/?mount={digest(bytes(1000))}&from=small/app"
        )
        assert mounted.status == 201


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_64_real_pushes_at_once_fill_a_quota_exactly(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    size, limit = 40_000, 1_000_000
    url = request.getfixturevalue("postgres_url") if kind == "postgres" else ""
    put = settings(tmp_path, database=DatabaseSection(url=url))
    with served(tmp_path, settings=put) as (client, serving):
        make(serving, "small", quota=Quota(bytes=limit))
        together = threading.Barrier(64)

        def push(number: int) -> int:
            repo = client.at(f"small/app{number % 5}")
            body = number.to_bytes(4, "big") * (size // 4)
            together.wait(30)
            begun = repo("POST", "blobs/uploads/")
            if begun.status != 202:
                return begun.status
            target = f"{begun['Location']}?digest={digest(body)}"
            return repo("PUT", target, body, {"Content-Type": OCTETS}).status

        with ThreadPoolExecutor(64) as pool:
            done = list(pool.map(push, range(64)))
        assert sorted(set(done)) == [201, 403]
        assert done.count(201) == limit // size
        assert used(serving, "small") == Amount(limit)
        assert off(serving, "small") == Amount()


def test_what_was_freed_can_be_used_at_once(tmp_path: Path) -> None:
    with served(tmp_path) as (client, serving):
        make(serving, "small", quota=Quota(bytes=1000))
        repo = client.at("small/app")
        for number in range(4):
            name = repo.push_blob(bytes([number]) * 900)
            target = f"blobs/uploads/?digest={digest(bytes(901))}"
            assert repo("POST", target, bytes(901)).status == 403
            assert repo("DELETE", f"blobs/{name}").status == 202


def test_a_refused_manifest_leaves_the_tag_where_it_was(tmp_path: Path) -> None:
    with served(tmp_path) as (client, serving):
        make(serving, "small", quota=Quota(artifacts=1))
        repo = client.at("small/app")
        made = repo.push_image("v1")
        config = b'{"another":1}'
        repo.push_blob(config)
        refused = repo.put_manifest("v1", image(config))
        assert (refused.status, refused.code) == (403, "DENIED")
        assert "1 of its quota of 1 artifacts" in refused.json["errors"][0]["message"]
        assert repo("GET", "manifests/v1")["Docker-Content-Digest"] == made["digest"]


def test_usage_is_folded_while_the_server_runs(tmp_path: Path) -> None:
    with served(tmp_path) as (client, serving):
        client.at("team/app").push_image("v1")
        before = used(serving, "team")
        until = time.monotonic() + 20
        while serving.run(serving.app.catalog.database.read(unfolded)):
            assert time.monotonic() < until
            time.sleep(0.05)
        assert used(serving, "team") == before
        assert off(serving, "team") == Amount()


# Uploads under way.


def test_a_project_has_only_so_many_uploads_under_way(tmp_path: Path) -> None:
    uploads = UploadsSection(in_flight=3)
    with served(tmp_path, settings=settings(tmp_path, uploads=uploads)) as (client, _):
        repo, other = client.at("team/app"), client.at("other/app")
        places = [repo.begin() for _ in range(3)]
        refused = client.at("team/x")("POST", "blobs/uploads/")
        assert (refused.status, refused.code) == (429, "TOOMANYREQUESTS")
        assert "3 uploads under way" in refused.json["errors"][0]["message"]
        assert refused["Retry-After"]
        other.begin()
        assert repo("DELETE", places[0]).status == 204
        places[0] = repo.begin()
        done = repo("PUT", f"{places[1]}?digest={digest(b'x')}", b"x", {"Content-Type": OCTETS})
        assert done.status == 201
        repo.begin()
        assert repo("POST", "blobs/uploads/").status == 429


def test_uploads_that_were_refused_or_swept_are_not_under_way(tmp_path: Path) -> None:
    uploads = UploadsSection(in_flight=3)
    with served(tmp_path, settings=settings(tmp_path, uploads=uploads)) as (client, serving):
        repo = client.at("team/app")
        for _ in range(2):
            assert repo("PUT", f"{repo.begin()}?digest={digest(b'x')}", b"y").status == 400
        repo.begin()
        assert serving.run(serving.app._registry.uploads._store.sweep(-5)) == 1
        for _ in range(3):
            repo.begin()
        assert repo("POST", "blobs/uploads/").status == 429


def test_where_uploads_are_not_limited_nothing_is_remembered_of_them(tmp_path: Path) -> None:
    with served(tmp_path) as (client, serving):
        client.at("team/app").begin()
        assert serving.app._registry._room._under_way == {}


# Real clients.


@pytest.mark.peer
def test_skopeo_shows_why_a_push_was_refused(tmp_path: Path, skopeo_refused: Any) -> None:
    with served(tmp_path / "data") as (client, serving):
        make(serving, "small", quota=Quota(bytes=1000))
        where = f"{client.host}:{client.port}/small/app:v1"
        shown = skopeo_refused(where)
    assert "project small uses" in shown
    assert "quota of 1kB" in shown


@pytest.fixture
def skopeo_refused(tmp_path: Path) -> Any:
    """What skopeo says when it pushes an image of random bytes that is refused."""
    program = need("skopeo")
    layout = tmp_path / "layout"
    (layout / "blobs/sha256").mkdir(parents=True)
    layer, config = (
        os.urandom(50_000),
        json.dumps(
            {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
        ).encode(),
    )
    kind = "application/vnd.oci.image.layer.v1.tar"
    manifest = dump(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, config),
            "layers": [descriptor(kind, layer)],
        }
    )
    for blob in (layer, config, manifest):
        (layout / "blobs/sha256" / digest(blob).partition(":")[2]).write_bytes(blob)
    named = {"org.opencontainers.image.ref.name": "v1"}
    entry = {**descriptor(MANIFEST, manifest), "annotations": named}
    (layout / "index.json").write_bytes(dump({"schemaVersion": 2, "manifests": [entry]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def push(where: str) -> str:
        words = ["copy", "--dest-tls-verify=false", f"oci:{layout}:v1", f"docker://{where}"]
        done = subprocess.run([program, *words], capture_output=True, text=True, timeout=60)
        assert done.returncode != 0
        return done.stderr

    return push
