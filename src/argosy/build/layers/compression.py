"""Compressing and decompressing layers: gzip, zstd, plain, eStargz, zstd:chunked; bzip2 and xz to read only.

Output is deterministic: it depends on the content, the level and the library, not on
the machine, the number of its processors or the sizes of the pieces. Bytes do differ
between versions of a library, so these are pinned and named in `str(compression)`,
which is part of a layer's key in the cache.
"""

import bz2
import lzma
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from typing import Any, Literal, Protocol, cast, get_args

from argosy.build.layers.deflate import LIBRARY, ParallelGzip, workers
from argosy.errors import ContentError, UsageError
from argosy.model import media
from argosy.model.digest import Digest
from argosy.values import frozen

Name = Literal["gzip", "zstd", "none", "estargz", "zstd:chunked"]
NAMES: tuple[Name, ...] = get_args(Name)
PIECE = 1 << 20
_MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
)
_GZIP, _ZSTD = ("gzip", (0, 9), 6, LIBRARY), ("zstd", (1, 22), 3, "zstd-1.5.7")
_KINDS: Mapping[Name, tuple[str, tuple[int, int], int, str]] = {
    "gzip": _GZIP,
    "estargz": _GZIP,
    "zstd": _ZSTD,
    "zstd:chunked": _ZSTD,
    "none": ("", (0, 0), 0, ""),
}
_MEDIA = {"gzip": media.OCI_LAYER_GZIP, "zstd": media.OCI_LAYER_ZSTD, "": media.OCI_LAYER}
_WINDOW_LOG = 23  # 8 MiB: what every reader of zstd has to take (RFC 8878, 3.1.1.1.2)
_JOB = 4 << 20  # bytes that one thread of zstd takes


@frozen(kw_only=True)
class Compression:
    """How layers are compressed. Levels: gzip 0-9 on Go's scale, zstd 1-22; None is 6 and 3."""

    name: Name = "gzip"
    level: int | None = None

    def __post_init__(self) -> None:
        low, high = _KINDS[self.name][1]
        if self.level is not None and not low <= self.level <= high:
            raise UsageError(
                f"{self.name} has no level {self.level}", remedy=f"use {low} to {high}"
            )

    def __str__(self) -> str:
        """What the bytes of a layer follow from, given its tar."""
        if self.name == "none":
            return "none"
        return f"{self.name}-{self.exact_level} {_KINDS[self.name][3]}"

    @property
    def exact_level(self) -> int:
        """The level, the default one where none is asked for."""
        return _KINDS[self.name][2] if self.level is None else self.level

    @property
    def media_type(self) -> str:
        """The OCI media type of a layer compressed this way."""
        return _MEDIA[_KINDS[self.name][0]]

    def start(self) -> "Compressor":
        """A compressor for one stream; UsageError for the forms that need to see the tar."""
        if self.name == "gzip":
            return ParallelGzip(self.exact_level)
        if self.name == "zstd":
            stream: Compressor = zstd(self.exact_level).compressobj()
            return stream
        if self.name == "none":
            return _Plain()
        raise UsageError(f"{self.name} is a form of layers only", remedy="use gzip or zstd")

    def encoder(self) -> "Encoder":
        """An encoder of one layer's tar."""
        if self.name == "estargz":
            from argosy.build.layers.estargz import EStargz  # noqa: PLC0415 - when asked for

            return EStargz(self.exact_level)
        if self.name == "zstd:chunked":
            from argosy.build.layers.zstd_chunked import ZstdChunked  # noqa: PLC0415

            return ZstdChunked(self.exact_level)
        return _Streamed(self.start())


def zstd(level: int, *, threads: bool = True) -> Any:
    """A zstandard.ZstdCompressor; without `threads` for many small frames.

    With threads the stream is cut into jobs of a fixed size: how many threads there are
    does not show. Windows and tables are bounded (250 MB at the highest level), so levels
    above 19 search harder but not farther.
    """
    import zstandard  # noqa: PLC0415 - 15 ms that most builds do not need

    known = zstandard.ZstdCompressionParameters.from_level(level)
    more = {"threads": min(4, max(1, workers())), "job_size": _JOB} if threads else {}
    bounds = {
        "window_log": min(known.window_log, _WINDOW_LOG),
        "chain_log": min(known.chain_log, _WINDOW_LOG + 1),
        "hash_log": min(known.hash_log, _WINDOW_LOG),
    }
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, write_checksum=True, **bounds, **more
    )
    return zstandard.ZstdCompressor(compression_params=parameters)


class Compressor(Protocol):
    """Turns pieces into compressed pieces; `flush` ends the stream."""

    def compress(self, data: bytes, /) -> bytes:
        """What comes out for these bytes; may be nothing yet."""
        ...

    def flush(self) -> bytes:
        """The rest."""
        ...


@frozen(kw_only=True)
class Encoded:
    """What became of a layer: its diffID if that is another now, and what its descriptor says."""

    diff_id: Digest | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


class Encoder(Protocol):
    """Turns the pieces of a tar into those of a blob."""

    def encoded(self, pieces: Iterable[bytes], /) -> Iterator[bytes]:
        """The blob."""
        ...

    def result(self) -> Encoded:
        """What came out; to be asked at the end."""
        ...


@frozen
class _Streamed:
    compressor: Compressor

    def encoded(self, pieces: Iterable[bytes], /) -> Iterator[bytes]:
        for piece in pieces:
            yield self.compressor.compress(piece)
        yield self.compressor.flush()

    def result(self) -> Encoded:
        return Encoded()


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


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
    except (lzma.LZMAError, OSError, EOFError) as e:
        if isinstance(e, OSError) and e.errno is not None:
            raise  # reading the input failed; its bytes are not to blame
        raise damaged(kind, str(e) or "it ends too early") from e


def damaged(kind: str, why: str) -> ContentError:
    """The compressed stream cannot be read to its end."""
    return ContentError(
        f"the {kind} stream cannot be decompressed", why=why, remedy="fetch or make it again"
    )


def _gunzip(pieces: Iterator[bytes]) -> Iterator[bytes]:
    from isal import igzip_lib  # noqa: PLC0415 - only who decompresses needs it

    error = cast("type[Exception]", igzip_lib.IsalError)  # its stub calls it an instance
    try:
        # It checks each member's CRC and length itself.
        yield from _members(pieces, lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP))
    except error as e:
        raise damaged("gzip", str(e)) from e


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
    from argosy.build.layers.zstd_frames import unzstd  # noqa: PLC0415

    yield from unzstd(pieces)


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
