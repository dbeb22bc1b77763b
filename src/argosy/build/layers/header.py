"""Tar headers as values: one `Entry` per member, packed to and parsed from 512-byte blocks.

POSIX.1-2001 (pax) is written; ustar, pax and GNU are read. Names are bytes, as the
kernel has them. Source: POSIX pax, "pax Interchange Format"; GNU tar manual,
"Basic Tar Format"; OCI image-spec layer.md.
"""

import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Literal, NamedTuple
from zlib import adler32

from argosy.errors import ContentError

BLOCK = 512
END = bytes(2 * BLOCK)

Kind = Literal["file", "link", "symlink", "char", "block", "dir", "fifo"]

KINDS: dict[bytes, Kind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",  # contiguous: a plain file to everybody
    b"S": "file",  # GNU sparse
    b"1": "link",
    b"2": "symlink",
    b"3": "char",
    b"4": "block",
    b"5": "dir",
    b"6": "fifo",
}
_FLAGS: dict[Kind, bytes] = {
    "file": b"0",
    "link": b"1",
    "symlink": b"2",
    "char": b"3",
    "block": b"4",
    "dir": b"5",
    "fifo": b"6",
}
XATTR = b"SCHILY.xattr."


class Entry(NamedTuple):
    """One member of an archive. `size` is what the file has in the end; `stored` what the archive holds."""

    name: bytes
    kind: Kind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    target: bytes = b""  # of a link or symlink
    major: int = 0
    minor: int = 0
    xattrs: Mapping[bytes, bytes] = {}
    stored: int = 0
    sparse: tuple[tuple[int, int], ...] | None = None  # (offset, length) of what is stored


_LAYOUT = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x")
_SUM_AT = slice(148, 156)


def pack_header(entry: Entry) -> bytes:
    """The header blocks of an entry: a pax header first when ustar cannot say it."""
    name, prefix = entry.name, b""
    records: list[tuple[bytes, bytes]] = []
    if len(name) > 100 or not name.isascii():
        name, prefix = _split(name) if name.isascii() else (b"", b"")
        if not name:
            records.append((b"path", entry.name))
            name = _ascii(entry.name)[:100]
    target = entry.target
    if len(target) > 100 or not target.isascii():
        records.append((b"linkpath", target))
        target = _ascii(target)[:100]
    seconds = entry.mtime_ns // 1_000_000_000
    records += [
        (key, b"%d" % value)
        for key, value, limit in (
            (b"size", entry.size, 1 << 33),
            (b"uid", entry.uid, 1 << 21),
            (b"gid", entry.gid, 1 << 21),
            (b"mtime", seconds, 1 << 33),
        )
        if not 0 <= value < limit
    ]
    records += [(XATTR + key, entry.xattrs[key]) for key in sorted(entry.xattrs)]
    block = _block(entry, name, prefix, target, seconds)
    return _pax(entry.name, records) + block if records else block


def _block(entry: Entry, name: bytes, prefix: bytes, target: bytes, seconds: int) -> bytes:
    block = _LAYOUT.pack(
        name,
        b"%07o" % (entry.mode & 0o7777),
        _octal(entry.uid, 7),
        _octal(entry.gid, 7),
        _octal(entry.size, 11),
        _octal(seconds, 11),
        b"        ",
        _FLAGS[entry.kind],
        target,
        b"ustar\x0000",
        b"",
        b"",
        b"%07o" % entry.major,
        b"%07o" % entry.minor,
        prefix,
    )
    return b"".join((block[:148], b"%06o\0 " % _sum(block), block[156:]))


