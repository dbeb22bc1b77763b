"""Pushing blobs, from the distribution spec: end-4a, 4b, 4c, 5, 6, 11, 13, 14."""

import pytest

from tests.serving import OCTETS, Client, digest

BODY = bytes(range(256)) * 40  # 10240 bytes
RAW = {"Content-Type": OCTETS}


def chunk(start: int, end: int) -> dict[str, str]:
    """The header of the chunk BODY[start:end]."""
    return {**RAW, "Content-Range": f"{start}-{end - 1}"}


def test_a_post_opens_an_upload_with_a_location_of_its_own(repo: Client) -> None:
    first, second = repo("POST", "blobs/uploads/"), repo("POST", "blobs/uploads/")
    assert first.status == second.status == 202
    assert first["Location"] != second["Location"]
    assert first["Docker-Upload-UUID"] in first["Location"]
    assert first["Range"].startswith("0-")
    assert "OCI-Chunk-Min-Length" not in first.headers  # any length will do


def test_post_works_without_the_trailing_slash(repo: Client) -> None:
    assert repo("POST", "blobs/uploads").status == 202


def test_post_then_put_stores_the_blob(repo: Client, algorithm: str) -> None:
    name = digest(BODY, algorithm)
    done = repo("PUT", f"{repo.begin()}?digest={name}", BODY, RAW)
    assert done.status == 201
    assert done["Docker-Content-Digest"] == name
    assert repo("GET", done["Location"]).body == BODY


def test_a_single_post_stores_the_blob(repo: Client, algorithm: str) -> None:
    name = digest(BODY, algorithm)
    done = repo("POST", f"blobs/uploads/?digest={name}", BODY, RAW)
    assert done.status == 201
    assert done["Docker-Content-Digest"] == name
    assert repo("GET", done["Location"]).body == BODY


def test_a_single_post_without_a_body_falls_back_to_an_upload(repo: Client, algorithm: str) -> None:
    name = digest(BODY, algorithm)
    begun = repo("POST", f"blobs/uploads/?digest={name}")
    assert begun.status == 202
    assert repo("PUT", f"{begun['Location']}?digest={name}", BODY, RAW).status == 201


def test_the_empty_blob_can_be_stored(repo: Client, algorithm: str) -> None:
    name = digest(b"", algorithm)
    assert repo("PUT", f"{repo.begin()}?digest={name}", b"").status == 201
    found = repo("GET", f"blobs/{name}")
    assert (found.status, found.body, found["Content-Length"]) == (200, b"", "0")


def test_an_announced_algorithm_is_hashed_as_the_bytes_come(repo: Client, algorithm: str) -> None:
    where = repo.begin(f"?digest-algorithm={algorithm}")
    name = digest(BODY, algorithm)
    assert repo("PUT", f"{where}?digest={name}", BODY, RAW).status == 201


def test_an_unknown_algorithm_is_refused(repo: Client) -> None:
    refused = repo("POST", "blobs/uploads/?digest-algorithm=md5")
    assert (refused.status, refused.code) == (400, "DIGEST_INVALID")


def test_chunks_make_a_blob(repo: Client, algorithm: str) -> None:
    where = repo.begin()
    for start in range(0, len(BODY), 4096):
        part = BODY[start : start + 4096]
        taken = repo("PATCH", where, part, chunk(start, start + len(part)))
        assert taken.status == 202
        assert taken["Range"] == f"0-{start + len(part) - 1}"
        where = taken["Location"]
    name = digest(BODY, algorithm)
    assert repo("PUT", f"{where}?digest={name}", b"").status == 201
    assert repo("GET", f"blobs/{name}").body == BODY


def test_the_closing_put_may_carry_the_last_chunk(repo: Client, algorithm: str) -> None:
    where = repo("PATCH", repo.begin(), BODY[:4096], chunk(0, 4096))["Location"]
    name = digest(BODY, algorithm)
    done = repo("PUT", f"{where}?digest={name}", BODY[4096:], chunk(4096, len(BODY)))
    assert done.status == 201
    assert repo("GET", f"blobs/{name}").body == BODY


