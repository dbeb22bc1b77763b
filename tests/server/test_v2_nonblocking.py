"""Nothing that the registry does blocks its event loop: blockbuster watches every endpoint."""

from pathlib import Path

from tests.serving import Client, digest, dump, index, served

BIG = bytes(range(256)) * 2000


def push_and_pull(repo: Client) -> None:
    """Every endpoint, by every way a blob can come and go."""
    where = repo.begin()
    assert repo("PATCH", where, BIG[:1000]).status == 202
    assert repo("GET", where).status == 204
    assert repo("PUT", f"{where}?digest={digest(BIG)}", BIG[1000:]).status == 201
    assert repo("DELETE", repo.begin()).status == 204
    assert repo("POST", f"blobs/uploads/?digest={digest(b'1')}", b"1").status == 201
    assert repo("PUT", f"{repo.begin()}?digest={digest(b'2')}", b"1").status == 400
    assert repo.at("other")("POST", f"blobs/uploads/?mount={digest(BIG)}").status == 201
    child = repo.push_image("v1", "x")
    whole = dump(index(child, annotations={"pad": "x" * 100_000}))
    assert repo.put_manifest("all", whole).status == 201
    for path, status in (
        (f"blobs/{digest(BIG)}", 200),
        (f"blobs/{digest(b'1')}", 200),
        (f"blobs/{digest(b'3')}", 404),
        ("manifests/all", 200),
        ("tags/list", 200),
        (f"referrers/{child['digest']}", 200),
        ("/v2/_catalog", 200),
        ("/healthz", 200),
        ("/metrics", 200),
    ):
        assert repo("GET", path).status == status
    assert repo("GET", f"blobs/{digest(BIG)}", headers={"Range": "bytes=5-"}).body == BIG[5:]
    assert repo("DELETE", "manifests/all").status == 202
    assert repo("DELETE", f"blobs/{digest(b'1')}").status == 202


def test_no_endpoint_blocks_the_loop(tmp_path: Path) -> None:
    with served(tmp_path, watched=True) as (client, _):
        push_and_pull(client.at("watched/app"))
