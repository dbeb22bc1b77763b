"""Reading a tar archive from a stream: entries in order, their data as pieces.

Everything is checked against the archive's own headers, so a truncated archive, a
damaged header or a size that is not there is a ContentError, never a short file.
"""

from collections.abc import Callable, Iterator

from argosy.build.layers.header import (
    BLOCK,
    KINDS,
    Entry,
    RawHeader,
    number,
    parse_header,
    parse_pax,
    with_pax,
)
from argosy.errors import ContentError

Tap = Callable[[memoryview], object]
PIECE = 1 << 20
_MAX_EXTENSION = 1 << 20  # bytes of one pax or long-name header; what Go's reader accepts too
_MAX_EXTENSIONS = 16  # of one entry; a name, a link's target and a pax header are usual
_ZERO = bytes(BLOCK)


class Stream:
    """Exact reads from an iterator of pieces; ContentError when it ends too early.

    `tap` is shown all that is taken.
    """

    def __init__(self, pieces: Iterator[bytes], tap: Tap | None = None) -> None:
        self._pieces = pieces
        self._tap = tap
        self._piece = memoryview(b"")
        self._at = 0

    def take(self, count: int) -> memoryview:
        """At most `count` bytes, at least one; empty only at the end."""
        if self._at == len(self._piece):
            self._piece, self._at = memoryview(next(self._pieces, b"")), 0
            while not self._piece:
                more = next(self._pieces, None)
                if more is None:
                    return self._piece
                self._piece = memoryview(more)
        found = self._piece[self._at : self._at + count]
        self._at += len(found)
        if self._tap is not None:
            self._tap(found)
        return found

    def exactly(self, count: int) -> bytes:
        """`count` bytes."""
        found = self.take(count)
        if len(found) == count:
            return bytes(found)
        parts = [found]
        missing = count - len(found)
        while missing:
            if not (found := self.take(missing)):
                raise truncated()
            parts.append(found)
            missing -= len(found)
        return b"".join(parts)

    def block(self) -> bytes:
        """The next 512 bytes, or nothing at a clean end."""
        first = self.take(BLOCK)
        if len(first) in (0, BLOCK):
            return bytes(first)
        return bytes(first) + self.exactly(BLOCK - len(first))

    def skip(self, count: int) -> None:
        """Pass over `count` bytes."""
        while count:
            if not (found := self.take(count)):
                raise truncated()
            count -= len(found)

    def drain(self) -> None:
        """Read to the end, so that checksums behind the data are looked at."""
        while self.take(PIECE):
            pass


def truncated() -> ContentError:
    """The archive ends in the middle of something."""
    return ContentError(
        "the tar archive is cut short",
        why="it ends in the middle of an entry",
        remedy="fetch or make it again",
    )


