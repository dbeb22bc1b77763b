"""Manifests, from the distribution spec: end-3, 7a, 7b, 9; and Docker's schema 2."""

import hashlib
import json
from typing import Any

import pytest

from tests.serving import (
    CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    INDEX,
    LAYER,
    MANIFEST,
    Client,
    descriptor,
    digest,
    dump,
    image,
    index,
)

CFG, LYR = b'{"architecture":"amd64","os":"linux"}', b"some layer"


@pytest.fixture
def stocked(repo: Client, algorithm: str) -> Client:
    """A repository with the blobs CFG and LYR."""
    repo.push_blob(CFG, algorithm)
    repo.push_blob(LYR, algorithm)
    return repo


@pytest.fixture
def body(stocked: Client, algorithm: str) -> bytes:
    """A manifest that can be pushed there. Odd white space: bytes are kept as they come."""
    return json.dumps(image(CFG, LYR, algorithm=algorithm), indent=3).encode() + b"\n\n"


def test_a_manifest_is_served_as_it_was_pushed(
    stocked: Client, body: bytes, algorithm: str
) -> None:
    name = digest(body, algorithm)
    done = stocked.put_manifest(name, body)
    assert done.status == 201
    assert done["Docker-Content-Digest"] == name
    for path in (done["Location"], f"manifests/{name}"):
        for _ in range(2):  # the second time from memory
            found = stocked("GET", path)
            assert (found.status, found.body) == (200, body)
            assert found["Content-Type"] == MANIFEST
            assert found["Docker-Content-Digest"] == name


def test_a_manifest_pushed_by_tag_is_found_by_tag_and_digest(stocked: Client, body: bytes) -> None:
    done = stocked.put_manifest("v1", body)
    assert (done.status, done["Docker-Content-Digest"]) == (201, digest(body))
    assert stocked("GET", "manifests/v1").body == body
    assert stocked("GET", f"manifests/{digest(body)}").body == body


def test_head_gives_length_type_and_digest_and_no_body(
    stocked: Client, body: bytes, algorithm: str
) -> None:
    name = digest(body, algorithm)
    stocked.put_manifest(f"{name}?tag=v1", body)
    for ref in ("v1", name):
        found = stocked("HEAD", f"manifests/{ref}")
        assert (found.status, found.body) == (200, b"")
        assert found["Content-Length"] == str(len(body))
        assert found["Content-Type"] == MANIFEST
        assert found["Docker-Content-Digest"] == name


def test_parameters_of_the_content_type_are_not_kept(stocked: Client, body: bytes) -> None:
    assert stocked.put_manifest("v1", body, f"{MANIFEST}; charset=utf-8").status == 201
    assert stocked("GET", "manifests/v1")["Content-Type"] == MANIFEST


def test_a_manifest_without_media_type_has_that_of_the_push(
    stocked: Client, algorithm: str
) -> None:
    value = image(CFG, LYR, algorithm=algorithm)
    del value["mediaType"]
    assert stocked.put_manifest("v1", value, MANIFEST).status == 201
    assert stocked("GET", "manifests/v1")["Content-Type"] == MANIFEST


@pytest.mark.parametrize("ref", ["nothing", ".INVALID", digest(b"nothing"), "a" * 129])
def test_a_manifest_nobody_pushed_is_unknown(repo: Client, ref: str) -> None:
    assert repo("HEAD", f"manifests/{ref}").status == 404
    found = repo("GET", f"manifests/{ref}")
    assert (found.status, found.code) == (404, "MANIFEST_UNKNOWN")


def test_a_malformed_digest_is_refused(repo: Client) -> None:
    found = repo("GET", "manifests/sha256:12")
    assert (found.status, found.code) == (400, "DIGEST_INVALID")


def test_a_digest_that_is_not_the_bodys_is_refused(
    stocked: Client, body: bytes, algorithm: str
) -> None:
    wrong = digest(b"else", algorithm)
    refused = stocked.put_manifest(wrong, body)
    assert (refused.status, refused.code) == (400, "DIGEST_INVALID")
    assert stocked("GET", f"manifests/{wrong}").status == 404


@pytest.mark.parametrize("ref", [".dot", "-dash", "a" * 129, "a%20b", "a+b"])
def test_a_tag_that_cannot_be_is_refused(stocked: Client, body: bytes, ref: str) -> None:
    assert stocked.put_manifest(ref, body).status == 400


