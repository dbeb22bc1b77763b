"""Image archives: what is in them, old and new forms, and damaged or hostile ones."""

import asyncio
import gzip
import hashlib
import io
import json
import os
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.content import pack
from argosy.content.copy import copy
from argosy.content.graph import manifest
from argosy.content.memory import MemoryStore
from argosy.content.store import LocalFile, put_bytes
from argosy.errors import ArchiveInvalid, ArgosyError, NotFound, StorageError
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.manifest import Manifest
from argosy.model.platform import Platform
from argosy.stores.archive import read_archive, write_archive
from argosy.stores.tarball import TarMembers


def layer_tar(name: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(name)
        tar.addfile(info, io.BytesIO(name.encode()))
    return out.getvalue()


def config_of(*layers: bytes, arch: str = "amd64") -> bytes:
    ids = ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]
    return json.dumps(
        {"os": "linux", "architecture": arch, "rootfs": {"type": "layers", "diff_ids": ids}}
    ).encode()


async def image(store: MemoryStore, arch: str = "amd64") -> Descriptor:
    layers = [layer_tar("shared"), layer_tar(arch)]
    blobs = []
    for layer in layers:
        packed = gzip.compress(layer, mtime=0)
        blobs.append(await put_bytes(store, Descriptor.of(media.OCI_LAYER_GZIP, packed), packed))
    return await pack.image(store, config_of(*layers, arch=arch), blobs)


def write_tar(path: Path, members: dict[str, bytes | tuple[str, str]]) -> Path:
    """Files from bytes; ("sym" or "hard", target) for links."""
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                info.type = tarfile.SYMTYPE if content[0] == "sym" else tarfile.LNKTYPE
                info.linkname = content[1]
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def legacy(*, tags: list[str] | None = None, **changes: Any) -> dict[str, bytes | tuple[str, str]]:
    """What `docker save` before 25 writes, the second layer being a link to a shared one."""
    one, two = layer_tar("one"), layer_tar("two")
    config = config_of(one, two, one)
    item = {
        "Config": hashlib.sha256(config).hexdigest() + ".json",
        "RepoTags": tags,
        "Layers": ["aaa/layer.tar", "bbb/layer.tar", "ccc/layer.tar"],
    }
    return {
        "aaa/": b"",
        "aaa/layer.tar": one,
        "bbb/layer.tar": two,
        "ccc/layer.tar": ("sym", "../aaa/layer.tar"),
        str(item["Config"]): config,
        "manifest.json": json.dumps([{**item, **changes}]).encode(),
        "repositories": b"{}",
    }


