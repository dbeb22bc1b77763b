"""What eStargz and zstd:chunked share: a tar taken apart, its parts compressed singly, a table of them.

Both let a node fetch single files of a layer: every file begins a gzip member or zstd
frame of its own, and a table of contents (TOC, JSON) says where. Source: eStargz,
docs/estargz.md; containers/storage, docs/containers-storage-zstd-chunked.md.
"""

import base64
import functools
import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from argosy.build.layers.deflate import pool, workers
from argosy.build.layers.header import BLOCK, Entry, Kind, number
from argosy.build.layers.reader import TarReader
from argosy.errors import ContentError

CHUNK = 4 << 20  # the reference's size for both formats: a file is fetched in such pieces
_BATCH = 512 << 10  # bytes that are worth handing to another thread
_TYPES: dict[Kind, str] = {"file": "reg", "link": "hardlink"}


class Heading(NamedTuple):
    """What stands before an entry's data: the end of the one before it, and the headers.

    The last one has no entry, and holds all that ends the archive.
    """

    padding: bytes
    raw: bytes
    entry: Entry | None


class Chunk(NamedTuple):
    """A piece of the data of the file whose heading was last."""

    at: int
    data: bytes
    last: bool


def parts(pieces: Iterable[bytes]) -> Iterator[Heading | Chunk]:
    """A tar as headings and chunks of CHUNK bytes; joined again they are the tar.

    ContentError for sparse files: what is stored of them is not what they hold.
    """
    seen = bytearray()
    padding = 0
    reader = TarReader(iter(pieces), tap=seen.extend)
    for entry in reader:
        if entry.sparse is not None:
            raise _unfit(entry, "it is stored as a sparse file")
        yield Heading(bytes(seen[:padding]), bytes(seen[padding:]), entry)
        for chunk in _chunks(reader, entry.size):
            seen.clear()
            yield chunk
        seen.clear()
        padding = -entry.stored % BLOCK
    yield Heading(bytes(seen[:padding]), bytes(seen[padding:]), None)


def _chunks(reader: TarReader, size: int) -> Iterator[Chunk]:
    at, held = 0, bytearray()
    for piece in reader.data():
        held += piece
        while len(held) >= CHUNK:
            yield Chunk(at, bytes(memoryview(held)[:CHUNK]), at + CHUNK == size)
            del held[:CHUNK]
            at += CHUNK
    if held:
        yield Chunk(at, bytes(held), last=True)


def _unfit(entry: Entry, why: str) -> ContentError:
    return ContentError(
        f"a layer with {entry.name[:300]!r} cannot have a table of contents",
        why=why,
        remedy="use compression=gzip or zstd",
    )


def described(entry: Entry, raw: bytes) -> dict[str, Any]:
    """An entry as both tables of contents have it, but for where its data is."""
    header = raw[-BLOCK:]
    found: dict[str, Any] = {"name": _text(entry, entry.name)}
    found["type"] = _TYPES.get(entry.kind, entry.kind)
    numbers = {
        "size": entry.size,
        "mode": number(header[100:108], "mode"),  # as it stands there: readers compare
        "uid": entry.uid,
        "gid": entry.gid,
        "devMajor": entry.major if entry.kind in ("char", "block") else 0,
        "devMinor": entry.minor if entry.kind in ("char", "block") else 0,
    }
    if time := _time(entry.mtime_ns):
        found["modtime"] = time
    if entry.target:
        found["linkName"] = _text(entry, entry.target)
    found |= {key: value for key, value in numbers.items() if value}
    if entry.xattrs:
        found["xattrs"] = {
            _text(entry, key): base64.b64encode(value).decode()
            for key, value in sorted(entry.xattrs.items())
        }
    return found


def _text(entry: Entry, name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as e:
        raise _unfit(entry, "its name is not UTF-8, and such a table is JSON") from e


def _time(mtime_ns: int) -> str:
    """RFC 3339; nothing for what it cannot say."""
    seconds, rest = divmod(mtime_ns, 1_000_000_000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0") + fraction + "Z"


@dataclass(slots=True)
class Row:
    """An entry of the table that may still wait for `missing` facts."""

    value: dict[str, Any]
    missing: int = 0


class Table:
    """The table of contents, growing. What is complete is kept as text: it may be 100 000 entries."""

    def __init__(self) -> None:
        self._rows: deque[Row] = deque()
        self._text = bytearray(b'{"version":1,"entries":[')
        self.empty = True

    def add(self, row: Row) -> Row:
        """Put a row at the end."""
        self._rows.append(row)
        self.settle()
        return row

    def settle(self) -> None:
        """Write down the rows that are complete."""
        while self._rows and not self._rows[0].missing:
            # Sorted: threads finish in any order, and fill in their parts of a row as they do.
            value = self._rows.popleft().value
            text = json.dumps(value, separators=(",", ":"), sort_keys=True)
            self._text += b"" if self.empty else b",\n"
            self._text += text.encode()
            self.empty = False

    def finish(self, **more: str) -> bytes:
        """The whole of it."""
        self.settle()
        words = b"".join(b',"%s":"%s"' % (k.encode(), v.encode()) for k, v in more.items())
        return bytes(self._text) + b"]" + words + b"}"


class Landed(NamedTuple):
    """Where a member came to lie in the blob, and the digest of the data at its beginning."""

    start: int
    end: int
    digest: str


class _Member(NamedTuple):
    data: bytes
    payload: int  # bytes at the beginning whose digest is wanted
    then: Callable[[Landed], object] | None


class Members:
    """Compresses parts by themselves, several at once, and gives them back in order."""

    def __init__(self, compress: Callable[[bytes], bytes]) -> None:
        self._compress = compress
        self._batch: list[_Member] = []
        self._size = 0
        self._jobs: deque[tuple[list[_Member], Future[list[tuple[bytes, str]]]]] = deque()
        self.position = 0

    def add(
        self, data: bytes, payload: int = 0, then: Callable[[Landed], object] | None = None
    ) -> Iterator[bytes]:
        """One more; what comes out is what is ready of all of them."""
        self._batch.append(_Member(data, payload, then))
        self._size += len(data)
        if self._size >= _BATCH:
            self._send()
            yield from self._ready(workers() + 1)

    def finish(self) -> Iterator[bytes]:
        """All that is not out yet."""
        self._send()
        yield from self._ready(0)

    def _send(self) -> None:
        if self._batch:
            job = functools.partial(_compressed, self._compress, self._batch)
            self._jobs.append((self._batch, pool().submit(job)))
            self._batch, self._size = [], 0

    def _ready(self, limit: int) -> Iterator[bytes]:
        while self._jobs and (len(self._jobs) > limit or self._jobs[0][1].done()):
            batch, job = self._jobs.popleft()
            for member, (blob, digest) in zip(batch, job.result(), strict=True):
                start, self.position = self.position, self.position + len(blob)
                if member.then is not None:
                    member.then(Landed(start, self.position, digest))
                yield blob


def _compressed(
    compress: Callable[[bytes], bytes], batch: list[_Member]
) -> list[tuple[bytes, str]]:
    return [
        (compress(member.data), digest_of(memoryview(member.data)[: member.payload]))
        for member in batch
    ]


def digest_of(data: bytes | memoryview) -> str:
    """`sha256:` and hexadecimal digits."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
