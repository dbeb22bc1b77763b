"""A registry whose blobs are in a bucket: redirects that every client follows, and several nodes."""

import base64
import http.client
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from argosy.server.config.sections import (
    AuthSection,
    DatabaseSection,
    ServerSection,
    ServerSettings,
    StorageSection,
)
from tests.guarded import PASSWORD, World
from tests.images import LayoutWriter
from tests.keeping import section
from tests.peers import Run, argosy, need, run
from tests.seaweed import SECRET, FaultProxy, Seaweed
from tests.serving import Answer, Client, digest, served

BIG = os.urandom(12 << 20)


def in_bucket(seaweed: Seaweed, data: Path, **more: object) -> ServerSettings:
    """A server whose blobs are in the bucket."""
    return ServerSettings(
        server=ServerSection(data=str(data)),
        storage=StorageSection(backend="s3"),
        s3=section(seaweed.options(**more)),
    )


@pytest.fixture
def repo(seaweed: Seaweed, s3_faults: FaultProxy, tmp_path: Path) -> Iterator[Client]:
    """A repository of a registry that redirects to a public endpoint of its own."""
    settings = in_bucket(seaweed, tmp_path, redirect_endpoint=s3_faults.endpoint)
    with served(tmp_path, settings=settings, watched=True) as (client, _):
        yield client.at("team/app")