@pytest.mark.parametrize("docker", [False, True])
async def test_the_same_content_gives_the_same_bytes(tmp_path: Path, docker: bool) -> None:
    src = MemoryStore()
    root = await pack.index(src, [await image(src), await image(src, "arm64")])
    await src.tag(root, "v1")
    await pack.artifact(src, "x/sbom", [], subject=root)
    for name, jobs in (("a", 1), ("b", 8)):
        async with write_archive(str(tmp_path / name), docker=docker) as store:
            await copy(src, "v1", store, "reg.example/x:v1", jobs=jobs, referrers=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with tarfile.open(tmp_path / "a") as tar:
        assert all(m.mtime == m.uid == m.gid == 0 and not m.uname for m in tar)
        blobs = [m.name for m in tar if m.name.startswith("blobs/sha256/")]
        assert blobs == sorted(set(blobs))


async def test_several_names_and_images_share_layers(tmp_path: Path) -> None:
    src = MemoryStore()
    first, second = await image(src), await image(src, "arm64")
    await src.tag(first, "a")
    await src.tag(second, "b")
    path = str(tmp_path / "two.tar")
    async with write_archive(path, docker=True) as store:
        await copy(src, "a", store, "reg.example/app:1")
        await copy(src, "a", store, "reg.example/app:latest")
        await copy(src, "b", store, "debian")
    with tarfile.open(path) as tar:
        listed = tar.extractfile("manifest.json")
        assert listed is not None
        items = json.load(listed)
        assert len([m for m in tar if m.name.startswith("blobs/sha256/")]) == 7
    assert [item["RepoTags"] for item in items] == [
        ["docker.io/library/debian:latest"],
        ["reg.example/app:1", "reg.example/app:latest"],
    ]
    async with read_archive(path) as source:
        assert [t async for t in source.tags()] == [
            "docker.io/library/debian:latest",
            "reg.example/app:1",
            "reg.example/app:latest",
        ]
        assert await source.resolve("debian") == second
        assert await source.resolve("reg.example/app") == first


async def test_manifest_json_has_the_image_of_this_machine_and_no_artifacts(
    tmp_path: Path,
) -> None:
    src = MemoryStore()
    other = "arm64" if Platform.host().architecture == "amd64" else "amd64"
    images = [await image(src, other), await image(src, Platform.host().architecture)]
    root = await pack.index(src, images)
    await src.tag(root, "v1")
    await pack.artifact(src, "x/sbom", [], subject=root)
    path = tmp_path / "x.tar"
    async with write_archive(str(path), docker=True) as store:
        await copy(src, "v1", store, "app:v1", referrers=True)
    with tarfile.open(path) as tar:
        file = tar.extractfile("manifest.json")
        assert file is not None
        (item,) = json.load(file)
    view = await manifest(src, images[1])
    assert isinstance(view, Manifest)
    assert item["Config"] == f"blobs/sha256/{view.config.digest.hex}"
    assert item["Layers"] == [f"blobs/sha256/{layer.digest.hex}" for layer in view.layers]


async def test_a_failure_inside_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_text("old")
    src = MemoryStore()
    await src.tag(await image(src), "v1")
    with pytest.raises(RuntimeError):
        async with write_archive(str(path)) as store:
            await copy(src, "v1", store)
            raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.tar"]


async def test_a_cancelled_write_leaves_nothing(tmp_path: Path) -> None:
    src = MemoryStore()
    await src.tag(await image(src), "v1")
    begun = asyncio.Event()

    async def write() -> None:
        async with write_archive(str(tmp_path / "x.tar")) as store:
            await copy(src, "v1", store)
            begun.set()
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(write())
        await begun.wait()
        task.cancel()
    assert os.listdir(tmp_path) == []


async def test_nothing_put_is_nothing_written(tmp_path: Path) -> None:
    async with write_archive(str(tmp_path / "x.tar")):
        pass
    assert os.listdir(tmp_path) == []


async def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        async with write_archive(str(tmp_path / "no" / "x.tar")):
            pass


async def test_a_pipe_can_be_written_and_read(tmp_path: Path) -> None:
    src, back = MemoryStore(), MemoryStore()
    root = await image(src)
    await src.tag(root, "v1")
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)

    async def write() -> None:
        async with write_archive(pipe) as store:
            await copy(src, "v1", store)

    async def read() -> None:
        async with read_archive(pipe) as source:
            await copy(source, "v1", back)

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        group.create_task(read())
    assert await back.resolve("v1") == root


async def test_old_docker_save_is_read_with_links_and_shared_layers(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "old.tar", legacy(tags=["app:1", "reg.example/app:1"]))
    dst = MemoryStore()
    async with read_archive(str(path)) as source:
        assert [t async for t in source.tags()] == [
            "docker.io/library/app:1",
            "reg.example/app:1",
        ]
        root = await copy(source, "app:1", dst, "v1")
        assert await source.resolve("") == root
        view = await manifest(source, root)
        assert isinstance(view, Manifest)
        async with source.open(view.layers[0], start=512) as body:
            assert isinstance(body, LocalFile)
            assert b"".join([p async for p in body]) == layer_tar("one")[512:]
    assert root.media_type == media.OCI_MANIFEST
    assert [layer.digest.hex for layer in view.layers] == [
        hashlib.sha256(layer_tar(name)).hexdigest() for name in ("one", "two", "one")
    ]


