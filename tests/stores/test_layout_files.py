"""The OCI layout as files: what other tools find in it, and several writers at once."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from argosy.content import pack
from argosy.content.copy import copy
from argosy.content.memory import MemoryStore
from argosy.content.store import BytesBody, LocalFile, put_bytes
from argosy.errors import (
    CopyError,
    DigestMismatch,
    ManifestInvalid,
    NotFound,
    StorageError,
)
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.stores.incoming import INCOMING
from argosy.stores.layout import OCILayout


async def image(store: OCILayout | MemoryStore, name: str) -> Descriptor:
    body = name.encode() * 50
    blob = await put_bytes(store, Descriptor.of("x/y", body), body)
    return await pack.artifact(store, "x/z", [blob], annotations={"name": name})


def index_json(path: Path) -> list[dict[str, object]]:
    value = json.loads((path / "index.json").read_text())
    assert value["schemaVersion"] == 2
    return list(value["manifests"])


async def test_it_has_the_files_of_the_specification(tmp_path: Path) -> None:
    store = OCILayout(str(tmp_path / "new/layout"))
    desc = await image(store, "a")
    await store.tag(desc, "v1")
    at = tmp_path / "new/layout"
    assert json.loads((at / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = index_json(at)
    assert entry["digest"] == desc.digest
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "v1"}
    for path in (at / "blobs/sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
        assert path.stat().st_mode & 0o777 == 0o644
    assert sorted(os.listdir(at)) == ["blobs", "index.json", "oci-layout"]
    assert os.listdir(at / "blobs") == ["sha256"]


async def test_reading_creates_nothing(tmp_path: Path) -> None:
    store = OCILayout(str(tmp_path / "absent"))
    with pytest.raises(NotFound, match="no image 'v1'") as caught:
        await store.resolve("v1")
    assert caught.value.why == "there is no OCI layout"
    assert not await store.exists(Descriptor.of("x/y", b"1"))
    assert [t async for t in store.tags()] == []
    with pytest.raises(NotFound):
        await store.delete("v1")
    assert not (tmp_path / "absent").exists()


async def test_names_may_be_full_references(tmp_path: Path) -> None:
    store = OCILayout(str(tmp_path))
    desc = await image(store, "a")
    name = "registry.example:5000/team/app:1.0"
    await store.tag(desc, name)
    assert await store.resolve(name) == desc
    await store.tag(desc, "docker.io/library/debian:latest")
    assert await store.resolve("debian") == desc


async def test_a_manifest_pushed_without_a_name_is_listed_once_and_then_named(
    tmp_path: Path,
) -> None:
    src, store = MemoryStore(), OCILayout(str(tmp_path))
    desc = await image(src, "a")
    await src.tag(desc, "v1")
    await copy(src, "v1", store, "")
    assert "annotations" not in index_json(tmp_path)[0]
    assert await store.resolve("") == desc
    await store.pin(desc)
    assert len(index_json(tmp_path)) == 1
    await store.tag(desc, "v1")
    await store.pin(desc)
    assert [e.get("annotations") for e in index_json(tmp_path)] == [{media.REF_NAME: "v1"}]


async def test_the_only_image_needs_no_name_and_several_are_listed(tmp_path: Path) -> None:
    store = OCILayout(str(tmp_path))
    first = await image(store, "a")
    await store.tag(first, "v1")
    await store.tag(first, "v1.0")
    await pack.artifact(store, "x/signature", [], subject=first)  # a referrer is no image
    assert await store.resolve("") == first
    await store.tag(await image(store, "b"), "v2")
    with pytest.raises(NotFound, match="2 images") as caught:
        await store.resolve("")
    assert caught.value.why == "it has: v1, v1.0, v2"


async def test_what_others_wrote_is_understood_and_kept(tmp_path: Path) -> None:
    """Unknown fields, foreign annotations, and containerd's full names."""
    store = OCILayout(str(tmp_path))
    desc = await image(store, "a")
    await store.tag(desc, "old")
    value = json.loads((tmp_path / "index.json").read_text())
    value["annotations"] = {"made": "elsewhere"}
    value["manifests"][0]["annotations"] = {
        media.IMAGE_NAME: "docker.io/library/app:latest",
        media.REF_NAME: "latest",
        "x": "y",
    }
    (tmp_path / "index.json").write_text(json.dumps(value, indent=2))
    for ref in ("app", "docker.io/library/app:latest", "latest", ""):
        found = await store.resolve(ref)
        assert found == desc
        assert found.annotations == {"x": "y"}
    assert [t async for t in store.tags()] == ["docker.io/library/app:latest"]
    await store.tag(desc, "mine")
    after = json.loads((tmp_path / "index.json").read_text())
    assert after["annotations"] == {"made": "elsewhere"}
    assert after["manifests"][0] == value["manifests"][0]


