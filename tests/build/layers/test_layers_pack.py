"""Packing: what goes in comes out again, here and in the tools of the field, always with the same bytes."""

import asyncio
import gzip
import hashlib
import json
import os
import shutil
import socket
import stat
import subprocess
import tarfile

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.build.layers.blob import LayerOptions, read_layer, write_layer
from argosy.build.layers.compression import Compression
from argosy.build.layers.pack import PackOptions, pack
from argosy.build.layers.unpack import UnpackOptions, unpack
from argosy.content.memory import MemoryStore
from argosy.content.store import BytesBody
from argosy.errors import (
    BuildError,
    ContentError,
    DigestMismatch,
    NotFound,
    StorageError,
    UsageError,
)
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest

ME = (os.geteuid(), os.getegid())


def packed(top, **options) -> bytes:
    pieces = []
    pack(str(top), pieces.append, PackOptions(**options))
    return b"".join(pieces)


def tree(top) -> dict[str, tuple]:
    """Everything that a layer keeps of a directory, hard links as groups."""
    found, inodes = {}, {}
    for base, folders, files in os.walk(os.fsencode(top)):
        for name in [*folders, *files]:
            path = os.path.join(base, name)
            s = os.lstat(path)
            keys = sorted(
                k for k in os.listxattr(path, follow_symlinks=False) if "selinux" not in k
            )
            found[os.fsdecode(os.path.relpath(path, os.fsencode(top)))] = (
                s.st_mode, s.st_uid, s.st_gid, int(s.st_mtime), s.st_rdev,
                open_and_read(path) if stat.S_ISREG(s.st_mode) else b"",
                os.readlink(path) if stat.S_ISLNK(s.st_mode) else b"",
                inodes.setdefault(s.st_ino, len(inodes)) if s.st_nlink > 1 and not stat.S_ISDIR(s.st_mode) else -1,
                {k: os.getxattr(path, k, follow_symlinks=False) for k in keys},
            )  # fmt: skip
    return dict(sorted(found.items()))


def open_and_read(path) -> bytes:
    with open(path, "rb") as file:
        return file.read()


@pytest.fixture
def rich(tmp_path):
    """A directory with one of everything."""
    top = tmp_path / "rich"
    (top / "etc/empty").mkdir(parents=True)
    (top / "etc/passwd").write_bytes(b"root:x:0:0::/root:/bin/sh\n")
    (top / "big").write_bytes(os.urandom(3 << 20))
    (top / ("n" * 200)).write_bytes(b"long")
    (top / "ünï").write_bytes(b"text")
    with open(os.fsencode(top) + b"/raw\xff\xfe", "wb") as file:
        file.write(b"not UTF-8")
    os.link(top / "etc/passwd", top / "etc/zz-hard")
    os.symlink("../" * 40 + "target", top / "link")
    os.symlink("etc/passwd", top / "zlink")
    os.mkfifo(top / "pipe", 0o640)
    (top / "su").write_bytes(b"#!")
    os.chmod(top / "su", 0o4755)
    os.chmod(top / "etc/empty", 0o1777)
    os.setxattr(top / "su", "user.note", b"\0\xff")
    os.setxattr(top / "etc", "user.dir", b"d")
    for base, folders, files in os.walk(os.fsencode(top)):
        for name in [*folders, *files]:
            os.utime(os.path.join(base, name), (10**9, 10**9), follow_symlinks=False)
    if os.geteuid() == 0:
        os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.chown(top / "su", 12345, 3_000_000)
        os.chmod(top / "su", 0o4755)
        os.setxattr(
            top / "su", "security.capability", bytes.fromhex("01000002" + "00040000" + "0" * 24)
        )
    return top


def test_a_tree_survives_packing_and_unpacking(rich, tmp_path):
    (tmp_path / "back").mkdir()
    options = UnpackOptions() if os.geteuid() == 0 else UnpackOptions(owner=ME)
    unpack([packed(rich)], str(tmp_path / "back"), options)
    assert tree(tmp_path / "back") == tree(rich)


