"""Compressing and decompressing layers: gzip by ISA-L, zstd, plain; bzip2 and xz to read only.

Output is deterministic: gzip's header carries neither time nor name. Bytes do
differ between libraries and levels, so the level belongs to a layer's identity.
"""

import bz2
import lzma
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Protocol, cast

from isal import igzip_lib, isal_zlib

from argosy.errors import ContentError, UsageError
from argosy.model import media
from argosy.values import frozen

Name = Literal["gzip", "zstd", "none"]
PIECE = 1 << 20
_ZSTD_INPUT = 4 << 10  # bytes at once: a block of 4 bytes may stand for 128 KiB
_MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
)
_IsalError = cast("type[Exception]", igzip_lib.IsalError)  # its stub calls it an instance
_LEVELS = {"gzip": (0, 3), "zstd": (1, 19), "none": (0, 0)}
_DEFAULT = {"gzip": 2, "zstd": 3, "none": 0}
_MEDIA = {
    "gzip": media.OCI_LAYER_GZIP,
    "zstd": media.OCI_LAYER_ZSTD,
    "none": media.OCI_LAYER,
}


@frozen(kw_only=True)
class Compression:
    """How layers are compressed. Levels: gzip 0-3 (ISA-L's), zstd 1-19; None is the default one."""

    name: Name = "gzip"
    level: int | None = None

    def __post_init__(self) -> None:
        low, high = _LEVELS[self.name]
        if self.level is not None and not low <= self.level <= high:
            raise UsageError(
                f"{self.name} has no level {self.level}", remedy=f"use {low} to {high}"
            )

    @property
    def media_type(self) -> str:
        """The OCI media type of a layer compressed this way."""
        return _MEDIA[self.name]

    def start(self) -> "Compressor":
        """A compressor for one stream."""
        level = _DEFAULT[self.name] if self.level is None else self.level
        if self.name == "gzip":
            return _Gzip(isal_zlib.compressobj(level, wbits=-15), isal_zlib.crc32)
        if self.name == "zstd":
            import zstandard  # noqa: PLC0415 - 15 ms that most builds do not need

            return zstandard.ZstdCompressor(level=level, write_checksum=True).compressobj()
        return _Plain()


class Compressor(Protocol):
    """Turns pieces into compressed pieces; `flush` ends the stream."""

    def compress(self, data: bytes, /) -> bytes:
        """What comes out for these bytes; may be nothing yet."""
        ...

    def flush(self) -> bytes:
        """The rest."""
        ...


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


class _Gzip:
    """RFC 1952 around a raw deflate stream: mtime 0, no name, OS unknown."""

    def __init__(self, deflate: Compressor, crc32: "_Crc") -> None:
        self._deflate = deflate
        self._crc32 = crc32
        self._crc = 0
        self._size = 0
        self._head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"

    def compress(self, data: bytes, /) -> bytes:
        self._crc = self._crc32(data, self._crc)
        self._size += len(data)
        head, self._head = self._head, b""
        return head + self._deflate.compress(data)

    def flush(self) -> bytes:
        tail = self._crc.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")
        head, self._head = self._head, b""
        return head + self._deflate.flush() + tail


class _Crc(Protocol):
    def __call__(self, data: bytes, value: int, /) -> int: ...


def sniff(head: bytes) -> str:
    """`gzip`, `zstd`, `bzip2`, `xz`, or `none`, from the first bytes; what ADD and layers go by."""
    return next((name for magic, name in _MAGIC if head.startswith(magic)), "none")


def decompressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The plain bytes, whatever the compression; told by the first bytes, not by a media type.

    Pieces that come out are bounded (about 1 MiB) however well the input is
    compressed. ContentError if the stream is damaged or cut short.
    """
    source = iter(pieces)
    head = b""
    for piece in source:
        head += piece
        if len(head) >= 6:
            break
    kind = sniff(head)
    chained = _chain(head, source)
    if kind == "none":
        return chained
    return _checked(kind, _READERS[kind](chained))


def _chain(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest


def _checked(kind: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from pieces
    except (_IsalError, lzma.LZMAError, OSError, EOFError) as e:
        if isinstance(e, OSError) and e.errno is not None:
            raise  # reading the input failed; its bytes are not to blame
        raise damaged(kind, str(e) or "it ends too early") from e


def damaged(kind: str, why: str) -> ContentError:
    """The compressed stream cannot be read to its end."""
    return ContentError(
        f"the {kind} stream cannot be decompressed", why=why, remedy="fetch or make it again"
    )


def _gunzip(pieces: Iterator[bytes]) -> Iterator[bytes]:

    # It checks each member's CRC and length itself.
    return _members(pieces, lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP))


def _members(pieces: Iterator[bytes], start: Callable[[], "_Decompressor"]) -> Iterator[bytes]:
    """Members may follow one another (RFC 1952 2.2; eStargz has one per file), then zeros."""
    rest = b""
    while rest := rest or next(pieces, b""):
        member = start()
        data = rest
        while not member.eof:
            yield member.decompress(data, PIECE)
            data = b""
            if member.needs_input and not member.eof and not (data := next(pieces, b"")):
                raise EOFError("it ends too early")
        rest = member.unused_data
        while not rest.strip(b"\0"):
            if not (rest := next(pieces, b"")):
                return


def _unzstd(pieces: Iterator[bytes]) -> Iterator[bytes]:
    import zstandard  # noqa: PLC0415

    start = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj
    frame = start()
    fed = False
    try:
        for piece in pieces:
            for at in range(0, len(piece), _ZSTD_INPUT):
                rest = piece[at : at + _ZSTD_INPUT]
                while rest:
                    if frame.eof:
                        frame = start()
                    yield frame.decompress(rest)
                    rest = frame.unused_data
                fed = True
    except zstandard.ZstdError as e:
        raise damaged("zstd", str(e)) from e
    if fed and not frame.eof:
        raise EOFError("it ends too early")


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _unbzip2(pieces: Iterator[bytes]) -> Iterator[bytes]:

    return _members(pieces, bz2.BZ2Decompressor)


def _unxz(pieces: Iterator[bytes]) -> Iterator[bytes]:

    return _members(pieces, lambda: lzma.LZMADecompressor(memlimit=1 << 30))


_READERS = {"gzip": _gunzip, "zstd": _unzstd, "bzip2": _unbzip2, "xz": _unxz}
