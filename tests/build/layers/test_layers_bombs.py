"""Archives made to fill memory or to take for ever; and big or sparse files that are honest."""

import io
import os
import subprocess
import tarfile
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.build.layers.ahead import ahead
from argosy.build.layers.compression import Compression
from argosy.build.layers.header import BLOCK, END, Entry, pack_header, parse_header
from argosy.build.layers.pack import PackOptions, pack
from argosy.build.layers.reader import TarReader
from argosy.build.layers.unpack import UnpackOptions, unpack
from argosy.errors import ContentError

MIB = 1 << 20


def extension(flag: bytes, body: bytes) -> bytes:
    """A pax (x, g) or GNU (L, K, V) header with a right checksum."""
    block = bytearray(pack_header(Entry(name=b"e", kind="file", size=len(body))))
    block[156:157] = flag
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + body + bytes(-len(body) % BLOCK)


def record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    size = len(rest) + 1
    while len(b"%d" % size) + len(rest) != size:
        size += 1
    return b"%d" % size + rest


def endless(part: bytes, last: list[int]):
    """The same bytes for ever; counts how often they were asked for."""
    while True:
        last[0] += 1
        assert last[0] < 2000, "it would read for ever"
        yield part


@pytest.mark.parametrize(
    "part",
    [
        extension(b"x", record(b"comment", b"x" * (MIB - 100))),
        extension(b"g", record(b"comment", b"x" * 10)),
        extension(b"g", b"".join(record(b"k%d" % n, b"x" * 1000) for n in range(900))),
        extension(b"L", b"n" * (MIB - 1)),
        extension(b"K", b"n" * 100),
        extension(b"V", b"label"),
    ],
    ids=["pax", "small globals", "big globals", "names", "targets", "labels"],
)
def test_extension_headers_without_end_are_refused(part):
    with pytest.raises(ContentError):
        list(TarReader(endless(part, [0])))


def test_global_records_that_grow_with_each_entry_are_refused():
    parts = (
        extension(b"g", record(b"SCHILY.xattr.user.%d" % n, b"x" * 1000))
        + pack_header(Entry(name=b"f%d" % n, kind="file"))
        for n in range(10_000)
    )
    with pytest.raises(ContentError, match="global"):
        list(TarReader(parts))


def test_a_global_record_given_again_takes_the_place_of_the_first():
    parts = [
        extension(b"g", record(b"uid", b"%d" % n)) + pack_header(Entry(name=b"f", kind="file"))
        for n in range(3000)
    ]
    assert [e.uid for e in TarReader(iter([*parts, END]))] == list(range(3000))


def test_an_archive_that_is_a_hundred_times_smaller_packed_is_still_unpacked_whole(tmp_path):
    size = 64 * MIB
    data = pack_header(Entry(name=b"zeros", kind="file", size=size)) + bytes(size) + END
    for name in ("gzip", "zstd"):
        stream = Compression(name=name).start()
        blob = stream.compress(data) + stream.flush()
        assert len(blob) < size // 100
        top = tmp_path / name
        top.mkdir()
        assert unpack([blob], str(top), UnpackOptions()).bytes == size


def tar_of(top, **options) -> bytes:
    pieces = []
    pack(str(top), pieces.append, PackOptions(**options))
    return b"".join(pieces)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3 * MIB), st.integers(1, 9000)), max_size=5),
    st.integers(0, 4 * MIB),
)
def test_a_file_with_holes_is_packed_as_what_reads_of_it(tmp_path_factory, writes, size):
    top = tmp_path_factory.mktemp("sparse")
    with open(top / "f", "wb") as file:
        for at, count in writes:
            file.seek(at)
            file.write(b"%d" % at * count)
        file.truncate(size)
    with tarfile.open(fileobj=io.BytesIO(tar_of(top))) as archive:
        assert archive.extractfile("f").read() == (top / "f").read_bytes()


def test_four_gigabytes_of_hole_are_packed_without_reading_them(tmp_path):
    with open(tmp_path / "f", "wb") as file:
        file.truncate((4 << 30) + 5)
        file.seek(2 << 30)
        file.write(b"middle")
    sizes, distinct = [], set()

    def write(piece: bytes) -> None:
        sizes.append(len(piece))
        distinct.add(id(piece) if not any(piece[:64]) else 0)

    pack(str(tmp_path), write, PackOptions())
    assert sum(sizes) == BLOCK + (4 << 30) + BLOCK + len(END)
    assert len(distinct) < 20  # the holes are one and the same piece of memory