async def test_compressed_layers_in_a_docker_archive_are_named_by_what_they_are(
    tmp_path: Path,
) -> None:
    members = legacy(tags=["app:1"])
    packed = gzip.compress(layer_tar("two"))
    path = write_tar(tmp_path / "x.tar", {**members, "bbb/layer.tar": packed})
    async with read_archive(str(path)) as source:
        view = await manifest(source, await source.resolve("app:1"))
        await copy(source, "app:1", MemoryStore(), "v1")
    assert isinstance(view, Manifest)
    assert view.layers[1].media_type == media.OCI_LAYER_GZIP
    assert view.layers[1].digest.hex == hashlib.sha256(packed).hexdigest()


async def test_without_a_tag_the_only_image_is_found(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", legacy(tags=None))
    async with read_archive(str(path)) as source:
        assert (await source.resolve("")).media_type == media.OCI_MANIFEST
        assert [t async for t in source.tags()] == []


async def test_a_gzipped_archive_is_read(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", legacy(tags=["app:1"]))
    packed = tmp_path / "x.tar.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    async with read_archive(str(packed)) as source:
        await copy(source, "app:1", MemoryStore(), "v1")
    assert sorted(os.listdir(tmp_path)) == ["x.tar", "x.tar.gz"]


async def test_new_docker_save_is_read_as_the_layout_it_is(tmp_path: Path) -> None:
    """The names are full ones, though every image has the short name `latest`."""
    src = MemoryStore()
    first, second = await image(src), await image(src, "arm64")
    await src.tag(first, "a")
    await src.tag(second, "b")
    path = str(tmp_path / "x.tar")
    async with write_archive(path, docker=True) as store:
        await copy(src, "a", store, "one:latest")
        await copy(src, "b", store, "two:latest")
    async with read_archive(path) as source:
        assert await source.resolve("one:latest") == first
        assert await source.resolve("two") == second
        with pytest.raises(NotFound):
            await source.resolve("latest")


async def test_docker_25_wrote_manifests_without_layers_and_is_read_all_the_same(
    tmp_path: Path,
) -> None:
    one = layer_tar("one")
    config = config_of(one)
    empty = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media.OCI_MANIFEST,
            "config": Descriptor.of(media.OCI_CONFIG, config).to_json(),
            "layers": [],
        }
    ).encode()
    listed = Descriptor.of(
        media.OCI_MANIFEST,
        empty,
        annotations={
            media.IMAGE_NAME: "docker.io/library/app:1",
            media.REF_NAME: "1",
        },
    )
    blobs = {
        f"blobs/sha256/{hashlib.sha256(body).hexdigest()}": body for body in (one, config, empty)
    }
    names = list(blobs)
    path = write_tar(
        tmp_path / "x.tar",
        {
            **blobs,
            "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
            "index.json": json.dumps(
                {"schemaVersion": 2, "manifests": [listed.to_json()]}
            ).encode(),
            "manifest.json": json.dumps(
                [{"Config": names[1], "RepoTags": ["app:1"], "Layers": [names[0]]}]
            ).encode(),
        },
    )
    async with read_archive(str(path)) as source:
        view = await manifest(source, await source.resolve("app:1"))
    assert isinstance(view, Manifest)
    assert [layer.digest.hex for layer in view.layers] == [hashlib.sha256(one).hexdigest()]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"Config": "gone.json"}, "is not in the archive"),
        ({"Config": None}, "is not in the archive"),
        ({"Config": "manifest.json"}, "cannot be read"),
        ({"Layers": ["aaa/layer.tar"]}, "as many layers"),
        (
            {"Layers": ["aaa/layer.tar", "bbb/layer.tar", "../../etc/passwd"]},
            "is not in the archive",
        ),
        ({"Layers": 7}, "as many layers"),
        ({"RepoTags": ["UPPER CASE"]}, "is not an image reference"),
        ({"RepoTags": "app"}, "list of text"),
    ],
)
async def test_a_manifest_json_that_is_wrong_says_why(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    path = write_tar(tmp_path / "x.tar", legacy(**changes))
    with pytest.raises(ArchiveInvalid, match=r"manifest\.json of") as caught:
        async with read_archive(str(path)):
            pass
    assert why in caught.value.why


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ({"readme": b"hello"}, "holds no image"),
        ({"manifest.json": b"{"}, "cannot be used"),
        ({"manifest.json": b"{}"}, "cannot be used"),
        ({"manifest.json": b"[1]"}, "cannot be used"),
        ({"index.json": b"[]"}, "cannot be read"),
        ({"index.json": b'{"manifests":[]}', "oci-layout": b"{}"}, "cannot be read"),
        ({"manifest.json": ("sym", "manifest.json")}, "holds no image"),
        ({"manifest.json": ("sym", "/etc/passwd")}, "holds no image"),
        ({"manifest.json": ("hard", "../../../etc/passwd")}, "holds no image"),
    ],
)
async def test_what_is_no_image_archive_is_refused(
    tmp_path: Path, members: dict[str, Any], what: str
) -> None:
    path = write_tar(tmp_path / "x.tar", members)
    with pytest.raises(ArgosyError, match=what):
        async with read_archive(str(path)):
            pass


