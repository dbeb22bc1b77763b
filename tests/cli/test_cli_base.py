"""base: its words become a BaseSpec, the result is named, told and pushed."""

from typing import Any

import pytest

from argosy.build.base_images.maker import BaseSpec
from argosy.content.store import Store, put_bytes
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.manifest import dump

from .conftest import Argosy


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[BaseSpec]:
    """The specs asked for; a tiny image stands for the hour of work behind each."""
    asked: list[BaseSpec] = []

    async def make_base(spec: BaseSpec, *, images: Store, **_more: Any) -> Descriptor:
        asked.append(spec)
        config = dump({"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": []}})
        held = await put_bytes(images, Descriptor.of(media.OCI_CONFIG, config), config)
        body = dump(
            {
                "schemaVersion": 2,
                "mediaType": media.OCI_MANIFEST,
                "config": held.to_json(),
                "layers": [],
            }
        )
        desc = await put_bytes(images, Descriptor.of(media.OCI_MANIFEST, body), body)
        for tag in spec.tags:
            await images.tag(desc, tag)
        return desc

    monkeypatch.setattr("argosy.build.base_images.maker.make_base", make_base)
    return asked


def test_its_words_become_what_is_made(argosy: Argosy, made: list[BaseSpec]) -> None:
    words = ["--platform", "linux/amd64,linux/arm64", "--include", "curl,git", "--include", "jq"]
    said = argosy(
        "base", "debian:bookworm", *words, "--refresh", "-t", "x", "-t", "host.example/y:1"
    )
    assert said.code == 0, said.err
    (spec,) = made
    assert (spec.what, spec.packages, spec.refresh) == (
        "debian:bookworm",
        ("curl", "git", "jq"),
        True,
    )
    assert [str(p) for p in spec.platforms] == ["linux/amd64", "linux/arm64"]
    assert spec.tags == ("docker.io/library/x:latest", "host.example/y:1")
    assert [line.partition("@")[0] for line in said.out.splitlines()] == list(spec.tags)


def test_push_sends_it_to_its_registry(argosy: Argosy, made: list[BaseSpec], host: str) -> None:
    name = f"{host}/cli/base:v1"
    said = argosy("base", "debian:bookworm", "-t", name, "--push", "--json")
    assert said.json["names"] == [name]
    assert argosy("digest", name).out.strip() == said.json["digest"]


def test_without_a_name_nothing_is_made(argosy: Argosy, made: list[BaseSpec]) -> None:
    assert argosy("base", "debian:bookworm").code == 2
    assert made == []