def follow(found: Answer, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """What is where the answer says."""
    assert found.status == 307
    url = urlsplit(found["Location"])
    connection = http.client.HTTPConnection(url.netloc, timeout=30)
    try:
        connection.request("GET", f"{url.path}?{url.query}", headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_big_blob_is_fetched_from_the_public_endpoint(
    repo: Client, s3_faults: FaultProxy
) -> None:
    name = repo.push_blob(BIG)
    found = repo("GET", f"blobs/{name}")
    assert found["Location"].startswith(s3_faults.endpoint)
    assert found["Cache-Control"] == "no-store"
    assert "X-Amz-Expires=1200" in found["Location"]
    assert SECRET not in found["Location"]
    assert found.body == b""
    assert follow(found) == (200, BIG)
    part = {"Range": "bytes=5-9"}
    assert follow(repo("GET", f"blobs/{name}", None, part), part) == (206, BIG[5:10])
    assert repo("GET", f"blobs/{name}", None, {"Range": f"bytes={len(BIG)}-"}).status == 416


def test_head_and_conditions_are_answered_here(repo: Client, s3_faults: FaultProxy) -> None:
    name = repo.push_blob(BIG)
    found = repo("HEAD", f"blobs/{name}")
    assert (found.status, found["Content-Length"]) == (200, str(len(BIG)))
    assert found["Docker-Content-Digest"] == name
    same = repo("GET", f"blobs/{name}", None, {"If-None-Match": f'"{name}"'})
    assert same.status == 304
    assert not s3_faults.seen


def test_a_small_blob_comes_from_memory(repo: Client, seaweed: Seaweed) -> None:
    name = repo.push_blob(b"small")
    for _ in range(2):
        assert repo("GET", f"blobs/{name}").body == b"small"
    assert repo("GET", f"blobs/{name}", None, {"Range": "bytes=1-2"}).status == 307


def test_without_redirects_blobs_stream_through_us(seaweed: Seaweed, tmp_path: Path) -> None:
    with served(tmp_path, settings=in_bucket(seaweed, tmp_path, redirect=False), watched=True) as (
        client,
        _,
    ):
        repo = client.at("team/app")
        name = repo.push_blob(BIG)
        assert repo("GET", f"blobs/{name}").body == BIG
        found = repo("GET", f"blobs/{name}", None, {"Range": "bytes=-7"})
        assert (found.status, found.body) == (206, BIG[-7:])
        assert found["Content-Range"] == f"bytes {len(BIG) - 7}-{len(BIG) - 1}/{len(BIG)}"


def test_a_blob_that_was_damaged_in_the_bucket_is_not_served_from_memory(
    seaweed: Seaweed, tmp_path: Path
) -> None:
    with served(tmp_path, settings=in_bucket(seaweed, tmp_path)) as (client, serving):
        repo = client.at("team/app")
        name = repo.push_blob(b"as it was")
        stored = serving.run(serving.app.catalog.blob("team/app", name))
        serving.run(serving.app.store.bucket.put(stored.key, b"as it IS!"))
        assert repo("GET", f"blobs/{name}").status >= 400


def test_an_outage_is_told_as_one_and_ends(
    seaweed: Seaweed, s3_faults: FaultProxy, tmp_path: Path
) -> None:
    settings = in_bucket(seaweed, tmp_path, endpoint=s3_faults.endpoint, retries=0)
    with served(tmp_path, settings=settings, watched=True) as (client, _):
        repo = client.at("team/app")
        where = repo.begin()
        s3_faults.fault = lambda _m, _t: "503"
        failed = repo("PUT", f"{where}?digest={digest(BIG)}", BIG)
        assert (failed.status, failed["Retry-After"]) == (503, "1")
        assert "SlowDown" in failed.json["errors"][0]["message"]
        for hidden in ("blobs/", settings.s3.bucket, s3_faults.endpoint):
            assert hidden not in failed.body.decode()
        assert client("GET", "/readyz").status == 503
        assert client("GET", "/healthz").status == 200
        assert client("GET", "/v2/").status == 200
        s3_faults.fault = lambda _m, _t: ""
        assert repo("PUT", f"{where}?digest={digest(BIG)}", BIG).status == 201
        assert follow(repo("GET", f"blobs/{digest(BIG)}"))[1] == BIG
        text = client("GET", "/metrics").body.decode()
        assert 'argosy_s3_requests_total{operation="PutObject"' in text or "UploadPart" in text
        assert 'outcome="slow_down"' in text


@contextmanager
def nodes(seaweed: Seaweed, url: str, tmp: Path, count: int = 2) -> Iterator[list[Client]]:
    """Servers that have nothing in common but a database and a bucket."""
    shared = in_bucket(seaweed, tmp, redirect=False)
    with ExitStack() as stack:
        clients = []
        for number in range(count):
            own = tmp / f"node{number}"
            settings = replace(
                shared,
                server=ServerSection(data=str(own)),
                database=DatabaseSection(url=url),
            )
            client, _ = stack.enter_context(served(own, settings=settings))
            clients.append(client.at("team/app"))
        yield clients


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_an_upload_begun_on_one_node_is_finished_on_another(
    seaweed: Seaweed, postgres_url: str, tmp_path: Path, algorithm: str
) -> None:
    with nodes(seaweed, postgres_url, tmp_path, 3) as (one, two, three):
        name = digest(BIG, algorithm)
        where = one.begin(f"?digest-algorithm={algorithm}")
        step = 5_000_000
        for number, start in enumerate(range(0, len(BIG), step)):
            node, part = (one, two, three)[number % 3], BIG[start : start + step]
            field = {"Content-Range": f"{start}-{start + len(part) - 1}"}
            done = node("PATCH", where, part, field)
            assert (done.status, done["Range"]) == (202, f"0-{start + len(part) - 1}")
        assert two("GET", where)["Range"] == f"0-{len(BIG) - 1}"
        late = three("PATCH", where, b"x", {"Content-Range": "5-5"})
        assert (late.status, late["Range"]) == (416, f"0-{len(BIG) - 1}")
        assert three("PUT", f"{where}?digest={name}").status == 201
        for node in (one, two, three):
            assert node("GET", f"blobs/{name}").body == BIG
            assert node("GET", where).status == 404


def test_an_upload_cancelled_on_one_node_is_gone_on_the_other(
    seaweed: Seaweed, postgres_url: str, tmp_path: Path
) -> None:
    with nodes(seaweed, postgres_url, tmp_path) as (one, two):
        where = one.begin()
        assert one("PATCH", where, BIG).status == 202
        assert two("DELETE", where).status == 204
        gone = one("PUT", f"{where}?digest={digest(BIG)}")
        assert (gone.status, gone.code) == (404, "BLOB_UPLOAD_UNKNOWN")


@pytest.fixture
def guarded(
    seaweed: Seaweed, s3_faults: FaultProxy, tmp_path: Path
) -> Iterator[tuple[str, FaultProxy]]:
    """The address of a registry with access control that redirects; and where to."""
    settings = replace(
        in_bucket(seaweed, tmp_path / "data", redirect_endpoint=s3_faults.endpoint),
        auth=AuthSection(enabled=True),
    )
    with served(tmp_path / "data", settings=settings) as (client, serving):
        world = World(client, serving)
        world.user("root", is_admin=True)
        world.project("team")
        yield f"127.0.0.1:{client.port}", s3_faults


def image(path: Path) -> str:
    """A runnable image whose layer is too big to be kept in memory."""
    body = Path(need("busybox")).read_bytes()
    layout = LayoutWriter(path)
    files = {"bin/busybox": body, "bin/sh": body, "big": os.urandom(1 << 20)}
    layout.tag(layout.image("amd64", [files], 0o755, ["/bin/busybox", "uname", "-m"]), "v1")
    return f"oci:{path}:v1"


def redirected_without_credentials(proxy: FaultProxy) -> None:
    """Blobs were fetched elsewhere, and nobody who fetched them told who they were."""
    assert [target for method, target in proxy.seen if method == "GET"]
    assert not [head for head in proxy.heads if "authorization:" in head.lower()]


def test_our_own_client_tells_nobody_else_who_it_is(
    guarded: tuple[str, FaultProxy], tmp_path: Path
) -> None:
    host, proxy = guarded
    keys = tmp_path / "docker"
    keys.mkdir()
    pair = base64.b64encode(f"root:{PASSWORD}".encode()).decode()
    (keys / "config.json").write_text(json.dumps({"auths": {host: {"auth": pair}}}))
    env = {"DOCKER_CONFIG": str(keys)}
    argosy("copy", image(tmp_path / "in"), f"docker://{host}/team/app:v1", **env)
    argosy("copy", f"docker://{host}/team/app:v1", f"oci:{tmp_path}/out:v1", **env)
    redirected_without_credentials(proxy)


@pytest.mark.peer
def test_skopeo_follows(guarded: tuple[str, FaultProxy], tmp_path: Path) -> None:
    host, proxy = guarded
    remote = f"docker://{host}/team/app:v1"
    plain = ["--dest-tls-verify=false", "--dest-creds", f"root:{PASSWORD}"]
    run("skopeo", "copy", *plain, image(tmp_path / "in"), remote)
    plain = ["--src-tls-verify=false", "--src-creds", f"root:{PASSWORD}"]
    run("skopeo", "copy", *plain, remote, f"oci:{tmp_path}/out:v1")
    redirected_without_credentials(proxy)


@pytest.mark.peer
@pytest.mark.root
def test_docker_follows(guarded: tuple[str, FaultProxy], dockerd: Run, tmp_path: Path) -> None:
    host, proxy = guarded
    name, config = f"{host}/team/app:v1", ["--config", str(tmp_path / "docker")]
    plain = ["--dest-tls-verify=false", "--dest-creds", f"root:{PASSWORD}"]
    run("skopeo", "copy", *plain, image(tmp_path / "in"), f"docker://{name}")
    dockerd(*config, "login", "-u", "root", "-p", PASSWORD, host)
    dockerd(*config, "pull", name)
    assert dockerd("run", "--rm", "--network", "none", name).strip() == "x86_64"
    dockerd("tag", name, f"{name}-again")
    dockerd(*config, "push", f"{name}-again")
    redirected_without_credentials(proxy)


@pytest.mark.peer
@pytest.mark.root
def test_podman_follows(guarded: tuple[str, FaultProxy], podman: Run, tmp_path: Path) -> None:
    host, proxy = guarded
    name = f"{host}/team/app:v1"
    plain = ["--dest-tls-verify=false", "--dest-creds", f"root:{PASSWORD}"]
    run("skopeo", "copy", *plain, image(tmp_path / "in"), f"docker://{name}")
    words = ["--tls-verify=false", "--creds", f"root:{PASSWORD}"]
    podman("pull", "-q", *words, name)
    podman("tag", name, f"{name}-again")
    podman("push", "-q", *words, f"{name}-again")
    redirected_without_credentials(proxy)


@pytest.mark.peer
@pytest.mark.root
def test_containerd_follows(
    guarded: tuple[str, FaultProxy], containerd: Run, tmp_path: Path
) -> None:
    host, proxy = guarded
    name = f"{host}/team/app:v1"
    plain = ["--dest-tls-verify=false", "--dest-creds", f"root:{PASSWORD}"]
    run("skopeo", "copy", *plain, image(tmp_path / "in"), f"docker://{name}")
    words = ["--plain-http", "--user", f"root:{PASSWORD}"]
    containerd("images", "pull", *words, name)
    containerd("images", "tag", name, f"{name}-again")
    containerd("images", "push", *words, f"{name}-again")
    redirected_without_credentials(proxy)
