"""The tar reader and the header packer: every dialect, damage, and random bytes."""

import contextlib
import io
import os
import subprocess
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.build.layers.header import (
    BLOCK,
    END,
    Entry,
    number,
    pack_header,
    parse_header,
    parse_pax,
    with_pax,
)
from argosy.build.layers.reader import TarReader
from argosy.errors import ArgosyError, ContentError

NAME = st.binary(min_size=1, max_size=300).map(lambda b: b.replace(b"\0", b"x").replace(b"/", b"y"))


def read(body: bytes, piece: int = 700) -> list[tuple[Entry, bytes]]:
    pieces = (body[i : i + piece] for i in range(0, len(body), piece))
    reader = TarReader(pieces)
    return [(entry, b"".join(reader.data())) for entry in reader]


def tarball(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_what_tarfile_writes_is_read_back(form):
    info = tarfile.TarInfo("dir/" + "n" * 90)
    info.mode, info.uid, info.gid, info.mtime = 0o4755, 7, 8, 1234
    ((entry, data),) = read(tarball((info, b"x" * 1000), form=form))
    assert entry == Entry(
        name=b"dir/" + b"n" * 90, kind="file", mode=0o4755, uid=7, gid=8, size=1000,
        mtime_ns=1234 * 10**9, stored=1000,
    )  # fmt: skip
    assert data == b"x" * 1000


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_links_and_big_owners_are_read(form):
    info = tarfile.TarInfo("é" * 150)
    info.type, info.linkname, info.uid = tarfile.SYMTYPE, "z" * 300, 5_000_000
    ((entry, _),) = read(tarball((info, b""), form=form))
    assert (entry.name, entry.target) == ("é".encode() * 150, b"z" * 300)
    assert (entry.kind, entry.uid) == ("symlink", 5_000_000)


@given(
    name=NAME,
    target=NAME,
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 2),
    seconds=st.integers(-(10**9), 2**35),
    size=st.integers(0, 2**40),
    xattrs=st.dictionaries(
        st.binary(min_size=1, max_size=20).map(
            lambda b: b"user." + b.replace(b"=", b"-").replace(b"\0", b"-")
        ),
        st.binary(max_size=50),
        max_size=3,
    ),
)
def test_any_entry_survives_packing_and_parsing(  # noqa: PLR0917
    name, target, mode, uid, seconds, size, xattrs
):
    entry = Entry(
        name=name, kind="file", mode=mode, uid=uid, gid=uid, size=size, stored=size,
        mtime_ns=seconds * 10**9, xattrs=xattrs,
    )  # fmt: skip
    link = entry._replace(kind="symlink", target=target, size=0, stored=0, name=b"dir/" + name)
    packed = pack_header(link) + pack_header(entry)
    reader = TarReader(iter([packed]))
    assert reader._next() == link
    # Data is missing on purpose: sizes of terabytes are only numbers here.
    found = reader._next()
    expected_kind = "file"
    assert (found.name, found.kind, found.size) == (name, expected_kind, size)
    assert found == entry


def test_headers_are_what_gnu_tar_reads(tmp_path):
    names = [b"plain", b"n" * 130, "ünï".encode(), b"\xff\xfe", b"d" * 90 + b"/" + b"f" * 90]
    body = b"".join(pack_header(Entry(name=n, kind="file", uid=3_000_000)) for n in names) + END
    (tmp_path / "a.tar").write_bytes(body)
    listed = subprocess.run(
        ["tar", "--numeric-owner", "--quoting-style=literal", "-tvf", tmp_path / "a.tar"],
        capture_output=True, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"},
    ).stdout  # fmt: skip
    lines = listed.splitlines()
    assert [line.split(b" ")[-1] for line in lines] == names
    assert all(b"3000000/0" in line for line in lines)


