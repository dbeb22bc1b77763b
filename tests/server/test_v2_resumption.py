"""A server that was stopped and started again goes on where it was; two never share a directory."""

import re
from pathlib import Path

import pytest

from argosy.errors import StorageError
from tests.serving import Client, digest, served

BODY = bytes(range(256)) * 1000


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("announced", [True, False])
def test_an_upload_goes_on_after_a_restart(
    tmp_path: Path, algorithm: str, *, announced: bool
) -> None:
    with served(tmp_path) as (client, _):
        repo = client.at("re/start")
        where = repo.begin(f"?digest-algorithm={algorithm}" if announced else "")
        repo("PATCH", where, BODY[:1000])
        untouched = repo.begin()
    with served(tmp_path) as (client, _):
        repo = client.at("re/start")
        assert repo("GET", where)["Range"] == "0-999"
        assert repo("PATCH", where, BODY[9:], {"Content-Range": f"9-{len(BODY) - 1}"}).status == 416
        assert repo("PATCH", where, BODY[1000:5000], {"Content-Range": "1000-4999"}).status == 202
        name = digest(BODY, algorithm)
        assert repo("PUT", f"{where}?digest={name}", BODY[5000:]).status == 201
        assert repo("GET", f"blobs/{name}").body == BODY
        assert repo("PUT", f"{untouched}?digest={digest(b'x')}", b"x").status == 201


def test_everything_pushed_is_there_after_a_restart(tmp_path: Path) -> None:
    with served(tmp_path) as (client, _):
        pushed = client.at("re/start").push_image("v1", "x")
    with served(tmp_path) as (client, _):
        repo = client.at("re/start")
        found = repo("GET", "manifests/v1")
        assert found["Docker-Content-Digest"] == pushed["digest"]
        for child in [found.json["config"], *found.json["layers"]]:
            assert digest(repo("GET", f"blobs/{child['digest']}").body) == child["digest"]


def test_two_servers_never_share_a_directory(tmp_path: Path) -> None:
    with served(tmp_path):
        with pytest.raises(StorageError) as caught, served(tmp_path):
            pytest.fail("both run")
    assert "another argosy server" in caught.value.summary
    assert caught.value.remedy
    with served(tmp_path):  # the lock is gone with the server
        pass


def test_health_and_metrics_tell_what_happened(tmp_path: Path) -> None:
    with served(tmp_path) as (client, _):
        assert client("GET", "/healthz").body == b"ok\n"
        repo = client.at("m/x")
        repo.push_image("v1", "x")
        repo.begin()
        repo("GET", "manifests/v1")
        repo("GET", "manifests/none")
        repo("BREW", "manifests/none")
        page = client("GET", "/metrics")
        assert page["Content-Type"].startswith("text/plain; version=0.0.4")
        text = page.body.decode()
        labels = {"route": "manifests", "method": "GET"}
        assert value(text, "argosy_http_requests_total", **labels, status="200") == 1
        assert value(text, "argosy_http_requests_total", **labels, status="404") == 1
        assert value(text, "argosy_http_request_seconds_count", **labels, status="200") == 1
        assert value(text, "argosy_http_sent_bytes_total", **labels, status="200") > 100
        assert value(text, "argosy_uploads") == 1
        assert value(text, "argosy_received_bytes_total") == len(b'{"seed":"x"}') + len(b"layer x")
        assert value(text, "argosy_storage_errors_total", kind="storage") == 0
        assert "BREW" not in text


def value(text: str, name: str, **labels: str) -> float:
    """One sample of a metrics page."""
    for line in text.splitlines():
        found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        if found and found[1] == name:
            pairs = dict(re.findall(r'(\w+)="([^"]*)"', found[2] or ""))
            if pairs == labels:
                return float(found[3])
    pytest.fail(f"no {name}{labels} in\n{text}")


@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/v1/"])
def test_other_paths_are_not_found(tmp_path: Path, path: str) -> None:
    with served(tmp_path) as (client, _):
        assert Client(client.host, client.port)("GET", path).status == 404
