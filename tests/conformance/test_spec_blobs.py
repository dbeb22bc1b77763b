"""Pulling and deleting blobs, from the distribution spec: end-1, 2, 10."""

import os

import pytest

from tests.serving import Client, digest, escaped

SMALL = bytes(range(200))
BIG = os.urandom(300_000)  # too big to be kept in memory


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_base_says_it_is_a_registry(registry_server: Client, method: str, path: str) -> None:
    found = registry_server(method, path)
    assert found.status == 200
    assert found["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize("body", [SMALL, BIG], ids=["small", "big"])
def test_a_blob_is_served_as_it_was_pushed(repo: Client, algorithm: str, body: bytes) -> None:
    name = repo.push_blob(body, algorithm)
    for _ in range(2):  # the second time from memory
        found = repo("GET", f"blobs/{name}")
        assert (found.status, found.body) == (200, body)
        assert found["Content-Length"] == str(len(body))
        assert found["Docker-Content-Digest"] == name
        assert found["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize("body", [SMALL, BIG], ids=["small", "big"])
def test_head_gives_length_and_digest_and_no_body(
    repo: Client, algorithm: str, body: bytes
) -> None:
    name = repo.push_blob(body, algorithm)
    found = repo("HEAD", f"blobs/{name}")
    assert (found.status, found.body) == (200, b"")
    assert found["Content-Length"] == str(len(body))
    assert found["Docker-Content-Digest"] == name


def test_a_digest_may_be_percent_encoded(repo: Client) -> None:
    name = repo.push_blob(SMALL)
    assert repo("GET", f"blobs/{escaped(name)}").body == SMALL


def test_a_blob_nobody_pushed_is_unknown(repo: Client, algorithm: str) -> None:
    name = digest(b"nobody pushed this", algorithm)
    assert repo("HEAD", f"blobs/{name}").status == 404
    found = repo("GET", f"blobs/{name}")
    assert (found.status, found.code) == (404, "BLOB_UNKNOWN")
    assert found["Content-Type"] == "application/json"


def test_a_blob_of_another_repository_is_unknown_here(repo: Client) -> None:
    name = repo.push_blob(b"of " + repo.name.encode())
    assert repo.at(repo.name + "/other")("GET", f"blobs/{name}").status == 404


@pytest.mark.parametrize("bad", ["sha256:abc", "sha256:" + "Z" * 64, "md5:" + "0" * 32, "latest"])
def test_what_is_no_digest_is_refused(repo: Client, bad: str) -> None:
    found = repo("GET", f"blobs/{bad}")
    assert (found.status, found.code) == (400, "DIGEST_INVALID")


@pytest.mark.parametrize("body", [SMALL, BIG], ids=["small", "big"])
@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=10-19", slice(10, 20)),
        ("bytes=150-", slice(150, None)),
        ("bytes=-7", slice(-7, None)),
        ("bytes=5-99999999", slice(5, None)),
    ],
)
def test_a_range_is_a_part(repo: Client, body: bytes, field: str, part: slice) -> None:
    name = repo.push_blob(body)
    found = repo("GET", f"blobs/{name}", headers={"Range": field})
    assert found.status == 206
    assert found.body == body[part]
    start = range(len(body))[part][0]
    assert found["Content-Range"] == f"bytes {start}-{start + len(found.body) - 1}/{len(body)}"


def test_a_range_outside_of_the_blob_is_refused(repo: Client) -> None:
    name = repo.push_blob(SMALL)
    found = repo("GET", f"blobs/{name}", headers={"Range": "bytes=200-"})
    assert (found.status, found["Content-Range"]) == (416, "bytes */200")


def test_a_range_of_something_else_gives_the_whole(repo: Client) -> None:
    name = repo.push_blob(SMALL)
    fields = {"Range": "bytes=10-19", "If-Range": f'"{name}"'}
    assert repo("GET", f"blobs/{name}", headers=fields).body == SMALL[10:20]
    fields["If-Range"] = '"sha256:other"'
    found = repo("GET", f"blobs/{name}", headers=fields)
    assert (found.status, found.body) == (200, SMALL)


@pytest.mark.parametrize("field", ["bytes=0-1,5-6", "lines=1-2", "bytes=abc", "bytes=9-3"])
def test_a_range_that_means_nothing_here_gives_the_whole(repo: Client, field: str) -> None:
    name = repo.push_blob(SMALL)
    found = repo("GET", f"blobs/{name}", headers={"Range": field})
    assert (found.status, found.body) == (200, SMALL)


@pytest.mark.parametrize("field", ['"{}"', 'W/"{}"', '"x", "{}"', "*"])
def test_who_has_the_blob_is_not_sent_it_again(repo: Client, field: str) -> None:
    name = repo.push_blob(SMALL)
    assert repo("GET", f"blobs/{name}")["ETag"] == f'"{name}"'
    found = repo("GET", f"blobs/{name}", headers={"If-None-Match": field.format(name)})
    assert (found.status, found.body) == (304, b"")
    other = repo("GET", f"blobs/{name}", headers={"If-None-Match": '"sha256:other"'})
    assert other.status == 200


def test_a_deleted_blob_is_gone_at_once_and_can_come_back(repo: Client, algorithm: str) -> None:
    name = repo.push_blob(SMALL, algorithm)
    assert repo("GET", f"blobs/{name}").status == 200
    assert repo("DELETE", f"blobs/{name}").status == 202
    assert repo("HEAD", f"blobs/{name}").status == repo("GET", f"blobs/{name}").status == 404
    assert repo("DELETE", f"blobs/{name}").status == 404
    assert repo.push_blob(SMALL, algorithm) == name
    assert repo("GET", f"blobs/{name}").body == SMALL


def test_deleting_a_blob_leaves_it_in_other_repositories(repo: Client) -> None:
    name, other = repo.push_blob(SMALL), repo.at(repo.name + "/other")
    other.push_blob(SMALL)
    repo("DELETE", f"blobs/{name}")
    assert other("GET", f"blobs/{name}").status == 200


def test_a_blob_that_a_manifest_needs_cannot_be_deleted(repo: Client) -> None:
    repo.push_image("v1", "needed")
    layer = repo("GET", "manifests/v1").json["layers"][0]["digest"]
    refused = repo("DELETE", f"blobs/{layer}")
    assert (refused.status, refused.code) == (405, "UNSUPPORTED")
    assert repo("HEAD", f"blobs/{layer}").status == 200


def test_deleting_in_a_repository_nobody_knows_says_so(repo: Client) -> None:
    found = repo("DELETE", f"blobs/{digest(b'x')}")
    assert (found.status, found.code) == (404, "NAME_UNKNOWN")


def test_a_method_that_is_not_for_an_endpoint_is_refused_with_those_that_are(
    repo: Client,
) -> None:
    found = repo("POST", f"blobs/{digest(b'x')}")
    assert (found.status, found.code) == (405, "UNSUPPORTED")
    assert found["Allow"] == "DELETE, GET, HEAD"


@pytest.mark.parametrize("path", ["/v2/a/b", "/v2/_nothing", "/v2/a/blob/x", "/v2/a/tags/all"])
def test_a_path_that_is_no_endpoint_is_not_found(registry_server: Client, path: str) -> None:
    assert registry_server("GET", path).status == 404


def test_the_namespace_of_a_proxying_client_is_ignored(repo: Client) -> None:
    name = repo.push_blob(SMALL)
    found = repo("GET", f"blobs/{name}?ns=docker.io")
    assert found.body == SMALL
    assert "OCI-Namespace" not in found.headers  # nothing was proxied
