"""eStargz and zstd:chunked, read back by what their specifications say, not by the code that wrote them."""

import base64
import gzip
import hashlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import tarfile
import urllib.request
import zlib
from pathlib import Path

import pytest
import zstandard

from argosy.build.layers import deflate
from argosy.build.layers.blob import LayerOptions, put_layer, recompressed
from argosy.build.layers.compression import NAMES, Compression, Encoded, decompressed
from argosy.build.results.forms import LayerForm, is_already
from argosy.content.memory import MemoryStore
from argosy.content.store import put_bytes
from argosy.content.verify import read
from argosy.errors import ContentError, DigestMismatch
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from tests.peers import argosy, need

pytestmark = pytest.mark.slow

CHUNK = 4 << 20
EMPTY = bytes(1024)
OWN = {"stargz.index.json", ".no.prefetch.landmark", ".prefetch.landmark"}
TYPES = {b"0": "reg", b"1": "hardlink", b"2": "symlink", b"3": "char", b"4": "block", b"5": "dir", b"6": "fifo"}  # fmt: skip


@pytest.fixture(scope="module")
def tar() -> bytes:
    """A tar with one of everything, small files, and one of more than two chunks."""
    rng = random.Random(7)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:

        def add(name: str, kind: bytes = b"0", data: bytes = b"", **more: object) -> None:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.mtime, info.mode = kind, len(data), 1_700_000_000, 0o640
            for key, value in more.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))

        add("etc", b"5", mode=0o755)
        add("etc/empty")
        add("etc/passwd", data=b"root:x:0:0::/:\n", uid=1, gid=2, mode=0o4755)
        add("etc/" + "ü" * 80, data=b"long and not ASCII")
        add("big", data=rng.randbytes(2 * CHUNK) + b"rest" * 1000)
        add("exact", data=bytes(CHUNK))
        add("link", b"2", linkname="etc/passwd", mode=0o777)
        add("hard", b"1", linkname="etc/passwd")
        add("null", b"3", devmajor=1, devminor=3)
        add("pipe", b"6")
        add("cap", data=b"x", pax_headers={"SCHILY.xattr.user.a": "b=c", "mtime": "1700000000.5"})
        for number in range(300):
            add(f"many/{number}", data=rng.randbytes(number * 37 % 4096))
    return out.getvalue()


def encoded(tar: bytes, name: str, cut: int = 1 << 20) -> tuple[bytes, Encoded]:
    encoder = Compression(name=name).encoder()
    pieces = (tar[at : at + cut] for at in range(0, len(tar), cut))
    return b"".join(encoder.encoded(pieces)), encoder.result()


def contents(tar: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive if m.isreg()}


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def unzstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


def gunzip(data: bytes) -> bytes:
    return zlib.decompressobj(wbits=31).decompress(data)


def check_table(entries: list[dict], tar: bytes, fetched) -> int:
    """Every entry says what the tar says, and its data is where it says; how many chunks there are."""
    chunks, files = 0, {}
    rows = iter(entries)
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            row = next(r for r in rows if r["type"] != "chunk")
            assert row["name"].rstrip("/") == member.name
            assert row["type"] == TYPES[member.type]
            assert row.get("mode", 0) == member.mode
            assert (row.get("uid", 0), row.get("gid", 0)) == (member.uid, member.gid)
            assert row.get("size", 0) == member.size
            assert row.get("linkName", "") == member.linkname
            assert (row.get("devMajor", 0), row.get("devMinor", 0)) == (member.devmajor, member.devminor)  # fmt: skip
            if member.name == "cap":
                assert row["xattrs"] == {"user.a": base64.b64encode(b"b=c").decode()}
                assert row["modtime"] == "2023-11-14T22:13:20.5Z"
    for row in entries:
        if row["type"] not in ("reg", "chunk") or (row["type"] == "reg" and not row.get("size")):
            continue
        size = row.get("chunkSize") or row["size"]
        data = fetched(row["offset"])[:size]
        assert len(data) == size
        assert row["chunkDigest"] == sha256(data)
        files[row["name"]] = files.get(row["name"], b"") + data
        assert len(files[row["name"]]) == row.get("chunkOffset", 0) + size
        chunks += 1
    plain = contents(tar)
    assert {name: data for name, data in plain.items() if data} == files
    for row in entries:
        if row.get("digest"):
            assert row["digest"] == sha256(plain[row["name"]])
    return chunks


def test_estargz_says_where_each_file_is(tar):
    blob, made = encoded(tar, "estargz")
    footer = blob[-51:]
    assert footer[:16] == b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x1a\0SG\x16\0"
    assert footer[32:38] == b"STARGZ"
    assert gunzip(footer) == b""
    last = gunzip(blob[int(footer[16:32], 16) :])
    with tarfile.open(fileobj=io.BytesIO(last)) as archive:
        body = archive.extractfile("stargz.index.json").read()
    assert made.annotations["containerd.io/snapshot/stargz/toc.digest"] == sha256(body)
    table = json.loads(body)
    assert table["version"] == 1
    whole = gzip.decompress(blob)
    assert Digest.of(whole) == made.diff_id
    assert made.annotations["io.containers.estargz.uncompressed-size"] == str(len(whole))
    # What plain readers of tars find is the TOC in addition, last.
    end = whole.index(last[:512])
    assert check_table(table["entries"], whole[:end] + EMPTY, lambda at: gunzip(blob[at:])) > 300