def test_a_stream_without_content_range_makes_a_blob(repo: Client, algorithm: str) -> None:
    taken = repo("PATCH", repo.begin(), BODY, RAW)
    assert (taken.status, taken["Range"]) == (202, f"0-{len(BODY) - 1}")
    name = digest(BODY, algorithm)
    assert repo("PUT", f"{taken['Location']}?digest={name}").status == 201
    assert repo("GET", f"blobs/{name}").body == BODY


def test_a_stream_may_come_in_chunked_transfer_coding(repo: Client, algorithm: str) -> None:
    pieces = iter([BODY[:5000], BODY[5000:]])
    coded = {**RAW, "Transfer-Encoding": "chunked"}
    taken = repo("PATCH", repo.begin(), pieces, coded, chunked=True)
    assert taken["Range"] == f"0-{len(BODY) - 1}"
    name = digest(BODY, algorithm)
    assert repo("PUT", f"{taken['Location']}?digest={name}").status == 201


@pytest.mark.parametrize("start", [0, 100, 4095, 4097, 8192])
def test_a_chunk_out_of_order_is_refused_and_tells_what_is_here(repo: Client, start: int) -> None:
    where = repo("PATCH", repo.begin(), BODY[:4096], chunk(0, 4096))["Location"]
    refused = repo("PATCH", where, BODY[start : start + 10], chunk(start, start + 10))
    assert refused.status == 416
    assert refused["Range"] == "0-4095"
    assert refused["Location"] == where


def test_an_upload_goes_on_after_a_chunk_out_of_order(repo: Client) -> None:
    where = repo.begin()
    assert repo("PATCH", where, BODY[:9], chunk(5000, 5009)).status == 416
    status = repo("GET", where)
    assert (status.status, status["Range"]) == (204, "0-0")
    assert repo("PATCH", status["Location"], BODY, chunk(0, len(BODY))).status == 202
    assert repo("PUT", f"{where}?digest={digest(BODY)}").status == 201


def test_a_last_chunk_out_of_order_is_refused_by_put_too(repo: Client) -> None:
    where = repo("PATCH", repo.begin(), BODY[:4096], chunk(0, 4096))["Location"]
    name = digest(BODY)
    refused = repo("PUT", f"{where}?digest={name}", BODY[5000:], chunk(5000, len(BODY)))
    assert (refused.status, refused["Range"], refused["Location"]) == (416, "0-4095", where)
    done = repo("PUT", f"{where}?digest={name}", BODY[4096:], chunk(4096, len(BODY)))
    assert done.status == 201


@pytest.mark.parametrize("field", ["abc", "5-", "-5", "10-4", "bytes */10", "0-9-9"])
def test_a_content_range_that_cannot_be_read_is_refused(repo: Client, field: str) -> None:
    refused = repo("PATCH", repo.begin(), b"0123456789", {**RAW, "Content-Range": field})
    assert refused.status == 416


def test_a_chunk_longer_than_its_range_is_refused(repo: Client) -> None:
    refused = repo("PATCH", repo.begin(), BODY[:100], chunk(0, 50))
    assert (refused.status, refused.code) == (400, "SIZE_INVALID")


def test_the_status_of_an_upload_is_what_has_come(repo: Client) -> None:
    where = repo("PATCH", repo.begin(), BODY[:777], RAW)["Location"]
    status = repo("GET", where)
    assert (status.status, status["Range"], status["Location"]) == (204, "0-776", where)


def test_a_cancelled_upload_is_gone(repo: Client) -> None:
    where = repo.begin()
    assert repo("DELETE", where).status == 204
    for method, query in (
        ("GET", ""),
        ("PATCH", ""),
        ("PUT", "?digest=" + digest(b"")),
        ("DELETE", ""),
    ):
        gone = repo(method, where + query)
        assert (gone.status, gone.code) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_a_finished_upload_is_gone(repo: Client) -> None:
    where = repo.begin()
    assert repo("PUT", f"{where}?digest={digest(BODY)}", BODY, RAW).status == 201
    assert repo("GET", where).status == 404


@pytest.mark.parametrize("id_", ["x", "00000000-0000-4000-8000-000000000000", "..%2f..%2flock"])
def test_an_upload_nobody_opened_is_unknown(repo: Client, id_: str) -> None:
    unknown = repo("PATCH", f"blobs/uploads/{id_}", b"x", RAW)
    assert unknown.status == 404


