"""The load driver finds what it is there to find: what is lost, what is corrupt, what lies."""

import os

from bench.traffic import Plan, Traffic
from tests.serving import Client, Serving, served


def loaded(client: Client) -> Traffic:
    traffic = Traffic(Plan(address=(client.host, client.port), clients=4, sizes=(100, 100_000)))
    with traffic.running():
        traffic.more(pushes=12, pulls=12)
    return traffic


def test_a_sound_registry_loses_nothing_and_lies_never(tmp_path):
    with served(tmp_path) as (client, _serving):
        counts = loaded(client).verify()
    assert (counts.lost, counts.corrupt, counts.failed, counts.dishonest) == (0, 0, 0, [])


def test_an_image_that_is_gone_and_a_tag_that_went_back_are_lost(tmp_path):
    with served(tmp_path) as (client, _serving):
        traffic = loaded(client)
        image = traffic._images[0]
        tags = [t for t in traffic._tags if t[0] == image.repository]
        for _, tag in tags:
            client.at(image.repository)("DELETE", f"manifests/{tag}")
        assert traffic.verify().lost >= 1


def test_changed_bytes_are_corrupt(tmp_path):
    with served(tmp_path) as (client, serving):
        traffic = loaded(client)
        digest = max((d for i in traffic._images for d in i.blobs), key=lambda d: _size(serving, d))
        path = _path(serving, digest)
        with open(path, "r+b") as file:
            file.write(b"\0" * 64)
        assert traffic.verify().corrupt >= 1


def _path(serving: Serving, digest: str) -> str:
    name = digest.removeprefix("sha256:")
    return os.path.join(serving.app.store.root, "blobs", "sha256", name[:2], name)


def _size(serving: Serving, digest: str) -> int:
    return os.path.getsize(_path(serving, digest))