def test_the_longest_tag_is_taken(stocked: Client, body: bytes) -> None:
    assert stocked.put_manifest("_" + "a" * 127, body).status == 201


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 5000,
        dump({"schemaVersion": 1, "fsLayers": []}),
        dump({"schemaVersion": 2, "mediaType": "text/plain"}),
        dump({"schemaVersion": 2, "mediaType": MANIFEST, "layers": []}),
        dump({"schemaVersion": 2, "mediaType": MANIFEST, "config": 1}),
        dump({"schemaVersion": 2, "mediaType": INDEX, "manifests": 7}),
        dump({"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "layers": []}),
    ],
)
def test_what_is_no_manifest_is_refused(repo: Client, bad: bytes) -> None:
    refused = repo.put_manifest("v1", bad, MANIFEST if b"index" not in bad else INDEX)
    assert (refused.status, refused.code) == (400, "MANIFEST_INVALID")
    assert repo("GET", "manifests/v1").status == 404


def test_a_manifest_that_contradicts_its_content_type_is_refused(
    stocked: Client, body: bytes
) -> None:
    refused = stocked.put_manifest("v1", body, INDEX)
    assert (refused.status, refused.code) == (400, "MANIFEST_INVALID")


def test_missing_blobs_are_refused_and_each_is_named(repo: Client, algorithm: str) -> None:
    refused = repo.put_manifest("v1", image(CFG, LYR, b"other", algorithm=algorithm))
    assert refused.status == 404
    errors = refused.json["errors"]
    assert {e["code"] for e in errors} == {"MANIFEST_BLOB_UNKNOWN"}
    named = {e["detail"]["digest"] for e in errors}
    assert named == {digest(b, algorithm) for b in (CFG, LYR, b"other")}
    assert repo("GET", "manifests/v1").status == 404


def test_a_blob_in_another_repository_is_still_missing(stocked: Client, body: bytes) -> None:
    other = stocked.at(stocked.name + "/other")
    assert other.put_manifest("v1", body).code == "MANIFEST_BLOB_UNKNOWN"


def test_a_size_that_is_not_the_blobs_is_refused(stocked: Client, algorithm: str) -> None:
    value = image(CFG, LYR, algorithm=algorithm)
    value["layers"][0]["size"] += 1
    refused = stocked.put_manifest("v1", value)
    assert (refused.status, refused.code) == (400, "SIZE_INVALID")


def test_a_missing_subject_is_accepted_and_acknowledged(stocked: Client, algorithm: str) -> None:
    subject = descriptor(MANIFEST, b"not here", algorithm)
    done = stocked.put_manifest("v1", image(CFG, LYR, algorithm=algorithm, subject=subject))
    assert (done.status, done["OCI-Subject"]) == (201, subject["digest"])


def test_a_manifest_without_subject_is_not_acknowledged_as_a_referrer(
    stocked: Client, body: bytes
) -> None:
    assert "OCI-Subject" not in stocked.put_manifest("v1", body).headers


@pytest.mark.parametrize(
    "kind",
    [
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ],
)
def test_a_layer_that_is_fetched_elsewhere_need_not_be_here(stocked: Client, kind: str) -> None:
    value = image(CFG)
    stocked.push_blob(CFG)
    value["layers"] = [descriptor(kind, b"elsewhere", urls=["https://example.com/layer"])]
    assert stocked.put_manifest("v1", value).status == 201


def test_an_artifact_of_any_type_is_taken(stocked: Client, algorithm: str) -> None:
    empty = b"{}"
    stocked.push_blob(empty, algorithm)
    value = image(empty, LYR, algorithm=algorithm, artifactType="application/x.recipe", more=[1])
    value["config"]["mediaType"] = "application/vnd.oci.empty.v1+json"
    value["layers"][0]["mediaType"] = "text/x.recipe"
    assert stocked.put_manifest("v1", value).status == 201


def test_an_image_without_layers_is_taken(stocked: Client, algorithm: str) -> None:
    assert stocked.put_manifest("v1", image(CFG, algorithm=algorithm)).status == 201