def test_estargz_adds_its_landmark_and_its_table_and_nothing_else(tar):
    blob, _ = encoded(tar, "estargz")
    found = contents(gzip.decompress(blob))
    assert next(iter(found)) == ".no.prefetch.landmark"
    assert found.pop(".no.prefetch.landmark") == b"\x0f"
    assert found.popitem()[0] == "stargz.index.json"
    assert found == contents(tar)


def test_estargz_made_of_estargz_is_the_same(tar):
    blob, made = encoded(tar, "estargz")
    again, made_again = encoded(gzip.decompress(blob), "estargz")
    assert (again, made_again) == (blob, made)


@pytest.mark.parametrize("name", ["estargz", "zstd:chunked"])
def test_a_layer_without_entries_stays_the_empty_layer(name):
    blob, made = encoded(EMPTY, name)
    assert b"".join(decompressed([blob])) == EMPTY
    assert made.diff_id is None


def crc64_iso(data: bytes) -> int:
    """CRC-64/GO-ISO bit by bit."""
    crc = 0xFFFFFFFFFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xD800000000000000 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFFFFFFFFFF


def frames_of(blob: bytes, made: Encoded) -> tuple[dict, list[dict]]:
    """The table and the tar-split entries, found by the annotations and checked against them."""
    notes = {key.rpartition(".")[2]: value for key, value in made.annotations.items()}
    at, packed, size, kind = map(int, notes["manifest-position"].split(":"))
    body = blob[at : at + packed]
    assert sha256(body) == notes["manifest-checksum"]
    assert (len(unzstd(body)), kind) == (size, 1)
    table = json.loads(unzstd(body))
    at, packed, size = map(int, notes["tarsplit-position"].split(":"))
    split = blob[at : at + packed]
    assert table["tarSplitDigest"] == sha256(split)
    assert len(unzstd(split)) == size
    return table, [json.loads(line) for line in unzstd(split).splitlines()]


def test_zstd_chunked_says_where_each_file_is_and_keeps_the_tar(tar):
    blob, made = encoded(tar, "zstd:chunked")
    assert made.diff_id is None
    assert b"".join(decompressed([blob])) == tar
    table, _ = frames_of(blob, made)
    assert check_table(table["entries"], tar, lambda at: unzstd(blob[at:])) > 300


def test_zstd_chunked_says_where_a_file_ends(tar):
    blob, made = encoded(tar, "zstd:chunked")
    table, _ = frames_of(blob, made)
    for row in table["entries"]:
        if row["type"] == "reg" and row.get("size"):
            frames = blob[row["offset"] : row["endOffset"]]
            assert b"".join(decompressed([frames])) == contents(tar)[row["name"]]
            if row["name"] == "cap":
                return
    pytest.fail("no such file")


def test_the_footer_of_zstd_chunked_is_the_one_that_somebody_reads(tar):
    blob, made = encoded(tar, "zstd:chunked")
    at, packed, size, kind = map(
        int, made.annotations["io.github.containers.zstd-chunked.manifest-position"].split(":")
    )
    assert blob[-48:-40] == b"\x50\x2a\x4d\x18\x28\0\0\0"
    numbers = [int.from_bytes(blob[-40 + n : -32 + n], "little") for n in (0, 8, 16, 24)]
    assert numbers == [at, packed, size, kind]
    assert blob.endswith(b"GnUlInUx")


def test_no_layer_says_that_it_is_of_both_kinds(tar):
    # podman takes zstd:chunked with eStargz's annotation for eStargz; newer ones refuse both.
    _, chunked = encoded(tar, "zstd:chunked")
    _, stargz = encoded(tar, "estargz")
    assert not [key for key in chunked.annotations if "stargz" in key]
    assert not [key for key in stargz.annotations if "zstd" in key]


def test_the_tar_can_be_put_together_again_from_its_files(tar):
    blob, made = encoded(tar, "zstd:chunked")
    _, split = frames_of(blob, made)
    files, out = contents(tar), b""
    assert [entry["position"] for entry in split] == list(range(len(split)))
    for entry in split:
        if entry["type"] == 2:
            out += base64.b64decode(entry["payload"])
        elif entry.get("size"):
            data = files[entry["name"]]
            out += data
            if len(data) < 5000:
                assert base64.b64decode(entry["payload"]) == crc64_iso(data).to_bytes(8, "big")
    assert out == tar


@pytest.mark.parametrize("name", ["estargz", "zstd:chunked"])
def test_neither_pieces_nor_threads_show(tar, name, monkeypatch):
    first = encoded(tar, name)
    monkeypatch.setattr(deflate, "workers", lambda: 1)
    assert encoded(tar, name, cut=7777) == first


