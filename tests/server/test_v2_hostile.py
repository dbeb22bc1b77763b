"""What careless and hostile clients send is refused or survived, and is nobody's internal error."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy.server.v2.manifests import MOST_TAGS
from tests.serving import (
    DOCKER_MANIFEST,
    INDEX,
    MANIFEST,
    Answer,
    Client,
    digest,
    dump,
    image,
    served,
)

BODY = bytes(range(256)) * 4096


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Client]:
    with served(tmp_path) as (client, _):
        yield client.at("hos/tile")


def answer_to(repo: Client, request: bytes) -> bytes:
    """All that comes back on one connection."""
    with socket.create_connection((repo.host, repo.port), timeout=10) as sock:
        sock.sendall(request)
        got = b""
        while piece := sock.recv(65536):
            got += piece
        return got


def at_once(repo: Client, count: int, method: str, path: str, body: bytes | None) -> list[Answer]:
    """The same request from several clients at the same time."""
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda: answers.append(repo(method, path, body)))
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.parametrize("size", [b"-5", b"0x5", b"f" * 16, b"5 5", b"", b"5\n"])
@pytest.mark.parametrize("path", ["blobs/uploads/?digest=" + digest(b"x"), "manifests/v1"])
def test_a_body_in_broken_chunks_is_a_bad_request(repo: Client, path: str, size: bytes) -> None:
    method = b"PUT" if path.startswith("manifests") else b"POST"
    head = b"%b /v2/hos/tile/%b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    got = answer_to(repo, head % (method, path.encode()) + size + b"\r\nhello\r\n0\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nConnection: close\r\n" in got
    assert got.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("with_body", [True, False])
def test_of_many_who_finish_one_upload_one_does(repo: Client, *, with_body: bool) -> None:
    where = repo.begin()
    if not with_body:
        repo("PATCH", where, BODY)
    path = f"{where}?digest={digest(BODY)}"
    answers = at_once(repo, 5, "PUT", path, BODY if with_body else None)
    assert sorted(a.status for a in answers) == [201, 404, 404, 404, 404]
    assert {a.code for a in answers if a.status == 404} == {"BLOB_UPLOAD_UNKNOWN"}
    assert repo("GET", f"blobs/{digest(BODY)}").body == BODY
    assert b'argosy_storage_errors_total{kind="storage"} 0.0' in repo("GET", "/metrics").body


def test_who_waited_for_a_cancelled_upload_is_told(repo: Client) -> None:
    answers = at_once(repo, 4, "DELETE", repo.begin(), None)
    assert sorted(a.status for a in answers) == [204, 404, 404, 404]


def test_the_progress_of_an_upload_can_be_asked_for_with_head(repo: Client) -> None:
    where = repo.begin()
    repo("PATCH", where, b"abc")
    assert repo("HEAD", where)["Range"] == "0-2"


def test_every_tag_of_a_manifest_has_the_type_it_was_pushed_with_last(repo: Client) -> None:
    config = repo.push_blob(b"{}") and b"{}"
    body = dump({k: v for k, v in image(config).items() if k != "mediaType"})
    repo.put_manifest("one", body, MANIFEST)
    assert repo("GET", "manifests/one")["Content-Type"] == MANIFEST
    repo.put_manifest("two", body, DOCKER_MANIFEST)
    for ref in ("one", "two", digest(body)):
        assert repo("GET", f"manifests/{ref}")["Content-Type"] == DOCKER_MANIFEST


def test_the_answer_to_a_push_of_many_tags_can_be_read_by_every_client(repo: Client) -> None:
    repo.push_blob(b"{}")
    body = dump(image(b"{}"))
    tags = [f"t{n}" for n in range(MOST_TAGS)]
    query = "&".join(f"tag={tag}" for tag in tags)
    done = repo.put_manifest(f"{digest(body)}?{query}", body)
    assert done.status == 201
    assert done.headers.get_all("OCI-Tag") == tags
    assert len(done.headers) < 100  # where Python's own client gives up


def test_referrers_with_huge_annotations_come_a_few_at_a_time(repo: Client) -> None:
    repo.push_blob(b"{}")
    subject = {"mediaType": MANIFEST, "digest": digest(b"subject"), "size": 7}
    pushed = set()
    for n in range(7):
        about = image(b"{}", subject=subject, annotations={"n": str(n), "pad": "x" * 1_500_000})
        assert repo.put_manifest(digest(dump(about)), about).status == 201
        pushed.add(digest(dump(about)))
    seen: list[str] = []
    path = f"/v2/hos/tile/referrers/{subject['digest']}"
    while path:
        page = repo("GET", path)
        assert page["Content-Type"] == INDEX
        assert len(page.body) < 4 << 20
        seen += [d["digest"] for d in json.loads(page.body)["manifests"]]
        path = (page.headers["Link"] or "").partition("<")[2].partition(">")[0]
    assert seen == sorted(pushed)


def test_where_the_server_keeps_its_files_is_not_told(repo: Client, tmp_path: Path) -> None:
    where = repo.begin()
    for file in (tmp_path / "uploads").iterdir():
        file.unlink()
    lost = repo("PUT", f"{where}?digest={digest(b'x')}", b"x")
    assert lost.status == 500
    assert lost.code == "UNKNOWN"
    assert str(tmp_path).encode() not in lost.body


def test_a_flood_of_blank_lines_costs_little_and_ends_in_an_answer(repo: Client) -> None:
    get = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert answer_to(repo, b"\r\n" * (1 << 20) + get).startswith(b"HTTP/1.1 200 ")
