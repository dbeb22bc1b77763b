"""eStargz: a gzip layer whose files can be fetched one by one.

Every file, and every 4 MiB of one, begins a gzip member. The table of contents is
the last entry of the tar, and a footer of 51 bytes says where. To everybody else it is
gzip. `.no.prefetch.landmark` comes first: nothing is known of what a container will
read. Source: containerd/stargz-snapshotter, docs/estargz.md.
"""

import functools
import hashlib
from collections.abc import Iterable, Iterator

from argosy.build.layers.compression import Encoded
from argosy.build.layers.deflate import member
from argosy.build.layers.header import BLOCK, END, Entry, pack_header
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
from argosy.model.digest import Digest

TOC_DIGEST = "containerd.io/snapshot/stargz/toc.digest"
_SIZE = "io.containers.estargz.uncompressed-size"
_TOC = b"stargz.index.json"
_LANDMARK = b".no.prefetch.landmark"
_OWN = (_TOC, _LANDMARK, b".prefetch.landmark")
_LANDMARK_DATA = b"\x0f"


class EStargz:
    """An Encoder. Entries of its own kind in the tar that comes in are made anew."""

    def __init__(self, level: int) -> None:
        self._compress = functools.partial(member, level=level)
        self._members = Members(self._compress)
        self._table = Table()
        self._tar = hashlib.sha256()
        self._size = 0
        self._open = bytearray()  # what the next member will be
        self._payload = 0  # how much at its beginning is a file's data
        self._rows: tuple[Row, Row] | None = None  # the open member's: of the file, of the chunk
        self._file: Row = Row({})
        self._digest = hashlib.sha256()
        self._skipping = False
        self._encoded = Encoded()

    def encoded(self, pieces: Iterable[bytes], /) -> Iterator[bytes]:
        """The blob. A tar without entries stays as it is: a step that changed nothing has no layer."""
        started = False
        for part in parts(pieces):
            if isinstance(part, Chunk):
                yield from self._chunk(part)
                continue
            if not started and part.entry is None:
                yield self._compress(part.raw)
                return
            if not started:
                started = True
                yield from self._landmark()
            self._heading(part)
        yield from self._end()

    def result(self) -> Encoded:
        """The diffID of the tar with the entries of its own, and where readers look for the table."""
        return self._encoded

    def _landmark(self) -> Iterator[bytes]:
        entry = Entry(name=_LANDMARK, kind="file", mode=0, size=len(_LANDMARK_DATA))
        raw = pack_header(entry)
        self._open += raw
        self._file = self._table.add(Row(described(entry, raw), missing=1))
        yield from self._chunk(Chunk(0, _LANDMARK_DATA, last=True))
        self._open += bytes(BLOCK - len(_LANDMARK_DATA))

    def _heading(self, heading: Heading) -> None:
        if not self._skipping:
            self._open += heading.padding
        entry = heading.entry
        if entry is None:
            return  # the end of the archive comes behind the table
        self._skipping = entry.name.lstrip(b"./") in {name.lstrip(b".") for name in _OWN}
        if self._skipping:
            return
        self._open += heading.raw
        row = Row(described(entry, heading.raw))
        if entry.kind == "file":
            row.value["digest"] = digest_of(b"")
            row.missing = 1 if entry.size else 0
        self._file = self._table.add(row)

    def _chunk(self, chunk: Chunk) -> Iterator[bytes]:
        if self._skipping:
            return
        yield from self._close()
        row = self._file
        if chunk.at or not chunk.last:
            row = self._part_of_file(chunk)
        self._open += chunk.data
        self._payload = len(chunk.data)
        self._rows = (self._file, row)

    def _part_of_file(self, chunk: Chunk) -> Row:
        """The row of one chunk of several; the first one is the file's own."""
        row = self._file
        if chunk.at:
            value = {"name": row.value["name"], "type": "chunk", "chunkOffset": chunk.at}
            row = self._table.add(Row(value, missing=1))
        else:
            self._digest = hashlib.sha256()
            row.missing += 1
        row.value["chunkSize"] = len(chunk.data)
        self._digest.update(chunk.data)
        if chunk.last:
            self._file.value["digest"] = f"sha256:{self._digest.hexdigest()}"
            self._file.missing -= 1
        return row

    def _close(self) -> Iterator[bytes]:
        """End the open member."""
        if not self._open:
            return
        data = bytes(self._open)
        self._open.clear()
        self._tar.update(data)
        self._size += len(data)
        then = functools.partial(_landed, *self._rows) if self._rows else None
        yield from self._members.add(data, self._payload, then)
        self._payload, self._rows = 0, None
        self._table.settle()

    def _end(self) -> Iterator[bytes]:
        yield from self._close()
        yield from self._members.finish()
        body = self._table.finish()
        entry = Entry(name=_TOC, kind="file", mode=0, size=len(body))
        data = pack_header(entry) + body + bytes(-len(body) % BLOCK) + END
        self._tar.update(data)
        yield self._compress(data)
        yield _footer(self._members.position)
        notes = {TOC_DIGEST: digest_of(body), _SIZE: str(self._size + len(data))}
        self._encoded = Encoded(diff_id=Digest.from_hash(self._tar), annotations=notes)


def _landed(file: Row, row: Row, where: Landed) -> None:
    row.value["offset"] = where.start
    row.value["chunkDigest"] = where.digest
    row.missing -= 1
    if row is file and "chunkSize" not in row.value:
        row.value["digest"] = where.digest


def _footer(toc: int) -> bytes:
    """An empty gzip member whose extra field says where the table begins."""
    extra = b"SG\x16\0%016xSTARGZ" % toc
    head = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + len(extra).to_bytes(2, "little") + extra
    return head + b"\x01\0\0\xff\xff" + bytes(8)
