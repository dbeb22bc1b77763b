"""Layouts and archives between Argosy and the tools of the field, both ways, byte for byte."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy.content.copy import copy
from argosy.content.graph import manifest
from argosy.content.memory import MemoryStore
from argosy.content.select import narrowed, pick
from argosy.model.manifest import Manifest
from argosy.model.platform import Platform
from argosy.stores.layout import OCILayout
from argosy.stores.locate import open_source, open_store, parse_location
from tests.images import LayoutWriter, multi_platform
from tests.peers import Run, need, run

pytestmark = [pytest.mark.peer, pytest.mark.slow]

HOST = Platform.host()
NAME = "localhost/argosy/peer:v1"


@pytest.fixture
def layout(tmp_path: Path) -> OCILayout:
    """An image of two platforms with the name v1."""
    multi_platform(tmp_path / "made")
    return OCILayout(str(tmp_path / "made"))


async def write(source: OCILayout, words: str) -> str:
    async with open_store(parse_location(words)) as (store, ref):
        return (await copy(source, "v1", store, ref)).digest


async def read(words: str) -> tuple[str, MemoryStore]:
    dst = MemoryStore()
    async with open_source(parse_location(words)) as (source, ref):
        return (await copy(source, ref, dst, "v1")).digest, dst


async def host_config(source: OCILayout | MemoryStore) -> str:
    """The image ID a container engine shows: the digest of the config for this machine."""
    view = await manifest(source, await pick(source, await source.resolve("v1"), HOST))
    assert isinstance(view, Manifest)
    return view.config.digest.hex


@pytest.mark.parametrize("transport", ["oci", "oci-archive"])
async def test_skopeo_copies_all_platforms_in_and_out_unchanged(
    layout: OCILayout, tmp_path: Path, transport: str
) -> None:
    ours, theirs = f"{transport}:{tmp_path}/ours:v1", f"{transport}:{tmp_path}/theirs:v1"
    root = await write(layout, ours)
    run("skopeo", "copy", "--all", "--quiet", ours, theirs)
    digest, dst = await read(theirs)
    assert digest == root
    again = OCILayout(str(tmp_path / "again"))
    await copy(dst, "v1", again)
    raw = run("skopeo", "inspect", "--raw", f"oci:{tmp_path}/again:v1")
    assert json.loads(raw)["annotations"] == {"org.example": "kept"}


async def test_skopeo_reads_the_only_image_of_a_layout_without_a_name(
    layout: OCILayout, tmp_path: Path
) -> None:
    root = await write(layout, f"oci:{tmp_path}/ours")
    raw = run("skopeo", "inspect", "--raw", f"oci:{tmp_path}/ours")
    assert len(json.loads(raw)["manifests"]) == 2
    assert (await read(f"oci:{tmp_path}/ours"))[0] == root


async def test_skopeo_reads_our_docker_archive_and_we_read_the_one_it_writes(
    layout: OCILayout, tmp_path: Path
) -> None:
    ours, theirs = f"docker-archive:{tmp_path}/ours.tar", f"docker-archive:{tmp_path}/theirs.tar"
    root = await write(layout, f"{ours}:{NAME}")
    run("skopeo", "copy", "--quiet", f"{ours}:{NAME}", f"{theirs}:{NAME}")
    assert (await read(f"{ours}:{NAME}"))[0] == root
    _, dst = await read(f"{theirs}:{NAME}")
    assert await host_config(dst) == await host_config(layout)


async def test_umoci_lists_the_names_of_our_layout(layout: OCILayout, tmp_path: Path) -> None:
    need("umoci")
    await write(layout, f"oci:{tmp_path}/ours:v1")
    await write(layout, f"oci:{tmp_path}/ours:v2")
    assert run("umoci", "ls", "--layout", tmp_path / "ours").split() == ["v1", "v2"]


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Run]:
    """A podman with a storage of its own."""
    # It refuses a runroot of more than 50 characters, and tmp_path is longer.
    with tempfile.TemporaryDirectory(prefix="podman-") as short:
        at = ["--root", str(tmp_path / "podman"), "--runroot", short]
        at += ["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]
        yield lambda *words, **more: run("podman", *at, *words, **more)


@pytest.mark.root
@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive"])
async def test_podman_loads_what_we_write_and_we_read_what_it_saves(
    layout: OCILayout, tmp_path: Path, podman: Run, transport: str
) -> None:
    await write(layout, f"{transport}:{tmp_path}/ours.tar:{NAME}")
    assert NAME in podman("load", "-i", tmp_path / "ours.tar")
    shown = podman("image", "inspect", NAME, "--format", "{{.Id}} {{.Architecture}}").split()
    assert shown == [await host_config(layout), HOST.architecture]
    podman("save", "--format", transport, "-o", tmp_path / "theirs.tar", NAME)
    _, dst = await read(f"{transport}:{tmp_path}/theirs.tar")
    assert await host_config(dst) == await host_config(layout)


@pytest.mark.root
async def test_docker_loads_what_we_write_and_we_read_what_it_saves(
    layout: OCILayout, tmp_path: Path, dockerd: Run
) -> None:
    """Two names, and two images that share a layer."""
    other = LayoutWriter(tmp_path / "other")
    other.tag(other.image(HOST.architecture, [{"shared.txt": b"ahoy\n"}, {"b": b"2"}]), "v1")
    second = OCILayout(str(tmp_path / "other"))
    async with open_store(parse_location(f"docker-archive:{tmp_path}/ours.tar")) as (store, _):
        await copy(layout, "v1", store, NAME)
        await copy(layout, "v1", store, "argosy-two")
        await copy(second, "v1", store, "localhost/argosy/other:v1")
    said = dockerd("load", "-i", tmp_path / "ours.tar")
    for name in (NAME, "argosy-two:latest", "localhost/argosy/other:v1"):
        assert f"Loaded image: {name}" in said
    images = {NAME: layout, "argosy-two:latest": layout, "localhost/argosy/other:v1": second}
    for name, source in images.items():
        shown = dockerd("image", "inspect", name, "--format", "{{.Id}}").strip()
        assert shown == "sha256:" + await host_config(source)
    dockerd("save", "-o", tmp_path / "theirs.tar", *images)
    for name, source in images.items():
        _, dst = await read(f"docker-archive:{tmp_path}/theirs.tar:{name}")
        assert await host_config(dst) == await host_config(source)
    with pytest.raises(Exception, match="2 images"):
        await read(f"docker-archive:{tmp_path}/theirs.tar")


async def test_one_platform_of_an_archive_is_what_skopeo_sees(
    layout: OCILayout, tmp_path: Path
) -> None:
    other = "arm64" if HOST.architecture == "amd64" else "amd64"
    source, ref = await narrowed(layout, "v1", [Platform.parse(f"linux/{other}")])
    words = f"oci-archive:{tmp_path}/one.tar:v1"
    async with open_store(parse_location(words)) as (store, name):
        await copy(source, ref, store, name)
    raw = run("skopeo", "inspect", "--config", "--override-arch", other, words)
    assert json.loads(raw)["architecture"] == other