@pytest.mark.parametrize(
    "entry",
    [
        Entry(name=b"big", kind="file", size=9 << 30),
        Entry(name=b"uid", kind="file", uid=(1 << 21) + 5, gid=(1 << 31) + 7),
        Entry(name=b"before 1970", kind="file", mtime_ns=-86_400 * 1_000_000_000),
        Entry(name=b"after 2242", kind="file", mtime_ns=9_000_000_000 * 1_000_000_000),
        Entry(name=b"raw\xff\xfename", kind="file"),
        Entry(name=b"n" * 255 + b"/" + b"m" * 255, kind="file"),
        Entry(name=b"l", kind="symlink", target=b"t\xff" * 100),
        Entry(name=b"cap", kind="file", xattrs={b"security.capability": bytes(range(20))}),
        Entry(name=b"null", kind="char", major=1, minor=3),
        Entry(name=b"disk", kind="block", major=259, minor=1_048_575),
    ],
    ids=lambda entry: entry.name[:12].decode(errors="replace"),
)
def test_what_ustar_cannot_say_is_read_by_tarfile_and_by_gnu_tar(entry):
    raw = pack_header(entry)
    info = tarfile.TarInfo.frombuf(raw[-BLOCK:], "utf-8", "surrogateescape")
    if len(raw) > BLOCK:
        with tarfile.open(fileobj=io.BytesIO(raw + END), errors="surrogateescape") as archive:
            info = archive.next()
    assert os.fsencode(info.name) == entry.name
    assert (info.size, info.uid, info.gid) == (entry.size, entry.uid, entry.gid)
    assert info.mtime == entry.mtime_ns // 1_000_000_000
    assert os.fsencode(info.linkname) == entry.target
    assert (info.devmajor, info.devminor) == (entry.major, entry.minor)
    listed = subprocess.run(["tar", "-tv", "--numeric-owner", "--full-time", "--quoting-style=literal"], input=raw + END, capture_output=True, env={"TZ": "UTC", "PATH": os.environ["PATH"]}).stdout  # fmt: skip
    assert entry.name in listed
    assert b"%d/%d" % (entry.uid, entry.gid) in listed
    if entry.size:
        assert b"%d" % entry.size in listed
    assert parse_header(raw[-BLOCK:]).entry.kind == entry.kind


# Working ahead


def test_pieces_made_ahead_are_the_same_pieces():
    assert list(ahead(iter([b"%d" % n for n in range(100)]))) == [b"%d" % n for n in range(100)]
    assert list(ahead(iter([]))) == []


def test_one_piece_takes_no_thread():
    before = threading.active_count()
    pieces = ahead(iter([b"only"]))
    assert next(pieces) == b"only"
    assert threading.active_count() == before
    pieces.close()


def test_what_fails_ahead_fails_where_it_is_taken():
    def failing():
        yield b"1"
        yield b"2"
        raise ContentError("damaged")

    taken = []
    with pytest.raises(ContentError, match="damaged"):
        for piece in ahead(failing()):
            taken.append(piece)  # noqa: PERF402 - what came before the error is looked at
    assert taken == [b"1", b"2"]


def test_who_takes_no_more_leaves_no_thread():
    before = threading.active_count()
    pieces = ahead(b"x" * 10 for _ in range(10**6))
    for _ in range(3):
        next(pieces)
    pieces.close()
    assert threading.active_count() == before


def test_an_unsound_archive_leaves_no_thread(tmp_path):
    before = threading.active_count()
    bad = pack_header(Entry(name=b"../x", kind="file")) + END
    pieces = [b"".join(pack_header(Entry(name=b"ok%d" % n, kind="file")) for n in range(100)), bad]
    with pytest.raises(ContentError):
        unpack([*pieces, *[bytes(MIB)] * 50], str(tmp_path), UnpackOptions())
    assert threading.active_count() == before


def test_header_sums_are_right_for_every_byte():
    # `tar` checks them; bytes of all values are in a name that is not ASCII.
    name = bytes(range(1, 256)).replace(b"/", b"")[:99]
    raw = pack_header(Entry(name=name, kind="file"))[-BLOCK:]
    summed = sum(raw[:148]) + 8 * 32 + sum(raw[156:])
    assert int(raw[148:154], 8) == summed
    with pytest.raises(ContentError, match="checksum"):
        parse_header(b"\xff" * BLOCK)