@pytest.mark.parametrize(
    "body", ["", "{", "[]", '{"manifests": 1}', '{"manifests": [1]}', "[" * 100_000]
)
async def test_a_broken_index_json_is_named(tmp_path: Path, body: str) -> None:
    (tmp_path / "index.json").write_text(body)
    with pytest.raises(ManifestInvalid, match=r"index\.json of"):
        await OCILayout(str(tmp_path)).resolve("v1")


async def test_a_broken_entry_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    entry = {"digest": "sha256:xyz", "size": -1, "annotations": {media.REF_NAME: "v1"}}
    (tmp_path / "index.json").write_text(json.dumps({"manifests": [entry]}))
    with pytest.raises(ManifestInvalid):
        await OCILayout(str(tmp_path)).resolve("v1")


async def test_a_layout_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion": "2.0.0"}')
    (tmp_path / "index.json").write_text('{"manifests": []}')
    with pytest.raises(ManifestInvalid, match=r"version '2.0.0'"):
        await OCILayout(str(tmp_path)).resolve("v1")


async def test_a_listed_manifest_that_is_missing_is_said_to_be(tmp_path: Path) -> None:
    store = OCILayout(str(tmp_path))
    desc = await image(store, "a")
    await store.tag(desc, "v1")
    os.unlink(store.blob_path(desc.digest))
    with pytest.raises(NotFound) as caught:
        await store.resolve("v1")
    assert "those bytes are missing" in caught.value.why


async def test_a_blob_cut_short_is_not_there_and_is_put_again(tmp_path: Path) -> None:
    store = OCILayout(str(tmp_path))
    desc = await put_bytes(store, Descriptor.of("x/y", b"whole"), b"whole")
    Path(store.blob_path(desc.digest)).write_bytes(b"who")
    assert not await store.exists(desc)
    await put_bytes(store, desc, b"whole")
    assert Path(store.blob_path(desc.digest)).read_bytes() == b"whole"


async def test_refused_bytes_leave_no_file(tmp_path: Path) -> None:
    store = OCILayout(str(tmp_path))
    with pytest.raises(DigestMismatch):
        await store.put(Descriptor.of("x/y", b"12345"), BytesBody(b"54321"))
    assert list((tmp_path / "blobs/sha256").iterdir()) == []
    assert os.listdir(tmp_path / "blobs") == ["sha256"]


async def test_unfinished_files_of_the_dead_are_removed_and_of_the_living_not(
    tmp_path: Path,
) -> None:
    await put_bytes(OCILayout(str(tmp_path)), Descriptor.of("x/y", b"1"), b"1")
    old, young = (tmp_path / "blobs" / f"{INCOMING}{n}" for n in ("old", "young"))
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    await put_bytes(OCILayout(str(tmp_path)), Descriptor.of("x/y", b"2"), b"2")
    assert not old.exists()
    assert young.exists()


async def test_what_is_open_is_a_local_file(tmp_path: Path) -> None:
    store = OCILayout(str(tmp_path))
    desc = await put_bytes(store, Descriptor.of("x/y", b"0123456789"), b"0123456789")
    async with store.open(desc, start=4) as body:
        assert isinstance(body, LocalFile)
        assert Path(body.path).read_bytes()[body.start :] == b"456789"
        assert b"".join([p async for p in body]) == b"456789"


