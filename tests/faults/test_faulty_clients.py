"""Clients that are slow, die, lie or race; and a disk that is full."""

import errno
import hashlib
import os
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from argosy.stores import blobs as blob_files
from tests.serving import Client, Serving, digest, image, served

pytestmark = pytest.mark.slow

BODY = os.urandom(3_000_000)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Client, Serving]]:
    """A registry of its own, on tmp_path."""
    with served(tmp_path) as (client, serving):
        yield client.at("faulty/app"), serving


@pytest.fixture
def repo(server: tuple[Client, Serving]) -> Client:
    return server[0]


def half_a_request(client: Client, method: str, path: str, body: bytes, announced: int) -> None:
    """Send the head and a part of the body, then die."""
    with socket.create_connection((client.host, client.port)) as line:
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {announced}\r\n\r\n"
        line.sendall(head.encode() + body)
        time.sleep(0.2)


def until(true: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What `true` gives as soon as it is something."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it did not become so"
        time.sleep(0.02)
    return found


def left_over(root: Path) -> list[str]:
    return os.listdir(root / "uploads")


def test_what_a_dead_client_had_sent_is_kept_to_go_on_from(repo: Client) -> None:
    where = repo.begin()
    half_a_request(repo, "PATCH", where, BODY[:2_000_000], len(BODY))
    status = until(lambda: (s := repo("GET", where))["Range"] != "0-0" and s)
    here = int(status["Range"].removeprefix("0-")) + 1
    assert here <= 2_000_000
    done = repo("PUT", f"{where}?digest={digest(BODY)}", BODY[here:])
    assert done.status == 201
    assert repo("GET", f"blobs/{digest(BODY)}").body == BODY


def test_a_put_cut_short_makes_no_blob(repo: Client) -> None:
    where, short = repo.begin(), BODY[:1_000_000]
    half_a_request(repo, "PUT", f"{where}?digest={digest(BODY)}", short, len(BODY))
    half_a_request(repo, "PUT", f"{repo.begin()}?digest={digest(short)}", short, len(BODY))
    time.sleep(0.1)
    assert repo("HEAD", f"blobs/{digest(BODY)}").status == 404
    # Even where the part has the digest that the whole was to have: the length was another.
    assert repo("HEAD", f"blobs/{digest(short)}").status == 404


def test_a_single_post_cut_short_leaves_nothing(repo: Client, tmp_path: Path) -> None:
    path = f"/v2/{repo.name}/blobs/uploads/?digest={digest(BODY)}"
    half_a_request(repo, "POST", path, BODY[:1_000_000], len(BODY))
    until(lambda: not left_over(tmp_path))
    assert repo("HEAD", f"blobs/{digest(BODY)}").status == 404


def test_a_manifest_cut_short_is_not_kept(repo: Client) -> None:
    half_a_request(repo, "PUT", f"/v2/{repo.name}/manifests/v1", b'{"schemaVersion":2', 1000)
    assert repo("GET", "manifests/v1").status == 404


def test_slow_clients_do_not_slow_others(repo: Client) -> None:
    repo.push_image("v1", "x")
    lines = []
    try:
        for _ in range(40):  # more than there are threads for bodies
            where = repo.begin()
            line = socket.create_connection((repo.host, repo.port))
            line.sendall(
                f"PATCH {where} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\nab".encode()
            )
            lines.append(line)
        began = time.monotonic()
        assert repo("GET", "manifests/v1").status == 200
        assert repo.push_blob(BODY) == digest(BODY)
        assert time.monotonic() - began < 5
    finally:
        for line in lines:
            line.close()


def test_a_wrong_digest_leaves_nothing(repo: Client, tmp_path: Path) -> None:
    for path in (f"{repo.begin()}?digest={digest(b'else')}",):
        assert repo("PUT", path, BODY).code == "DIGEST_INVALID"
    wrong = repo("POST", f"blobs/uploads/?digest={digest(b'else')}", BODY)
    assert wrong.code == "DIGEST_INVALID"
    assert not left_over(tmp_path)
    assert not list(tmp_path.glob("blobs/*/*/*"))


def test_one_upload_takes_one_request_at_a_time(
    repo: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_files, "PATIENCE", 0.2)
    where = repo.begin()
    with socket.create_connection((repo.host, repo.port)) as line:
        line.sendall(f"PATCH {where} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab".encode())
        time.sleep(0.2)
        busy = repo("PATCH", where, b"more")
        assert (busy.status, busy.code) == (429, "TOOMANYREQUESTS")
        assert busy["Retry-After"] == "1"
        line.sendall(b"cdefghi")
        assert b" 202 " in line.recv(1000)
    assert repo("GET", where)["Range"] == "0-8"


def test_many_pushes_of_the_same_blob_at_once_all_succeed(repo: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        others = [repo.at(f"faulty/{n % 4}") for n in range(16)]
        assert set(pool.map(lambda other: other.push_blob(BODY), others)) == {digest(BODY)}
    assert all(hashlib.sha256(o("GET", f"blobs/{digest(BODY)}").body).hexdigest() for o in others)


def test_a_tag_that_many_push_at_once_is_one_of_theirs_and_whole(repo: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        pushed = {d["digest"] for d in pool.map(lambda n: repo.push_image("v1", str(n)), range(16))}
    found = repo("GET", "manifests/v1")
    assert digest(found.body) == found["Docker-Content-Digest"]
    assert digest(found.body) in pushed
    for child in [found.json["config"], *found.json["layers"]]:
        assert digest(repo("GET", f"blobs/{child['digest']}").body) == child["digest"]


def test_a_blob_deleted_during_pushes_never_leaves_a_manifest_without_it(repo: Client) -> None:
    config, layer = b'{"race":1}', b"raced for"
    name, stop = digest(layer), threading.Event()

    def delete() -> None:
        while not stop.is_set():
            assert repo("DELETE", f"blobs/{name}").status in (202, 404, 405)
            time.sleep(random.Random().random() / 50)  # let each side win now and then

    repo.push_blob(config)
    repo.push_blob(layer)
    deleter = threading.Thread(target=delete)
    deleter.start()
    outcomes: list[int] = []
    try:
        for n in range(300):
            if len(outcomes) > 40 and 201 in outcomes:
                break
            repo.push_blob(layer)
            done = repo.put_manifest(f"t{n}", image(config, layer, annotations={"n": str(n)}))
            outcomes.append(done.status)
            if done.status == 201:
                assert repo("GET", f"blobs/{name}").body == layer
                repo("DELETE", f"manifests/{done['Docker-Content-Digest']}")
            else:
                assert done.code == "MANIFEST_BLOB_UNKNOWN"
    finally:
        stop.set()
        deleter.join()
    assert 201 in outcomes


def full(*_: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("way", ["post", "patch", "put"])
def test_a_full_disk_is_told_and_nothing_half_written_stays(
    repo: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    name = digest(BODY)
    where = repo.begin()
    with monkeypatch.context() as patched:
        patched.setattr(blob_files.os, "write", full)
        answer = {
            "post": lambda: repo("POST", f"blobs/uploads/?digest={name}", BODY),
            "patch": lambda: repo("PATCH", where, BODY),
            "put": lambda: repo("PUT", f"{where}?digest={name}", BODY),
        }[way]()
    assert (answer.status, answer.code) == (507, "NO_SPACE")
    assert "full" in answer.json["errors"][0]["message"]
    if way != "post":
        assert repo("GET", where).status == 404
        assert not left_over(tmp_path)
    assert repo("HEAD", f"blobs/{name}").status == 404
    assert repo.push_blob(BODY) == name  # there is room again: all is well
    assert (
        'argosy_storage_errors_total{kind="no-space"} 1.0' in repo("GET", "/metrics").body.decode()
    )


def test_a_disk_that_is_full_at_the_commit_keeps_nothing(
    repo: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(blob_files.os, "fdatasync", full)
        answer = repo("PUT", f"{repo.begin()}?digest={digest(BODY)}", BODY)
    assert answer.status == 507
    assert not left_over(tmp_path)
    assert repo("HEAD", f"blobs/{digest(BODY)}").status == 404


def test_a_lost_file_is_an_error_of_ours_and_not_a_missing_blob(
    repo: Client, tmp_path: Path
) -> None:
    small, big = repo.push_blob(b"small"), repo.push_blob(BODY)
    for path in tmp_path.glob("blobs/*/*/*"):
        path.unlink()
    assert repo("GET", f"blobs/{small}").status == 500
    assert repo("GET", f"blobs/{big}").status == 500
    assert repo.push_blob(BODY) == big  # pushing it again heals it
    assert repo("GET", f"blobs/{big}").body == BODY


@pytest.mark.root
def test_a_really_full_disk_is_told_and_serving_goes_on(tmp_path: Path) -> None:
    def mount(*words: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", *words, "tmpfs", str(tmp_path)], check=True)

    mount("-o", "size=8m")
    try:
        with served(tmp_path) as (client, _serving):
            repo, codes = client.at("faulty/full"), []
            repo.push_image("v1", "x")
            for n in range(400):  # until neither a blob nor the database finds room
                body = f"{n}".encode() * (40_000 if n < 60 else 10)
                refused = repo("POST", f"blobs/uploads/?digest={digest(body)}", body)
                codes.append(refused.status)
                if codes[-20:] == [507] * 20:
                    break
            assert set(codes) == {201, 507}
            assert (refused.code, not left_over(tmp_path)) == ("NO_SPACE", True)
            assert repo("GET", "manifests/v1").status == 200
            assert repo("GET", "tags/list").json["tags"] == ["v1"]
            mount("-o", "remount,size=32m")
            assert repo.push_image("v2", "y")
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)