def _sum(block: bytes | bytearray) -> int:
    """The sum of 512 bytes; `sum` takes twenty times as long.

    Adler-32's lower half is 1 and the sum modulo 65521, which 256 bytes cannot reach.
    """
    return (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2


def _octal(value: int, digits: int) -> bytes:
    # Too large or negative: the pax header says it; what stands here is not looked at.
    return b"%0*o" % (digits, value) if 0 <= value < 8**digits else b"0" * digits


def _ascii(name: bytes) -> bytes:
    return bytes(c if 32 <= c < 127 else 95 for c in name)


def _split(name: bytes) -> tuple[bytes, bytes]:
    """The ustar (name, prefix) halves, or (b"", b"") when the name does not split."""
    cut = name.rfind(b"/", 0, 156)
    rest = name[cut + 1 :]
    return (rest, name[:cut]) if cut > 0 and 0 < len(rest) <= 100 else (b"", b"")


def _pax(name: bytes, records: list[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(_record(key, value) for key, value in records)
    label = b"PaxHeaders.0/" + _ascii(name.rstrip(b"/").rpartition(b"/")[2])[:80]
    head = Entry(name=label, kind="file", mode=0o644, size=len(body))
    block = bytearray(_block(head, label, b"", b"", 0))
    block[156:157] = b"x"
    block[_SUM_AT] = b"        "
    block[_SUM_AT] = b"%06o\0 " % _sum(block)
    return bytes(block) + body + bytes(-len(body) % BLOCK)


def _record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    size = len(rest) + len(str(len(rest)))
    if len(str(size)) > len(str(len(rest))):
        size += 1
    return b"%d" % size + rest


class RawHeader(NamedTuple):
    """One 512-byte block, read but not yet joined with what extension headers say."""

    entry: Entry
    flag: bytes
    block: bytes


def parse_header(block: bytes) -> RawHeader:
    """Read one header block; ContentError if its checksum or a number is wrong."""
    fields = _LAYOUT.unpack(block)
    _check_sum(block, fields[6])
    flag, magic = fields[7], fields[9]
    name = _text(fields[0])
    if magic == b"ustar\x0000" and (prefix := _text(fields[14])):
        name = prefix + b"/" + name
    kind = KINDS.get(flag, "file")
    if kind == "file" and flag != b"S" and name.endswith(b"/"):
        kind = "dir"  # what tars older than POSIX write
    size = number(fields[4], "size")
    if size < 0:
        raise ContentError("a tar header has a negative size")
    entry = Entry(
        name=name,
        kind=kind,
        mode=number(fields[1], "mode") & 0o7777,
        uid=number(fields[2], "uid"),
        gid=number(fields[3], "gid"),
        size=size,
        mtime_ns=number(fields[5], "mtime") * 1_000_000_000,
        target=_text(fields[8]),
        major=number(fields[12], "device"),
        minor=number(fields[13], "device"),
        stored=size,
    )
    return RawHeader(entry, flag, block)


def _check_sum(block: bytes, field: bytes) -> None:
    wanted = number(field, "checksum")
    actual = _sum(block) - sum(block[_SUM_AT]) + 8 * 32
    if wanted != actual and wanted != _signed_sum(block):
        raise ContentError(
            "a tar header has a wrong checksum",
            why="this is no tar archive, or it was damaged",
            remedy="check where the archive comes from and fetch it again",
        )


def _signed_sum(block: bytes) -> int:
    # Some old tars summed signed characters.
    rest = block[:148] + b" " * 8 + block[156:]
    return sum(rest) - 256 * sum(1 for c in rest if c > 127)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


@lru_cache(maxsize=4096)  # modes, owners and times are the same from entry to entry
def number(field: bytes, what: str) -> int:
    """An octal field, or GNU's base-256 form; ContentError if it is neither."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ~(0x80 << (8 * (len(field) - 1)))
        return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
    digits = field.replace(b"\0", b" ").strip(b" ")
    if not digits:
        return 0
    if digits.translate(None, b"01234567"):
        raise ContentError(f"a tar header has an unreadable {what}: {field!r}")
    return int(digits, 8)


def parse_pax(body: bytes) -> list[tuple[bytes, bytes]]:
    """The (key, value) records of a pax header, in order; ContentError if they do not add up."""
    records = []
    at = 0
    while at < len(body):
        space = body.find(b" ", at, at + 20)
        digits = body[at:space]
        if space < 0 or not digits.isdigit():
            raise _bad_pax("a record has no length")
        end = at + int(digits)
        if end > len(body) or end <= space + 1 or body[end - 1 : end] != b"\n":
            raise _bad_pax("a record's length is wrong")
        key, equals, value = body[space + 1 : end - 1].partition(b"=")
        if not equals or not key:
            raise _bad_pax("a record has no key")
        records.append((key, value))
        at = end
    return records


def _bad_pax(why: str) -> ContentError:
    return ContentError("a pax header of the tar archive cannot be read", why=why)


def with_pax(entry: Entry, records: list[tuple[bytes, bytes]]) -> Entry:
    """The entry as the pax records make it; ContentError names the record that cannot be read."""
    xattrs: dict[bytes, bytes] = {}
    found: dict[str, object] = {}
    for key, value in records:
        if key.startswith(XATTR):
            xattrs[key[len(XATTR) :]] = value
        elif (known := _PAX.get(key)) and value:
            found[known[0]] = known[1](value)
    if "size" in found:
        found["stored"] = found["size"]
    return entry._replace(xattrs=xattrs, **found)  # type: ignore[arg-type]


def _pax_int(value: bytes) -> int:
    if len(value) > 20 or not value.isdigit():
        raise _bad_pax(f"{value[:40]!r} is not a number")
    return int(value)


def _pax_name(value: bytes) -> bytes:
    if b"\0" in value:
        raise _bad_pax("a name has a NUL byte in it")
    return value


def _pax_time(value: bytes) -> int:
    whole, _, part = value.partition(b".")
    sign = -1 if whole.startswith(b"-") else 1
    whole = whole.removeprefix(b"-")
    if len(whole) > 18 or not (whole + part or b"?").isdigit():
        raise _bad_pax(f"{value[:40]!r} is not a time")
    return sign * (int(whole or 0) * 1_000_000_000 + int(part[:9].ljust(9, b"0")))


_PAX: dict[bytes, tuple[str, Callable[[bytes], object]]] = {
    b"path": ("name", _pax_name),
    b"linkpath": ("target", _pax_name),
    b"size": ("size", _pax_int),
    b"uid": ("uid", _pax_int),
    b"gid": ("gid", _pax_int),
    b"mtime": ("mtime_ns", _pax_time),
}