async def test_a_directory_that_cannot_be_written_is_an_error_with_a_remedy(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("not a directory")
    store = OCILayout(str(tmp_path / "file" / "layout"))
    with pytest.raises(StorageError, match="cannot write to"):
        await put_bytes(store, Descriptor.of("x/y", b"1"), b"1")


async def test_a_full_disk_is_no_space_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from argosy.errors import NoSpace
    from argosy.stores import incoming

    def full(_fd: int, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = OCILayout(str(tmp_path))
    await put_bytes(store, Descriptor.of("x/y", b"1"), b"1")
    monkeypatch.setattr(incoming, "_write_all", full)
    with pytest.raises(NoSpace) as caught:
        await put_bytes(store, Descriptor.of("x/y", b"22"), b"22")
    assert "free some space" in caught.value.remedy
    assert os.listdir(tmp_path / "blobs") == ["sha256"]


async def test_index_json_is_parsed_again_only_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from argosy.stores.layout_index import LayoutIndex

    store, other = OCILayout(str(tmp_path)), OCILayout(str(tmp_path))
    desc = await image(store, "a")
    await store.tag(desc, "v1")
    parsed: list[str] = []
    real = LayoutIndex.parse.__func__  # type: ignore[attr-defined]

    def counting(_cls: type[LayoutIndex], body: bytes, where: str) -> LayoutIndex:
        parsed.append(where)
        result: LayoutIndex = real(LayoutIndex, body, where)
        return result

    monkeypatch.setattr(LayoutIndex, "parse", classmethod(counting))
    for _ in range(5):
        await store.resolve("v1")
    assert len(parsed) <= 1
    parsed.clear()
    await other.tag(desc, "v2")
    parsed.clear()
    assert await store.resolve("v2") == desc
    assert len(parsed) == 1


async def test_thousands_of_names_stay_fast(tmp_path: Path) -> None:
    store = OCILayout(str(tmp_path))
    desc = await image(store, "a")
    await store.tag(desc, "v0")
    value = json.loads((tmp_path / "index.json").read_text())
    value["manifests"] = [
        {**value["manifests"][0], "annotations": {media.REF_NAME: f"registry.example/app:{n}"}}
        for n in range(5000)
    ]
    (tmp_path / "index.json").write_text(json.dumps(value))
    begin = time.process_time()
    for n in range(200):
        assert await store.resolve(f"registry.example/app:{n}") == desc
    assert time.process_time() - begin < 1.0, "a lookup among 5000 names takes too long"


_WRITER = """
import asyncio, sys
from argosy.content import pack
from argosy.content.store import put_bytes
from argosy.model.descriptor import Descriptor
from argosy.stores.layout import OCILayout

async def main(path, name, count):
    store = OCILayout(path)
    for n in range(count):
        body = f"{name} {n}".encode() * 20_000
        blob = await put_bytes(store, Descriptor.of("x/y", body), body)
        empty = await pack.artifact(store, "x/z", [blob], annotations={"n": f"{name} {n}"})
        await store.tag(empty, f"{name}-{n}")
        await store.tag(empty, "latest")

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


async def test_processes_writing_at_once_lose_no_name(tmp_path: Path) -> None:
    running = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", _WRITER, str(tmp_path), f"writer{n}", "15"
        )
        for n in range(3)
    ]
    assert [await process.wait() for process in running] == [0, 0, 0]
    names = [t async for t in OCILayout(str(tmp_path)).tags()]
    assert names == sorted(["latest", *(f"writer{w}-{n}" for w in range(3) for n in range(15))])


def check_layout(path: Path) -> int:
    """Everything visible is right: headers, names, and everything below every name."""
    for blob in (path / "blobs").glob("sha*/*"):
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name, "a corrupt blob"
    if not (path / "oci-layout").exists():
        return 0
    entries = index_json(path)
    for entry in entries:
        manifest = json.loads((path / "blobs/sha256" / str(entry["digest"])[7:]).read_bytes())
        for child in [manifest["config"], *manifest["layers"]]:
            file = path / "blobs/sha256" / child["digest"][7:]
            assert file.stat().st_size == child["size"], "a name on missing content"
    return len(entries)


@pytest.mark.slow
async def test_killed_at_any_moment_it_stays_valid_and_needs_no_repair(tmp_path: Path) -> None:
    """kill -9, sixty times, at moments spread over the writer's life."""
    grew = 0
    for round_ in range(60):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path), f"round{round_}", "1000"],
            stderr=subprocess.DEVNULL,
        )
        before = len(list((tmp_path / "blobs/sha256").glob("*"))) if round_ else 0
        deadline = time.monotonic() + 20
        while (
            not (tmp_path / "blobs/sha256").is_dir()
            or len(list((tmp_path / "blobs/sha256").glob("*"))) <= before
        ) and time.monotonic() < deadline:
            await asyncio.sleep(0.002)  # until it writes
        await asyncio.sleep((round_ * 37 % 60) / 1000)
        process.kill()
        process.wait()
        grew = check_layout(tmp_path)
    assert grew > 60, "the writer hardly got to write"
    store = OCILayout(str(tmp_path))
    latest = await store.resolve("latest")
    await copy(store, latest.digest, MemoryStore())
    await store.tag(latest, "after")
    assert await store.resolve("after") == latest