@pytest.mark.root
def test_gnu_tar_unpacks_what_we_pack(rich, tmp_path):
    (tmp_path / "a.tar").write_bytes(packed(rich))
    (tmp_path / "back").mkdir()
    subprocess.run(
        ["tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf", "a.tar", "-C", "back"],
        cwd=tmp_path, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert tree(tmp_path / "back") == tree(rich)


@pytest.mark.root
@pytest.mark.parametrize("form", ["gnu", "posix", "ustar"])
def test_we_unpack_what_gnu_tar_packs(rich, tmp_path, form):
    if form == "ustar":
        os.chown(rich / "su", 5, 6)
        os.unlink(rich / ("n" * 200))
        os.unlink(rich / "link")
    flags = ["--xattrs", "--xattrs-include=*"] if form == "posix" else []
    if form != "posix":
        for path, key in (("su", "user.note"), ("etc", "user.dir"), ("su", "security.capability")):
            if key in os.listxattr(rich / path):
                os.removexattr(rich / path, key)
    body = subprocess.run(
        ["tar", f"--format={form}", *flags, "-C", rich, "-cf", "-", "."],
        capture_output=True,
        check=True,
    ).stdout
    (tmp_path / "back").mkdir()
    unpack([body], str(tmp_path / "back"), UnpackOptions())
    assert tree(tmp_path / "back") == tree(rich)


def test_python_reads_our_names_in_order(rich):
    with tarfile.open(fileobj=__import__("io").BytesIO(packed(rich))) as tar:
        names = [os.fsencode(n) for n in tar.getnames()]
    assert names == sorted(names, key=lambda n: n.split(b"/"))
    assert os.fsencode("ünï") in names


def test_equal_trees_give_equal_bytes(rich, tmp_path):
    shutil.copytree(
        rich,
        tmp_path / "copy",
        symlinks=True,
        ignore=lambda *_: ["pipe", "null", "raw\udcff\udcfe"],
    )
    shutil.copytree(tmp_path / "copy", tmp_path / "again", symlinks=True)
    for path in (tmp_path / "copy", tmp_path / "again"):
        for base, folders, files in os.walk(path):
            for name in [*folders, *files]:
                os.utime(os.path.join(base, name), (1, 1), follow_symlinks=False)
    assert packed(tmp_path / "copy") == packed(tmp_path / "again")


def test_no_time_is_later_than_the_epoch(tmp_path):
    for name, time in (("old", 100), ("new", 10**9)):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (time, time))
    with tarfile.open(fileobj=__import__("io").BytesIO(packed(tmp_path, epoch=5000))) as tar:
        assert {m.name: m.mtime for m in tar} == {"old": 100, "new": 5000}


def test_sockets_are_left_out(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)
        listener.bind("sock")
        assert packed(tmp_path) == bytes(1024)


def test_a_file_that_would_read_as_a_whiteout_is_refused(tmp_path):
    (tmp_path / ".wh.trap").write_bytes(b"")
    with pytest.raises(BuildError, match=r"\.wh\.trap"):
        packed(tmp_path, overlay=True)
    assert b".wh.trap" in packed(tmp_path)


def test_a_directory_that_is_missing_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError):
        packed(tmp_path / "no")


@pytest.mark.root
def test_whiteouts_and_opaque_directories_survive_as_those_of_a_layer(tmp_path):
    upper = tmp_path / "upper"
    (upper / "d/o").mkdir(parents=True)
    os.mknod(upper / "d/gone", stat.S_IFCHR, 0)
    os.setxattr(upper / "d/o", "trusted.overlay.opaque", b"y")
    os.setxattr(upper / "d", "trusted.overlay.impure", b"y")
    (upper / "d/o/f").write_bytes(b"x")
    body = packed(upper, overlay=True)
    with tarfile.open(fileobj=__import__("io").BytesIO(body)) as tar:
        assert tar.getnames() == ["d", "d/.wh.gone", "d/o", "d/o/.wh..wh..opq", "d/o/f"]
        assert not any(m.pax_headers for m in tar)
    (tmp_path / "back").mkdir()
    unpack([body], str(tmp_path / "back"), UnpackOptions(overlay=True))
    assert os.lstat(tmp_path / "back/d/gone").st_rdev == 0
    assert os.getxattr(tmp_path / "back/d/o", "trusted.overlay.opaque") == b"y"
    assert packed(tmp_path / "back", overlay=True) == body