def test_an_index_is_taken_when_its_manifests_are_here(repo: Client, algorithm: str) -> None:
    children = [repo.push_image("", seed, algorithm) for seed in ("a", "b")]
    body = dump(index(*children))
    done = repo.put_manifest("v1", body)
    assert done.status == 201
    found = repo("GET", "manifests/v1")
    assert (found.body, found["Content-Type"]) == (body, INDEX)


def test_an_index_of_missing_manifests_is_refused(repo: Client, algorithm: str) -> None:
    missing = descriptor(MANIFEST, b"{}", algorithm)
    refused = repo.put_manifest("v1", index(repo.push_image("", "a", algorithm), missing))
    assert (refused.status, refused.code) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert refused.json["errors"][0]["detail"]["digest"] == missing["digest"]
    assert repo("GET", "manifests/v1").status == 404


def test_a_manifest_that_is_only_a_blob_is_still_missing_in_an_index(repo: Client) -> None:
    body = dump(image(CFG))
    repo.push_blob(body)
    refused = repo.put_manifest("v1", index(descriptor(MANIFEST, body)))
    assert refused.code == "MANIFEST_BLOB_UNKNOWN"


def test_an_index_may_hold_indexes_and_nothing(repo: Client, algorithm: str) -> None:
    inner = dump(index(repo.push_image("", "a", algorithm)))
    empty = dump(index())
    for body in (inner, empty):
        assert repo.put_manifest(digest(body, algorithm), body).status == 201
    outer = index(descriptor(INDEX, inner, algorithm), descriptor(INDEX, empty, algorithm))
    assert repo.put_manifest("v1", outer).status == 201


def test_a_push_by_digest_may_set_many_tags(stocked: Client, body: bytes, algorithm: str) -> None:
    name, tags = digest(body, algorithm), [f"t{n}" for n in range(20)]
    query = "&".join(f"tag={t}" for t in tags)
    done = stocked.put_manifest(f"{name}?{query}", body)
    assert done.status == 201
    assert done.headers.get_all("OCI-Tag") == tags
    for tag in tags:
        assert stocked("HEAD", f"manifests/{tag}")["Docker-Content-Digest"] == name


def test_a_push_with_one_bad_tag_sets_none(stocked: Client, body: bytes) -> None:
    assert stocked.put_manifest(f"{digest(body)}?tag=good&tag=.bad", body).status == 400
    assert stocked("GET", "manifests/good").status == 404


def test_too_many_tags_are_refused(stocked: Client, body: bytes) -> None:
    query = "&".join(f"tag=t{n}" for n in range(65))
    assert stocked.put_manifest(f"{digest(body)}?{query}", body).status == 414


def padded(size: int, algorithm: str = "sha256") -> bytes:
    """A manifest of exactly that many bytes."""
    bare = dump(image(CFG, LYR, algorithm=algorithm, annotations={"pad": ""}))
    return dump(image(CFG, LYR, algorithm=algorithm, annotations={"pad": "x" * (size - len(bare))}))


def test_a_manifest_of_four_mebibytes_is_taken(stocked: Client, algorithm: str) -> None:
    body = padded(4 << 20, algorithm)
    assert len(body) == 4 << 20
    assert stocked.put_manifest(f"{digest(body, algorithm)}?tag=v1", body).status == 201
    assert hashlib.sha256(stocked("GET", "manifests/v1").body).digest() == (
        hashlib.sha256(body).digest()
    )


@pytest.mark.parametrize("size", [(4 << 20) + 1, 5 << 20])
def test_a_longer_manifest_is_too_large(stocked: Client, size: int) -> None:
    refused = stocked.put_manifest("v1", padded(size))
    assert refused.status == 413
    assert stocked("GET", "manifests/v1").status == 404


def test_a_tag_moves_at_once(repo: Client, algorithm: str) -> None:
    first = repo.push_image("", "1", algorithm)["digest"]
    second = repo.push_image("", "2", algorithm)["digest"]
    for name in (first, second, first):
        body = repo("GET", f"manifests/{name}").body
        assert repo.put_manifest(f"{name}?tag=moving", body).status == 201
        assert repo("HEAD", "manifests/moving")["Docker-Content-Digest"] == name