class TarReader:
    """The entries of an archive, in order.

    An entry's `data()` that is not taken before the next entry is skipped.
    """

    def __init__(self, pieces: Iterator[bytes], tap: Tap | None = None) -> None:
        self._stream = Stream(pieces, tap)
        self._left = 0  # stored bytes of the current entry not read yet
        self._padding = 0
        self._globals: dict[bytes, bytes] = {}

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self._next()) is not None:
            yield entry
            self._stream.skip(self._left + self._padding)
        self._stream.drain()

    def data(self) -> Iterator[memoryview]:
        """What the archive stores of the current entry, in pieces."""
        while self._left:
            if not (piece := self._stream.take(min(self._left, PIECE))):
                raise truncated()
            self._left -= len(piece)
            yield piece

    def _next(self) -> Entry | None:
        records: list[tuple[bytes, bytes]] = []
        names: dict[str, bytes] = {}
        count = 0
        while (raw := self._header()) is not None:
            count += 1
            if count > _MAX_EXTENSIONS:
                raise ContentError("the tar archive has too many extension headers for one entry")
            if raw.flag == b"x":
                records += parse_pax(self._extension(raw))
            elif raw.flag == b"g":
                self._globals |= dict(parse_pax(self._extension(raw)))
                if sum(map(len, self._globals.values())) > _MAX_EXTENSION:
                    raise ContentError("the tar archive has too many global pax records")
            elif raw.flag == b"L":
                names["name"] = self._extension(raw).partition(b"\0")[0]
            elif raw.flag == b"K":
                names["target"] = self._extension(raw).partition(b"\0")[0]
            elif raw.flag == b"V":
                self._extension(raw)  # a volume label says nothing about files
            else:
                return self._entry(raw, records, names)
        if records or names:
            raise truncated()
        return None

    def _header(self) -> RawHeader | None:
        block = self._stream.block()
        # One zero block is read as the end too, as GNU tar does ("a lone zero block").
        return parse_header(block) if block and block != _ZERO else None

    def _extension(self, raw: RawHeader) -> bytes:
        size = raw.entry.size
        if size > _MAX_EXTENSION:
            raise ContentError(
                f"the tar archive has an extension header of {size} bytes",
                why=f"more than {_MAX_EXTENSION} is not accepted",
            )
        body = self._stream.exactly(size)
        self._stream.skip(-size % BLOCK)
        return body

    def _entry(
        self, raw: RawHeader, records: list[tuple[bytes, bytes]], names: dict[str, bytes]
    ) -> Entry:
        entry = raw.entry._replace(**names) if names else raw.entry  # type: ignore[arg-type]
        if raw.flag not in KINDS:
            raise ContentError(
                f"{entry.name!r} is of a tar type Argosy does not know: {raw.flag!r}",
                remedy="make the archive with GNU tar, bsdtar or a container builder",
            )
        if records or self._globals:
            entry = with_pax(entry, [*self._globals.items(), *records])
        if entry.kind != "file":
            # Only files carry data; some writers give links the size of their target.
            entry = entry._replace(size=0, stored=0)
        self._left = entry.stored
        self._padding = -entry.stored % BLOCK
        if raw.flag == b"S":
            return self._gnu_sparse(raw, entry)
        if records and any(key.startswith(b"GNU.sparse.") for key, _ in records):
            return self._pax_sparse(entry, records)
        return entry

    def _gnu_sparse(self, raw: RawHeader, entry: Entry) -> Entry:
        block = raw.block
        numbers = _pairs(block[386:482], 4)
        more, real = block[482], number(block[483:495], "real size")
        while more:
            block = self._stream.exactly(BLOCK)
            numbers += _pairs(block[:504], 21)
            more = block[504]
            _bound(len(numbers))
        return _sparse(entry, numbers, real)

    def _pax_sparse(self, entry: Entry, records: list[tuple[bytes, bytes]]) -> Entry:
        said = {key.removeprefix(b"GNU.sparse."): value for key, value in records}
        real = _decimal(said.get(b"realsize") or said.get(b"size") or b"0")
        if name := said.get(b"name"):
            entry = entry._replace(name=name.partition(b"\0")[0])
        if said.get(b"major") == b"1":
            numbers = self._leading_map()
        elif b"map" in said:
            numbers = [_decimal(part) for part in said[b"map"].split(b",") if part]
        else:
            numbers = [
                _decimal(value)
                for key, value in records
                if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
            ]
        return _sparse(entry._replace(stored=self._left), numbers, real)

    def _leading_map(self) -> list[int]:
        """The map of sparse format 1.0: decimal lines, padded to a block, before the data."""
        text = bytearray()
        wanted = 1
        while text.count(b"\n") < wanted:
            text += self._block_of_data()
            _bound(len(text) // 4)
            lines = text.split(b"\n")
            wanted = 1 + 2 * _decimal(bytes(lines[0])) if len(lines) > 1 else 1
            _bound(wanted)
        return [_decimal(bytes(line)) for line in text.split(b"\n")[1:wanted]]

    def _block_of_data(self) -> bytes:
        if self._left < BLOCK:
            raise ContentError("the map of a sparse file in the tar archive is cut short")
        self._left -= BLOCK
        return self._stream.exactly(BLOCK)


def _pairs(area: bytes, count: int) -> list[int]:
    fields = [area[at : at + 12] for at in range(0, 24 * count, 12)]
    last = next((n for n in range(0, len(fields), 2) if not fields[n].strip(b"\0 ")), len(fields))
    return [number(field, "sparse map") for field in fields[:last]]


def _decimal(text: bytes) -> int:
    if len(text) > 20 or not text.isdigit():
        raise ContentError("the map of a sparse file in the tar archive cannot be read")
    return int(text)


def _bound(count: int) -> None:
    if count > 1 << 20:
        raise ContentError("the map of a sparse file in the tar archive is too long")


def _sparse(entry: Entry, numbers: list[int], real: int) -> Entry:
    """Join the map to the entry; the pieces must be in order, inside the file, and add up."""
    pieces = tuple(zip(numbers[::2], numbers[1::2], strict=False))
    end = 0
    for offset, length in pieces:
        if offset < end or length < 0:
            raise ContentError(f"{entry.name!r}: the map of the sparse file is not in order")
        end = offset + length
    if len(numbers) % 2 or end > real or sum(n for _, n in pieces) != entry.stored:
        raise ContentError(f"{entry.name!r}: the map of the sparse file does not add up")
    return entry._replace(size=real, sparse=pieces)