NAMES = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=60
).filter(lambda n: n not in (".", "..") and len(n.encode()) < 250 and not n.startswith(".wh."))
TREES = st.recursive(
    st.binary(max_size=2000) | st.text("ab/.", min_size=1, max_size=120),
    lambda inner: st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def build(path: bytes, content) -> None:
    if isinstance(content, bytes):
        with open(path, "wb") as file:
            file.write(content)
    elif isinstance(content, str):
        os.symlink(content, path)
    else:
        os.mkdir(path)
        for name, inner in content.items():
            build(path + b"/" + name.encode(), inner)
    os.utime(path, (len(path), len(path)), follow_symlinks=False)


@settings(max_examples=100, deadline=None)
@given(content=st.dictionaries(NAMES, TREES, max_size=4), overlay=st.booleans())
def test_every_tree_survives(tmp_path_factory, content, overlay):
    base = tmp_path_factory.mktemp("tree")
    build(os.fsencode(base / "a"), content)
    (base / "b").mkdir()
    body = packed(base / "a", overlay=overlay)
    unpack([body], str(base / "b"), UnpackOptions(overlay=overlay, owner=ME))
    assert tree(base / "b") == tree(base / "a")
    assert packed(base / "b", overlay=overlay) == body


# Layers in stores


@pytest.mark.parametrize(
    ("compression", "plain", "kind"),
    [
        (Compression(), gzip.decompress, media.OCI_LAYER_GZIP),
        (Compression(name="gzip", level=0), gzip.decompress, media.OCI_LAYER_GZIP),
        (Compression(name="zstd", level=1), lambda b: zstandard.ZstdDecompressor().stream_reader(b).read(),
         media.OCI_LAYER_ZSTD),
        (Compression(name="none"), bytes, media.OCI_LAYER),
    ],
)  # fmt: skip
async def test_a_layer_has_the_digests_of_its_bytes(rich, tmp_path, compression, plain, kind):
    store = MemoryStore()
    options = LayerOptions(scratch=str(tmp_path / "scratch"), compression=compression)
    desc, diff_id = await write_layer(str(rich), store, options)
    body = store._blobs[desc.digest]
    assert desc == Descriptor.of(kind, body)
    assert diff_id == Digest.of(plain(body)) == Digest.of(packed(rich, overlay=True))
    assert os.listdir(tmp_path / "scratch") == []
    (tmp_path / "back").mkdir()
    unpacked = (
        UnpackOptions(overlay=True) if os.geteuid() == 0 else UnpackOptions(overlay=True, owner=ME)
    )
    await read_layer(desc, store, str(tmp_path / "back"), unpacked)
    assert tree(tmp_path / "back") == tree(rich)


async def test_writing_a_layer_twice_gives_the_same_bytes(rich, tmp_path):
    options = LayerOptions(scratch=str(tmp_path))
    first = await write_layer(str(rich), MemoryStore(), options)
    assert first == await write_layer(str(rich), MemoryStore(), options)


async def test_a_layer_that_cannot_be_packed_leaves_nothing(tmp_path):
    (tmp_path / "top").mkdir()
    (tmp_path / "top/.wh.x").write_bytes(b"")
    store = MemoryStore()
    with pytest.raises(BuildError):
        await write_layer(str(tmp_path / "top"), store, LayerOptions(scratch=str(tmp_path / "s")))
    assert os.listdir(tmp_path / "s") == []
    assert store._blobs == {}


async def test_a_layer_with_the_wrong_bytes_is_refused(tmp_path):
    class Liar(MemoryStore):
        async def put_anyway(self, desc, body):
            self._blobs[desc.digest] = body

    store = Liar()
    (tmp_path / "top").mkdir()
    (tmp_path / "top/f").write_bytes(os.urandom(100_000))
    desc, _ = await write_layer(str(tmp_path / "top"), store, LayerOptions(scratch=str(tmp_path)))
    (tmp_path / "other").mkdir()
    other = gzip.compress(packed(tmp_path / "other"))
    wrong = Descriptor(media_type=desc.media_type, digest=desc.digest, size=len(other))
    await store.put_anyway(wrong, other)
    (tmp_path / "back").mkdir()
    with pytest.raises(DigestMismatch):
        await read_layer(wrong, store, str(tmp_path / "back"), UnpackOptions(owner=ME))


async def test_a_damaged_layer_and_a_missing_one_say_so(tmp_path):
    body = b"\x1f\x8b\x08 this is not gzip" * 1000
    store = MemoryStore()
    desc = Descriptor.of(media.OCI_LAYER_GZIP, body)
    await store.put(desc, BytesBody(body))
    with pytest.raises(ContentError):
        await read_layer(desc, store, str(tmp_path), UnpackOptions(owner=ME))
    with pytest.raises(NotFound):
        await read_layer(
            Descriptor.of(media.OCI_LAYER, b"absent"), store, str(tmp_path), UnpackOptions(owner=ME)
        )


async def test_cancelling_waits_for_the_thread_and_leaves_no_scratch(tmp_path):
    (tmp_path / "top").mkdir()
    (tmp_path / "top/f").write_bytes(os.urandom(64 << 20))
    work = asyncio.ensure_future(
        write_layer(str(tmp_path / "top"), MemoryStore(), LayerOptions(scratch=str(tmp_path / "s")))
    )
    await asyncio.sleep(0.05)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert os.listdir(tmp_path / "s") == []


async def test_cancelling_an_unpack_whose_source_hangs_ends_it(tmp_path):
    class Slow(MemoryStore):
        def open(self, desc, *, start=0):
            from contextlib import asynccontextmanager

            @asynccontextmanager
            async def slow():
                async def pieces():
                    yield b"\x1f\x8b"
                    await asyncio.sleep(3600)

                yield pieces()

            return slow()

    desc = Descriptor(media_type=media.OCI_LAYER_GZIP, digest=Digest.of(b"x"), size=10)
    work = asyncio.ensure_future(read_layer(desc, Slow(), str(tmp_path), UnpackOptions(owner=ME)))
    await asyncio.sleep(0.05)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(work, 5)


def test_a_level_that_does_not_exist_is_refused():
    with pytest.raises(UsageError, match="no level 10"):
        Compression(name="gzip", level=10)


@pytest.mark.peer
@pytest.mark.root
async def test_umoci_unpacks_our_layer_to_the_same_tree(rich, tmp_path):
    layout = tmp_path / "image"
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)
    store = MemoryStore()
    layer, diff_id = await write_layer(str(rich), store, LayerOptions(scratch=str(tmp_path / "s")))
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }

    def blob(kind: str, body: bytes) -> dict:
        digest = hashlib.sha256(body).hexdigest()
        (blobs / digest).write_bytes(body)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(body)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": blob(media.OCI_CONFIG, json.dumps(config).encode()),
        "layers": [blob(layer.media_type, store._blobs[layer.digest])],
    }
    entry = blob(media.OCI_MANIFEST, json.dumps(manifest).encode())
    entry["annotations"] = {media.REF_NAME: "x"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    subprocess.run(["umoci", "unpack", "--image", f"{layout}:x", str(tmp_path / "b")], check=True)
    assert tree(tmp_path / "b/rootfs") == tree(rich)
