"""Plain tar archives: taken apart by ADD, written by `type=tar` outputs. No whiteouts here."""

from collections.abc import Iterator

from argosy.build.layers.compression import decompressed, sniff
from argosy.build.layers.header import BLOCK, parse_header
from argosy.build.layers.unpack import Unpacked, UnpackOptions, unpack
from argosy.errors import ArgosyError, StorageError

PIECE = 1 << 20


def is_archive(path: str) -> bool:
    """Whether a local file is a tar archive, compressed or not, going by its content (blocking).

    As ADD decides it: gzip, bzip2, xz and zstd are looked into.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(BLOCK)
            if sniff(head) == "none" and len(head) < BLOCK:
                return False
            file.seek(0)
            first = _first_block(iter(lambda: file.read(64 << 10), b""))
            return first is not None and _is_header(first)
    except OSError as e:
        raise StorageError(f"cannot read {path}", why=e.strerror or str(e)) from e


def starts_archive(head: bytes) -> bool:
    """Whether these are the first bytes of an archive: compressed at all, or a tar header."""
    return sniff(head) != "none" or (len(head) >= BLOCK and _is_header(head[:BLOCK]))


def _first_block(pieces: Iterator[bytes]) -> bytes | None:
    block = b""
    try:
        for piece in decompressed(pieces):
            block += piece[: BLOCK - len(block)]
            if len(block) == BLOCK:
                return block
    except ArgosyError:
        return None
    return None


def _is_header(block: bytes) -> bool:
    if block == bytes(BLOCK):
        return False
    try:
        parse_header(block)
    except ArgosyError:
        return False
    return True


def extract(path: str, top: str | int, *, owner: tuple[int, int] | None = None) -> Unpacked:
    """Unpack a local archive into the directory `top` (blocking); `owner` overrides all owners.

    Raises as `unpack` does.
    """
    with open(path, "rb", buffering=0) as file:
        pieces = iter(lambda: file.read(PIECE), b"")
        return unpack(pieces, top, UnpackOptions(owner=owner))