async def test_absolute_and_climbing_names_are_only_keys(tmp_path: Path) -> None:
    members = {f"/../../{name}": body for name, body in legacy(tags=["app:1"]).items()}
    members["/../../ccc/layer.tar"] = ("sym", "../../../../aaa/layer.tar")
    path = write_tar(tmp_path / "x.tar", members)
    async with read_archive(str(path)) as source:
        await copy(source, "app:1", MemoryStore(), "v1")
    assert os.listdir(tmp_path) == ["x.tar"]


async def test_an_archive_cut_short_anywhere_is_refused_or_found_out(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "x.tar", legacy(tags=["app:1"])).read_bytes()
    short = tmp_path / "short.tar"
    end = len(whole.rstrip(b"\0"))
    for size in range(0, end, 509):
        short.write_bytes(whole[:size])
        with pytest.raises(ArgosyError):
            async with read_archive(str(short)) as source:
                await copy(source, "app:1", MemoryStore(), "v1")


@given(place=st.integers(0, 1 << 20), value=st.integers(0, 255))
@settings(max_examples=150, deadline=None)
async def test_a_changed_byte_is_harmless_or_an_argosy_error(
    place: int, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("changed")
    path = write_tar(folder / "x.tar", legacy(tags=["app:1"]))
    whole = bytearray(path.read_bytes())
    whole[place % len(whole)] = value
    path.write_bytes(whole)
    try:
        async with read_archive(str(path)) as source:
            await copy(source, "app:1", MemoryStore(), "v1")
    except ArgosyError:
        pass


@given(st.binary(max_size=3000))
@settings(max_examples=100, deadline=None)
def test_the_table_of_contents_survives_any_bytes(data: bytes) -> None:
    with suppress(ArgosyError):
        TarMembers.scan(io.BytesIO(data), "x")


async def test_a_damaged_gzip_and_a_missing_file_are_clear(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(b"x" * 100_000)[:-30])
    with pytest.raises(ArchiveInvalid, match="damaged gzip"):
        async with read_archive(str(path)):
            pass
    with pytest.raises(NotFound, match="no archive"):
        async with read_archive(str(tmp_path / "absent")):
            pass


async def test_members_that_claim_impossible_sizes_are_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("manifest.json")
    info.size = 1 << 62
    path = tmp_path / "x.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"[]" + bytes(2000))
    with pytest.raises(ArchiveInvalid):
        async with read_archive(str(path)):
            pass