@pytest.mark.parametrize("name", ["estargz", "zstd:chunked"])
def test_names_that_no_table_can_hold_are_refused_with_what_helps(name):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("raw\udcff"))
    with pytest.raises(ContentError, match="table of contents") as failed:
        encoded(out.getvalue(), name)
    assert "compression=gzip" in failed.value.remedy


@pytest.mark.parametrize("wanted", NAMES)
@pytest.mark.parametrize("given", NAMES)
async def test_any_form_of_a_layer_becomes_any_other(tar, tmp_path, given, wanted):
    store = MemoryStore()
    options = LayerOptions(scratch=str(tmp_path), compression=Compression(name=given))
    layer = await put_layer(lambda write: write(tar), store, options)
    made, diff_id = await recompressed(layer, store, store, Compression(name=wanted))
    plain = b"".join(decompressed([await read(store, made)]))
    assert Digest.of(plain) == diff_id
    assert made.media_type == Compression(name=wanted).media_type
    assert bool(made.annotations) == (wanted in ("estargz", "zstd:chunked"))
    if given != "estargz" and wanted != "estargz":
        assert plain == tar
    assert is_already(made, Compression(name=wanted))
    assert is_already(made, Compression(name=given)) == (given == wanted)
    files, before = contents(plain), contents(tar)
    assert {k: v for k, v in files.items() if k not in OWN} == before


@pytest.mark.parametrize("wanted", NAMES)
async def test_a_layer_that_is_another_is_not_recompressed(tar, wanted):
    store = MemoryStore()
    desc = Descriptor.of("application/vnd.oci.image.layer.v1.tar", tar)
    await put_bytes(store, desc, tar)
    with pytest.raises(DigestMismatch):
        await recompressed((desc, Digest.of(b"other")), store, store, Compression(name=wanted))


def test_every_form_has_a_key_of_its_own():
    forms = [LayerForm(compression=Compression(name=name)) for name in NAMES]
    forms += [LayerForm(compression=Compression(level=1)), LayerForm(epoch=3)]
    assert len({str(form) for form in forms}) == len(forms)
    assert str(LayerForm()) == str(LayerForm(compression=Compression(level=6)))


PARTIAL = """\
[storage]
driver = "overlay"
graphroot = "{top}/root"
runroot = "{top}/run"
[storage.options]
pull_options = {{enable_partial_images = "true"}}
"""


@pytest.mark.peer
@pytest.mark.root
@pytest.mark.xdist_group("podman")
@pytest.mark.parametrize("name", ["estargz", "zstd:chunked"])
def test_podman_fetches_only_files(docker_registry, tmp_path, name):
    context = tmp_path / "context"
    (context / "tree").mkdir(parents=True)
    for number in range(50):
        (context / "tree" / str(number)).write_bytes(random.Random(number).randbytes(number * 99))
    (context / "tree" / "big").write_bytes(random.Random(3).randbytes(CHUNK + 99))
    os.link(context / "tree" / "big", context / "tree" / "hard")
    (context / "Dockerfile").write_text("FROM scratch\nCOPY tree /tree\n")
    image = f"{docker_registry.host}/partial:{name.replace(':', '')}"
    argosy("build", "-q", "--output", f"type=registry,name={image},compression={name}", context, ARGOSY_HOME=str(tmp_path / "home"))  # fmt: skip
    if name == "zstd:chunked":
        _name_annotations_as_before(image)
    conf = tmp_path / "storage.conf"
    conf.write_text(PARTIAL.format(top=tmp_path / "podman"))

    def podman(*words: str) -> str:
        done = subprocess.run([need("podman"), *words], capture_output=True, text=True, env={**os.environ, "CONTAINERS_STORAGE_CONF": str(conf)}, timeout=120)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    try:
        log = podman("--log-level=debug", "pull", "--tls-verify=false", image)
        said = [line for line in log.splitlines() if re.search("partial|differ|chunked", line)]
        assert re.search("Retrieved partial blob", log), "\n".join(said)
        top = podman("image", "mount", image).strip().splitlines()[-1]
        found = {p: (context / "tree" / p).read_bytes() for p in os.listdir(context / "tree")}
        assert {p: Path(top, "tree", p).read_bytes() for p in os.listdir(f"{top}/tree")} == found
        podman("image", "umount", image)
    finally:
        podman("rmi", "-af")
        shutil.rmtree(tmp_path / "podman", ignore_errors=True)


def _name_annotations_as_before(image: str) -> None:
    """Debian's podman 4.3 knows the annotations by the names they had then."""
    kind = "application/vnd.oci.image.manifest.v1+json"
    host, _, rest = image.partition("/")
    url = f"http://{host}/v2/{rest.replace(':', '/manifests/')}"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": kind})) as answer:
        manifest = answer.read()
    old = manifest.replace(b"io.github.containers.zstd-chunked", b"io.containers.zstd-chunked")
    request = urllib.request.Request(url, data=old, method="PUT", headers={"Content-Type": kind})
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 201
