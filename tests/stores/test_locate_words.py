"""Locations: what the words mean, and what they open."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.content import pack
from argosy.content.copy import copy
from argosy.content.memory import MemoryStore
from argosy.content.store import Store
from argosy.errors import ArgosyError, InvalidDigest, InvalidReference, UsageError
from argosy.model.reference import Reference
from argosy.stores.locate import open_source, open_store, parse_location

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "transport", "path", "ref"),
    [
        ("debian", "docker", "", "latest"),
        ("docker://debian:12", "docker", "", "12"),
        (f"localhost:5000/a/b@{DIGEST}", "docker", "", DIGEST),
        ("oci:dir", "oci", "dir", ""),
        ("oci:/a/b:v1", "oci", "/a/b", "v1"),
        ("oci:./x:registry.example:5000/app:1", "oci", "./x", "registry.example:5000/app:1"),
        (f"oci:dir@{DIGEST}", "oci", "dir", DIGEST),
        (f"oci:dir:v1@{DIGEST}", "oci", "dir", DIGEST),
        ("oci:a@b:v1", "oci", "a@b", "v1"),
        ("oci-archive:x.tar:v1", "oci-archive", "x.tar", "v1"),
        ("docker-archive:/dev/stdin", "docker-archive", "/dev/stdin", ""),
        ("docker-archive:x.tar:app:1", "docker-archive", "x.tar", "app:1"),
        ("oci/image:1", "docker", "", "1"),
        ("docker://dir:1", "docker", "", "1"),
    ],
)
def test_a_location_is_read_as_skopeo_reads_it(
    text: str, transport: str, path: str, ref: str
) -> None:
    location = parse_location(text)
    assert (location.transport, location.path, location.ref) == (transport, path, ref)
    assert location.is_local == (transport != "docker")
    assert parse_location(str(location)) == location


def test_the_home_directory_is_meant_by_a_tilde() -> None:
    assert parse_location("oci:~/x").path == os.path.expanduser("~/x")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("oci:", UsageError),
        ("oci::v1", UsageError),
        ("oci:dir@sha256:abc", InvalidDigest),
        ("containers-storage:x", UsageError),
        ("docker-daemon:x:1", UsageError),
        ("https://registry.example/x", UsageError),
        ("UPPER", InvalidReference),
        ("", InvalidReference),
    ],
)
def test_what_cannot_be_meant_says_why(text: str, error: type[ArgosyError]) -> None:
    with pytest.raises(error) as caught:
        parse_location(text)
    assert caught.value.remedy


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_our_error(text: str) -> None:
    try:
        location = parse_location(text)
    except ArgosyError:
        return
    assert parse_location(str(location)) == location or location.path.startswith("~")


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive"])
async def test_what_is_opened_to_write_can_be_opened_to_read(
    tmp_path: Path, transport: str
) -> None:
    src, back = MemoryStore(), MemoryStore()
    root = await pack.artifact(src, "x/y", [])
    await src.tag(root, "v1")
    location = parse_location(f"{transport}:{tmp_path}/x:reg.example/app:1")
    async with open_store(location) as (store, ref):
        await copy(src, "v1", store, ref)
    for again in (location, parse_location(f"{transport}:{tmp_path}/x")):
        async with open_source(again) as (source, ref):
            assert await copy(source, ref, back, "again") == root


async def test_a_registry_is_opened_by_the_client_it_is_given() -> None:
    asked: list[Reference] = []

    class Client:
        def repository(self, reference: Reference, /) -> Store:
            asked.append(reference)
            return MemoryStore()

    location = parse_location("registry.example/app:1")
    async with open_source(location, Client()) as (_, ref):
        assert ref == "1"
    async with open_store(location, Client()) as (_, ref):
        assert ref == "1"
    assert [r.locator for r in asked] == ["registry.example/app"] * 2
    with pytest.raises(UsageError):
        async with open_source(location):
            pass


async def test_a_local_digest_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        async with open_store(parse_location(f"oci:{tmp_path}@{DIGEST}")):
            pass