def test_an_upload_belongs_to_its_repository(repo: Client) -> None:
    other = repo.begin().replace(repo.name, "spec/other")
    assert repo("PUT", f"{other}?digest={digest(b'')}").code == "BLOB_UPLOAD_UNKNOWN"


def test_a_wrong_digest_is_refused_and_nothing_kept(repo: Client, algorithm: str) -> None:
    wrong = digest(b"something else", algorithm)
    where = repo.begin()
    refused = repo("PUT", f"{where}?digest={wrong}", BODY, RAW)
    assert (refused.status, refused.code) == (400, "DIGEST_INVALID")
    assert repo("HEAD", f"blobs/{wrong}").status == 404
    assert repo("HEAD", f"blobs/{digest(BODY, algorithm)}").status == 404
    assert repo("GET", where).status == 404


def test_a_wrong_digest_in_a_single_post_is_refused(repo: Client, algorithm: str) -> None:
    wrong = digest(b"something else", algorithm)
    refused = repo("POST", f"blobs/uploads/?digest={wrong}", BODY, RAW)
    assert (refused.status, refused.code) == (400, "DIGEST_INVALID")
    assert repo("HEAD", f"blobs/{wrong}").status == 404


@pytest.mark.parametrize("bad", ["", "sha256:abc", "md5:" + "0" * 32, "sha256:" + "G" * 64, "x"])
def test_a_digest_that_is_none_is_refused(repo: Client, bad: str) -> None:
    refused = repo("PUT", f"{repo.begin()}?digest={bad}", BODY, RAW)
    assert (refused.status, refused.code) == (400, "DIGEST_INVALID")


def test_a_put_without_digest_is_refused_and_the_upload_stays(repo: Client) -> None:
    where = repo.begin()
    refused = repo("PUT", where, BODY, RAW)
    assert (refused.status, refused.code) == (400, "DIGEST_INVALID")
    assert repo("GET", where).status == 204


def test_a_blob_is_mounted_from_another_repository(repo: Client, algorithm: str) -> None:
    name, target = repo.push_blob(BODY, algorithm), repo.at(repo.name + "/mounted")
    done = target("POST", f"blobs/uploads/?mount={name}&from={repo.name}")
    assert done.status == 201
    assert done["Docker-Content-Digest"] == name
    assert target("GET", done["Location"]).body == BODY


def test_a_blob_is_mounted_without_saying_from_where(repo: Client, algorithm: str) -> None:
    name, target = repo.push_blob(BODY, algorithm), repo.at(repo.name + "/mounted")
    assert target("POST", f"blobs/uploads/?mount={name}").status == 201
    assert target("GET", f"blobs/{name}").body == BODY


@pytest.mark.parametrize("source", ["spec/nowhere", "Not A Name"])
def test_a_mount_that_cannot_be_made_falls_back_to_an_upload(repo: Client, source: str) -> None:
    name = digest(b"never pushed" + source.encode())
    begun = repo("POST", f"blobs/uploads/?mount={name}&from={source.replace(' ', '%20')}")
    assert begun.status == 202
    body = b"never pushed" + source.encode()
    assert repo("PUT", f"{begun['Location']}?digest={name}", body, RAW).status == 201


def test_a_blob_is_not_mounted_from_a_repository_that_lacks_it(repo: Client) -> None:
    name = repo.at(repo.name + "/has").push_blob(b"only here " + repo.name.encode())
    begun = repo("POST", f"blobs/uploads/?mount={name}&from={repo.name}/lacks")
    assert begun.status == 202
    assert repo("HEAD", f"blobs/{name}").status == 404


@pytest.mark.parametrize("name", ["UPPER", "a//b", "-a", "a-", "a..b", "_a", "a/_b", "a" * 256])
def test_a_name_that_cannot_be_is_refused(registry_server: Client, name: str) -> None:
    refused = registry_server("POST", f"/v2/{name}/blobs/uploads/")
    assert (refused.status, refused.code) == (400, "NAME_INVALID")


@pytest.mark.parametrize(
    "name", ["a", "a/b/c/d", "a--b", "a__b", "a.b_c-d", "blobs/uploads", f"{'a' * 100}/{'b' * 154}"]
)
def test_a_name_that_can_be_is_taken(registry_server: Client, name: str) -> None:
    body = name.encode()
    pushed = registry_server.at(name).push_blob(body)
    assert registry_server.at(name)("GET", f"blobs/{pushed}").body == body