def test_deleting_a_tag_removes_only_the_tag(repo: Client, algorithm: str) -> None:
    name = repo.push_image("", "x", algorithm)["digest"]
    body = repo("GET", f"manifests/{name}").body
    repo.put_manifest(f"{name}?tag=a&tag=b", body)
    assert repo("GET", "manifests/a").status == 200
    assert repo("DELETE", "manifests/a").status == 202
    assert repo("GET", "manifests/a").status == 404
    assert repo("GET", "manifests/b").status == repo("GET", f"manifests/{name}").status == 200
    assert repo("DELETE", "manifests/a").code == "MANIFEST_UNKNOWN"


def test_deleting_a_digest_removes_the_manifest_and_every_tag(repo: Client, algorithm: str) -> None:
    name = repo.push_image("", "x", algorithm)["digest"]
    body = repo("GET", f"manifests/{name}").body
    repo.put_manifest(f"{name}?tag=a&tag=b", body)
    keep = repo.push_image("keep", "y")["digest"]
    assert all(repo("GET", f"manifests/{ref}").status == 200 for ref in ("a", "b", name))
    assert repo("DELETE", f"manifests/{name}").status == 202
    assert all(repo("GET", f"manifests/{ref}").status == 404 for ref in ("a", "b", name))
    assert repo("GET", "tags/list").json["tags"] == ["keep"]
    assert repo("HEAD", "manifests/keep")["Docker-Content-Digest"] == keep
    assert repo("DELETE", f"manifests/{name}").code == "MANIFEST_UNKNOWN"


def test_a_deleted_manifest_can_come_back(repo: Client) -> None:
    name = repo.push_image("v1", "x")["digest"]
    body = repo("GET", "manifests/v1").body
    repo("DELETE", f"manifests/{name}")
    assert repo.put_manifest("v1", body).status == 201
    assert repo("GET", f"manifests/{name}").body == body


def test_a_manifest_that_an_index_needs_cannot_be_deleted_before_it(repo: Client) -> None:
    child = repo.push_image("", "x")
    repo.put_manifest("all", index(child))
    refused = repo("DELETE", f"manifests/{child['digest']}")
    assert (refused.status, refused.code) == (405, "UNSUPPORTED")
    repo("DELETE", "manifests/" + repo("HEAD", "manifests/all")["Docker-Content-Digest"])
    assert repo("DELETE", f"manifests/{child['digest']}").status == 202


def test_who_has_the_manifest_is_not_sent_it_again(repo: Client) -> None:
    name = repo.push_image("v1", "x")["digest"]
    assert repo("GET", "manifests/v1")["ETag"] == f'"{name}"'
    found = repo("GET", "manifests/v1", headers={"If-None-Match": f'"{name}"'})
    assert (found.status, found.body) == (304, b"")
    repo.push_image("v1", "y")
    assert repo("GET", "manifests/v1", headers={"If-None-Match": f'"{name}"'}).status == 200


def docker_image(repo: Client) -> dict[str, Any]:
    """A schema 2 manifest whose blobs are in the repository."""
    repo.push_blob(CFG)
    repo.push_blob(LYR)
    value = image(CFG, LYR, kind=DOCKER_MANIFEST)
    value["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
    value["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    return value


def test_docker_manifests_and_lists_are_kept_as_they_are(repo: Client) -> None:
    body = dump(docker_image(repo))
    assert repo.put_manifest("one", body).status == 201
    assert repo("GET", "manifests/one")["Content-Type"] == DOCKER_MANIFEST
    child = descriptor(DOCKER_MANIFEST, body, platform={"os": "linux", "architecture": "amd64"})
    whole = dump(index(child, kind=DOCKER_LIST))
    assert repo.put_manifest("all", whole).status == 201
    found = repo("GET", "manifests/all", headers={"Accept": MANIFEST})
    assert (found["Content-Type"], found.body) == (DOCKER_LIST, whole)


def test_a_manifest_with_invalid_digests_inside_is_refused(repo: Client) -> None:
    value = image(CFG)
    value["layers"] = [{"mediaType": LAYER, "digest": "sha256:nothex", "size": 3}]
    refused = repo.put_manifest("v1", value)
    assert (refused.status, refused.code) == (400, "DIGEST_INVALID")


def test_a_config_named_as_layer_too_is_needed_once(stocked: Client) -> None:
    stocked.push_blob(CFG)
    value = image(CFG)
    value["layers"] = [descriptor(CONFIG, CFG)] * 3
    assert stocked.put_manifest("v1", value).status == 201
