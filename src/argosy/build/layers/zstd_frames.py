"""Reading zstd: frames after one another, skippable ones among them, memory bounded.

The blocks are found here and handed to the library a few at a time: a block of four
bytes may stand for 128 KiB, and the library gives back all that its input stands for.
Source: RFC 8878, 3.1.1 (frames, blocks) and 3.1.2 (skippable frames).
"""

from collections.abc import Iterator
from typing import Any

from argosy.build.layers.reader import Stream
from argosy.errors import ContentError

_MAGIC = 0xFD2FB528
_SKIPPABLE = 0x184D2A50
_WINDOW = 1 << 27  # what `zstd -d` takes without being told to
_BLOCKS = 8  # at once; each is 128 KiB at most
_RAW, _RLE, _COMPRESSED = 0, 1, 2


def unzstd(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """What the frames hold, in pieces of 1 MiB at most. EOFError if the last one is cut short.

    ContentError says what else is wrong.
    """
    import zstandard  # noqa: PLC0415 - 15 ms that most builds do not need

    library = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    try:
        yield from _Frames(pieces, library).plain()
    except zstandard.ZstdError as e:
        raise _damaged(str(e)) from e


def _damaged(why: str) -> ContentError:
    return ContentError(
        "the zstd stream cannot be decompressed", why=why, remedy="fetch or make it again"
    )


class _Frames:
    """The frames of one stream."""

    def __init__(self, pieces: Iterator[bytes], library: Any) -> None:
        self._stream = Stream(pieces)
        self._library = library

    def plain(self) -> Iterator[bytes]:
        """What all of them hold."""
        while head := bytes(self._stream.take(1)):
            head += self._exactly(3)
            magic = int.from_bytes(head, "little")
            if magic & ~0xF == _SKIPPABLE:
                self._skip(int.from_bytes(self._exactly(4), "little"))
            elif magic == _MAGIC:
                yield from self._frame(head)
            else:
                raise _damaged("what follows a frame is none")

    def _frame(self, head: bytes) -> Iterator[bytes]:
        frame = self._library.decompressobj()
        flags = self._exactly(1)[0]
        batch = [head, bytes([flags]), self._exactly(_rest_of_header(flags))]
        last, count = False, 0
        while not last:
            header = self._exactly(3)
            value = int.from_bytes(header, "little")
            last, kind, size = bool(value & 1), value >> 1 & 3, value >> 3
            if kind not in (_RAW, _RLE, _COMPRESSED):
                raise _damaged("a block is of a kind that there is not")
            batch += [header, self._exactly(1 if kind == _RLE else size)]
            count += 1
            if count == _BLOCKS and not last:
                yield frame.decompress(b"".join(batch))
                batch, count = [], 0
        if flags & 4:
            batch.append(self._exactly(4))  # the checksum, which the library looks at
        yield frame.decompress(b"".join(batch))
        if not frame.eof:
            raise EOFError("it ends too early")

    def _exactly(self, count: int) -> bytes:
        try:
            return self._stream.exactly(count) if count else b""
        except ContentError as e:
            raise EOFError("it ends too early") from e

    def _skip(self, count: int) -> None:
        try:
            self._stream.skip(count)
        except ContentError as e:
            raise EOFError("it ends too early") from e


def _rest_of_header(flags: int) -> int:
    """The size of a frame header behind its first byte (RFC 8878, 3.1.1.1)."""
    single = flags >> 5 & 1
    size_of_size = (single, 2, 4, 8)[flags >> 6]
    return (1 - single) + (0, 1, 2, 4)[flags & 3] + size_of_size
