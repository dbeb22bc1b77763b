"""zstd:chunked: a zstd layer of which podman, buildah and CRI-O fetch only the files they lack.

The tar is cut into frames: the data of each file in frames of its own, the headers
between them in others. Behind them three skippable frames: the table of contents, what
is needed to put the very tar together again from files (tar-split), and a footer. The
tar, and so the diffID, stays what it was; to everybody else it is zstd of several frames.

There are two footers in the field: that of containers/storage (64 bytes), which nobody
reads (it goes by annotations), and an older one of 40 bytes that stargz-snapshotter reads.
The latter is written. Source: containers/storage, pkg/chunked; vbatts/tar-split,
tar/storage; containerd/stargz-snapshotter, estargz/zstdchunked.
"""

import base64
import functools
import hashlib
import json
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from argosy.build.layers.compression import Encoded, zstd
from argosy.build.layers.toc import (
    Chunk,
    Heading,
    Landed,
    Members,
    Row,
    Table,
    described,
    digest_of,
    parts,
)

_PREFIX = "io.github.containers.zstd-chunked."
CHECKSUM = f"{_PREFIX}manifest-checksum"
_POSITION = f"{_PREFIX}manifest-position"
_TAR_SPLIT = f"{_PREFIX}tarsplit-position"
_SKIPPABLE = b"\x50\x2a\x4d\x18"
_CRFS = 1  # the kind of the table
_MAGIC = b"GnUlInUx"
_FILE, _SEGMENT = 1, 2  # tar-split's entries


class ZstdChunked:
    """An Encoder."""

    def __init__(self, level: int) -> None:
        self._compress = _Frames(level)
        self._members = Members(self._compress)
        self._table = Table()
        self._split = _TarSplit(level)
        self._file: Row = Row({})
        self._digest = hashlib.sha256()
        self._encoded = Encoded()

    def encoded(self, pieces: Iterable[bytes], /) -> Iterator[bytes]:
        """The blob."""
        for part in parts(pieces):
            if isinstance(part, Chunk):
                self._split.data(part)
                yield from self._chunk(part)
            else:
                yield from self._heading(part)
            self._table.settle()
        yield from self._members.finish()
        yield from self._end()

    def result(self) -> Encoded:
        """Where readers look for the table."""
        return self._encoded

    def _heading(self, heading: Heading) -> Iterator[bytes]:
        text = heading.padding + heading.raw
        self._split.segment(text)
        if text:
            yield from self._members.add(text)
        if heading.entry is None:
            return
        row = Row(described(heading.entry, heading.raw))
        if heading.entry.kind == "file" and heading.entry.size:
            row.missing = 2  # where it begins, where it ends
        self._split.file(heading.entry.name, heading.entry.size)
        self._file = self._table.add(row)

    def _chunk(self, chunk: Chunk) -> Iterator[bytes]:
        row = self._file
        if chunk.at:
            value = {"name": row.value["name"], "type": "chunk", "chunkOffset": chunk.at}
            row = self._table.add(Row(value, missing=1))
        if chunk.at or not chunk.last:
            row.value["chunkSize"] = len(chunk.data)
            self._add_to_digest(chunk)
        then = functools.partial(_landed, self._file, row, chunk.last)
        yield from self._members.add(chunk.data, len(chunk.data), then)

    def _add_to_digest(self, chunk: Chunk) -> None:
        if not chunk.at:
            self._digest = hashlib.sha256()
        self._digest.update(chunk.data)
        if chunk.last:
            self._file.value["digest"] = f"sha256:{self._digest.hexdigest()}"

    def _end(self) -> Iterator[bytes]:
        split, split_size = self._split.finish()
        body = self._table.finish(tarSplitDigest=digest_of(split))
        packed = self._compress(body)
        at = self._members.position + 8  # behind the head of the skippable frame
        yield _skippable(packed)
        yield _skippable(split)
        numbers = (at, len(packed), len(body), _CRFS)
        yield _skippable(b"".join(n.to_bytes(8, "little") for n in numbers) + _MAGIC)
        notes = {
            CHECKSUM: digest_of(packed),
            _POSITION: ":".join(map(str, numbers)),
            _TAR_SPLIT: f"{at + len(packed) + 8}:{len(split)}:{split_size}",
        }
        # Not eStargz's toc.digest too: podman would take it for that, and newer ones refuse both.
        self._encoded = Encoded(annotations=notes)


def _landed(file: Row, row: Row, last: bool, where: Landed) -> None:
    row.value["offset"] = where.start
    row.missing -= 1
    row.value["chunkDigest"] = where.digest  # stargz-snapshotter wants it of every file
    if "chunkSize" not in row.value:
        row.value["digest"] = where.digest
    if last:
        file.value["endOffset"] = where.end
        file.missing -= 1


def _skippable(data: bytes) -> bytes:
    return _SKIPPABLE + len(data).to_bytes(4, "little") + data


class _Frames:
    """Compresses a frame; each thread has a library's context of its own."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._of_thread = threading.local()

    def __call__(self, data: bytes) -> bytes:
        if not hasattr(self._of_thread, "zstd"):
            self._of_thread.zstd = zstd(self._level, threads=False)
        return bytes(self._of_thread.zstd.compress(data))


class _TarSplit:
    """The tar without its files' data: lines of JSON, compressed as they come."""

    def __init__(self, level: int) -> None:
        self._stream = zstd(level, threads=False).compressobj()
        self._packed = bytearray()
        self._size = 0
        self._count = 0
        self._waiting: dict[str, Any] | None = None  # a file whose data is not all there
        self._crc = 0

    def segment(self, raw: bytes) -> None:
        """Bytes of the tar that are no file's data."""
        self._file_ends()
        if raw:
            self._put({"type": _SEGMENT, "payload": base64.b64encode(raw).decode()})

    def file(self, name: bytes, size: int) -> None:
        """An entry; its data comes next."""
        more = {"size": size} if size else {}
        self._waiting = {"type": _FILE, "name": name.decode(), **more, "payload": None}
        self._crc = 0

    def data(self, chunk: Chunk) -> None:
        """Some of the entry's data."""
        from fastcrc import crc64  # noqa: PLC0415 - for this form only

        self._crc = crc64.go_iso(chunk.data, self._crc if chunk.at else None)
        if self._waiting is not None:
            payload = base64.b64encode(self._crc.to_bytes(8, "big"))
            self._waiting["payload"] = payload.decode()

    def finish(self) -> tuple[bytes, int]:
        """All of it, compressed, and the size it had."""
        self._file_ends()
        self._packed += self._stream.flush()
        return bytes(self._packed), self._size

    def _file_ends(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._put(waiting)

    def _put(self, value: dict[str, Any]) -> None:
        text = json.dumps({**value, "position": self._count}, separators=(",", ":")).encode()
        self._count += 1
        self._size += len(text) + 1
        self._packed += self._stream.compress(text + b"\n")