@pytest.mark.parametrize(
    "flags", [["--format=gnu"], *([f"--sparse-version={v}"] for v in ("0.0", "0.1", "1.0"))]
)
@pytest.mark.parametrize("holes", [3, 60])
def test_sparse_files_of_every_kind_are_read(tmp_path, flags, holes):
    with open(tmp_path / "s", "wb") as file:
        for n in range(holes):
            file.seek(n * 200_000)
            file.write(bytes([n + 1]) * 5000)
        file.truncate(holes * 200_000)
    form = [] if flags[0].startswith("--format") else ["--format=posix"]
    body = subprocess.run(
        ["tar", "-C", tmp_path, "-S", *form, *flags, "-cf", "-", "s"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    ((entry, data),) = read(body, 1 << 16)
    assert entry.name == b"s"
    assert entry.size == holes * 200_000
    whole = bytearray(entry.size)
    at = 0
    for offset, length in entry.sparse:
        whole[offset : offset + length] = data[at : at + length]
        at += length
    assert bytes(whole) == (tmp_path / "s").read_bytes()


def test_an_empty_archive_has_no_entries():
    assert read(b"") == []
    assert read(END) == []


def test_every_truncation_inside_an_entry_is_an_error():
    body = tarball((tarfile.TarInfo("a" * 200), b"data" * 300))
    content = len(body.rstrip(b"\0"))
    for cut in range(1, content, 97):
        with pytest.raises(ContentError):
            read(body[:cut])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"at": 148, "to": b"0000000\0"}, "checksum"),
        ({"at": 124, "to": b"77777777777\0"}, None),  # more data than there is
        ({"at": 124, "to": b"not octal\0\0\0"}, None),
        ({"at": 124, "to": b"\xff" * 12}, "negative"),
        ({"at": 156, "to": b"Q"}, "type"),
    ],
)
def test_damaged_headers_are_errors(change, why):
    block = bytearray(pack_header(Entry(name=b"f", kind="file")))
    at, to = change["at"], change["to"]
    block[at : at + len(to)] = to
    if why != "checksum":
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
    with pytest.raises(ContentError, match=why):
        read(bytes(block) + END)


@pytest.mark.parametrize(
    "body",
    [
        b"5 a=b\n",
        b"x a=b\n",
        b"6 a=b",
        b"9999999999999999999999 a=b\n",
        b"4 a\n\n",
        b"5 =b\n",
        b"0 ",
    ],
)
def test_damaged_pax_records_are_errors(body):
    with pytest.raises(ContentError):
        parse_pax(body)


@pytest.mark.parametrize(
    "record",
    [
        (b"size", b"-1"),
        (b"size", b"9" * 50),
        (b"mtime", b"nan"),
        (b"path", b"a\0b"),
        (b"uid", b"1e3"),
    ],
)
def test_pax_values_that_cannot_be_are_errors(record):
    with pytest.raises(ContentError):
        with_pax(Entry(name=b"f", kind="file"), [record])


def test_an_extension_header_that_would_fill_the_memory_is_refused():
    head = Entry(name=b"f", kind="file", size=1 << 40)
    block = bytearray(pack_header(head)[-BLOCK:])
    block[156:157] = b"x"
    block[124:136] = b"\x80" + (1 << 40).to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    with pytest.raises(ContentError, match="extension"):
        read(bytes(block) + END)


def test_base_256_numbers_are_read_with_their_sign():
    assert number(b"\x80" + b"\0" * 6 + b"\x05", "x") == 5
    assert number(b"\xff" * 8, "x") == -1


@given(st.binary(max_size=4096))
def test_random_bytes_raise_only_our_errors(body):
    with contextlib.suppress(ArgosyError):
        read(body)


@given(st.binary(min_size=BLOCK, max_size=BLOCK))
def test_random_header_blocks_with_a_right_checksum_raise_only_our_errors(block):
    mutable = bytearray(block)
    mutable[148:156] = b" " * 8
    mutable[148:156] = b"%06o\0 " % sum(mutable)
    try:
        parse_header(bytes(mutable))
        read(bytes(mutable) + block * 3)
    except ArgosyError:
        pass


@settings(max_examples=200)
@given(st.data())
def test_mutated_archives_raise_only_our_errors(data):
    infos = [tarfile.TarInfo("d/" * 60 + "f"), tarfile.TarInfo("s"), tarfile.TarInfo("é")]
    infos[0].pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.realsize": "9",
        "SCHILY.xattr.user.a": "b",
    }
    body = bytearray(tarball(*((i, b"1\n0\n9\n" + bytes(600)) for i in infos)))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at] = data.draw(st.integers(0, 255))
    for start in range(0, len(body), BLOCK):
        block = body[start : start + BLOCK]
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            body[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    with contextlib.suppress(ArgosyError):
        read(bytes(body))