async def test_a_damaged_blob_is_found_when_it_is_copied(tmp_path: Path) -> None:
    store = OCILayout(str(tmp_path))
    desc = await image(store, "a")
    await store.tag(desc, "v1")
    from argosy.content.graph import manifest

    layer = (await manifest(store, desc)).children[1]
    Path(store.blob_path(layer.digest)).write_bytes(b"?" * layer.size)
    with pytest.raises(CopyError) as caught:
        await copy(store, "v1", OCILayout(str(tmp_path / "other")))
    assert caught.value.side == "source"
    assert caught.value.cause.evidence["expected"] == layer.digest
    assert "actual" in caught.value.cause.evidence


async def test_a_manifest_above_the_limit_is_not_read_as_one(tmp_path: Path) -> None:
    store = OCILayout(str(tmp_path))
    body = b'{"schemaVersion":2,"manifests":[],"x":"' + b"y" * (17 << 20) + b'"}'
    desc = await put_bytes(store, Descriptor.of("x/y", body), body)
    with pytest.raises(NotFound):
        await store.resolve(Digest(desc.digest))


async def test_a_file_that_was_hashed_already_is_taken_over_without_reading_it(
    tmp_path: Path,
) -> None:
    store = OCILayout(str(tmp_path / "layout"))
    file = tmp_path / "file"
    file.write_bytes(b"layer")
    inode = file.stat().st_ino
    desc = Descriptor.of(media.OCI_LAYER, b"layer")
    assert await store.adopt(desc, str(file))
    kept = Path(store.blob_path(desc.digest))
    assert (kept.stat().st_ino, kept.read_bytes()) == (inode, b"layer")
    assert not file.exists()
    file.write_bytes(b"layer")
    assert await store.adopt(desc, str(file)), "what is here already is kept"
    assert kept.stat().st_ino == inode


async def test_a_file_that_cannot_be_taken_over_is_left_alone(tmp_path: Path) -> None:
    store = OCILayout(str(tmp_path / "layout"))
    file = tmp_path / "file"
    file.write_bytes(b"too long")
    assert not await store.adopt(Descriptor.of(media.OCI_LAYER, b"layer"), str(file))
    manifest = Descriptor.of(media.OCI_MANIFEST, b"too long")
    assert not await store.adopt(manifest, str(file)), "a manifest is looked into"
    assert file.read_bytes() == b"too long"
    assert not await store.exists(manifest)
