"""Parallel gzip and zstd: one stream, the same bytes whatever the threads and pieces, readable by all."""

import gzip
import hashlib
import importlib.metadata
import os
import random
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.build.layers import deflate
from argosy.build.layers.compression import Compression, decompressed
from argosy.errors import ContentError, UsageError

TEXT = "".join(random.Random(1).choices("abcdefgh \n", k=5000)).encode()
TOOLS = {
    "gzip": [["gzip", "-dc"], ["busybox", "gunzip", "-c"], ["pigz", "-dc"]],
    "zstd": [["zstd", "-dc"]],
}


def compressed(data: bytes, compression: Compression, cut: int = 1 << 20) -> bytes:
    stream = compression.start()
    out = [stream.compress(data[at : at + cut]) for at in range(0, len(data), cut)]
    return b"".join([*out, stream.flush()])


def sample(size: int) -> bytes:
    """Text, numbers, zeros and noise in turn, always the same."""
    rng = random.Random(size)
    out = bytearray()
    while len(out) < size:
        kind = rng.randrange(4)
        count = rng.randrange(1, 1 << 18)
        if kind == 0:
            out += (TEXT * (count // len(TEXT) + 1))[:count]
        elif kind == 1:
            out += b"".join(b"%d," % n for n in range(count // 8))
        elif kind == 2:
            out += bytes(count)
        else:
            out += rng.randbytes(count)
    return bytes(out[:size])


@pytest.fixture
def threads(monkeypatch):
    """Lets the compressors believe that the machine has so many processors."""

    def use(count: int) -> None:
        monkeypatch.setattr(deflate.os, "sched_getaffinity", lambda _pid: set(range(count)))
        deflate._pool.cache_clear()

    yield use
    deflate._pool.cache_clear()


@pytest.mark.parametrize("level", range(10))
def test_every_level_gives_one_gzip_member_that_is_what_went_in(level):
    data = sample(2 * deflate.BLOCK + 777)
    blob = compressed(data, Compression(level=level))
    stream = zlib.decompressobj(wbits=31)
    assert stream.decompress(blob) == data
    assert stream.eof
    assert not stream.unused_data


@pytest.mark.parametrize(
    "size", [0, 1, *(deflate.BLOCK + d for d in (-1, 0, 1)), 2 * deflate.BLOCK]
)
def test_streams_that_end_at_a_block_or_beside_it_are_whole(size):
    data = sample(size)
    assert gzip.decompress(compressed(data, Compression())) == data


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_neither_threads_nor_pieces_show_in_the_result(threads, name):
    data = sample(9 << 20)
    found = set()
    for count, cut in ((1, 1 << 20), (2, 4095), (3, 10 << 20), (16, 333_333)):
        threads(count)
        found.add(hashlib.sha256(compressed(data, Compression(name=name), cut)).hexdigest())
    assert len(found) == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=3000), max_size=8), st.sampled_from(["gzip", "zstd", "none"]))
def test_any_pieces_come_back(pieces, name):
    stream = Compression(name=name).start()
    blob = b"".join([stream.compress(piece) for piece in pieces] + [stream.flush()])
    assert b"".join(decompressed([blob])) == b"".join(pieces)
    assert blob == compressed(b"".join(pieces), Compression(name=name))


def test_the_bytes_are_those_of_the_pinned_libraries():
    from zlib_ng import zlib_ng

    assert f"zlib-ng-{zlib_ng.ZLIBNG_VERSION}" == deflate.LIBRARY
    assert str(Compression()) == f"gzip-6 {deflate.LIBRARY}"
    version = ".".join(map(str, zstandard.ZSTD_VERSION))
    assert str(Compression(name="zstd", level=9)) == f"zstd-9 zstd-{version}"
    assert importlib.metadata.version("zlib-ng") == "1.1.0"


@pytest.mark.parametrize(
    ("compression", "digest"),
    [
        (Compression(), "4bcd11d18f74d92b"),
        (Compression(level=1), "43b7874b07e1e00f"),
        (Compression(level=9), "40c371025b4a5d39"),
        (Compression(name="zstd"), "246953aa9f6d01fa"),
        (Compression(name="zstd", level=19), "f66ba779c65c1f78"),
    ],
    ids=str,
)
def test_the_bytes_are_the_same_on_every_machine(compression, digest):
    # Recorded once; the same under qemu as Nehalem, Haswell and arm64.
    found = hashlib.sha256(compressed(sample(3 << 20), compression)).hexdigest()
    assert found[:16] == digest


def test_noise_is_stored_and_text_beside_it_is_not():
    noise = random.Random(2).randbytes(4 << 20)
    assert len(compressed(noise, Compression())) < len(noise) * 1.001
    both = compressed(noise + TEXT * 800, Compression())
    assert len(both) < len(noise) * 1.01


@pytest.mark.parametrize("level", [1, 3, 6, 9])
def test_a_level_is_as_dense_as_that_of_zlib(level):
    data = b"".join(p.read_bytes() for p in sorted(Path(os.__file__).parent.glob("*.py")))
    ours, theirs = compressed(data, Compression(level=level)), zlib.compress(data, level)
    assert len(ours) < len(theirs) * 1.01


@pytest.mark.parametrize(("name", "level"), [("gzip", 10), ("zstd", 0), ("zstd", 23), ("none", 1)])
def test_a_level_that_is_none_is_refused(name, level):
    with pytest.raises(UsageError, match=f"no level {level}"):
        Compression(name=name, level=level)


def test_a_zstd_window_is_one_that_every_reader_takes():
    blob = compressed(sample(1 << 20), Compression(name="zstd", level=22))
    assert zstandard.get_frame_parameters(blob).window_size <= 8 << 20


@pytest.mark.parametrize("tool", [tool for kind in TOOLS.values() for tool in kind], ids=" ".join)
def test_the_tools_of_the_field_read_it(tool):
    if shutil.which(tool[0]) is None:
        pytest.skip(f"{tool[0]} is not installed")
    name = "zstd" if tool[0] == "zstd" else "gzip"
    data = sample(3 << 20)
    done = subprocess.run(tool, input=compressed(data, Compression(name=name)), capture_output=True, check=True)  # fmt: skip
    assert done.stdout == data


def test_a_child_of_fork_compresses_too():
    compressed(sample(3 << 20), Compression())  # the parent's threads are there
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        data = sample(2 << 20)
        os.write(
            writer, b"ok" if gzip.decompress(compressed(data, Compression())) == data else b"no"
        )
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as answer:
        assert answer.read() == b"ok"
    os.waitpid(child, 0)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_several_members_or_frames_are_read_as_one(kind):
    parts = [sample(n) for n in (10, 0, 100_000)]
    blob = b"".join(compressed(part, Compression(name=kind)) for part in parts)
    assert b"".join(decompressed([blob])) == b"".join(parts)


def test_skippable_frames_of_zstd_are_skipped_wherever_they_are():
    skip = b"\x50\x2a\x4d\x18\x05\x00\x00\x00hello"
    frame = compressed(b"data", Compression(name="zstd"))
    blob = frame + skip + frame + skip
    for cut in (1, 3, 7, 1000):
        pieces = [blob[at : at + cut] for at in range(0, len(blob), cut)]
        assert b"".join(decompressed(pieces)) == b"datadata"


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_rubbish_behind_the_end_is_refused(kind):
    blob = compressed(b"data", Compression(name=kind))
    with pytest.raises(ContentError, match=kind):
        list(decompressed([blob + b"rubbish"]))


def test_a_window_of_zstd_that_takes_gigabytes_is_refused():
    # A frame header that asks for a window of 2 GiB, and one raw block.
    blob = b"\x28\xb5\x2f\xfd" + bytes([0x00, 21 << 3]) + b"\x09\x00\x00x"
    with pytest.raises(ContentError, match="zstd"):
        list(decompressed([blob]))


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_bomb_comes_out_in_small_pieces(kind):
    blob = compressed(bytes(64 << 20), Compression(name=kind))
    assert len(blob) < 1 << 20
    assert max(map(len, decompressed([blob]))) <= 1 << 20
