"""Tar files as they are needed here: members found by name without unpacking, and reproducible writing.

Nothing is ever unpacked, so a member's name cannot escape: it is only a key.
"""

import errno
import os
import posixpath
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple, Self

from argosy.errors import ArchiveInvalid

_MAX_MEMBERS = 1 << 18
_MAX_LINKS = 8
_BLOCK = 512


class Extent(NamedTuple):
    """Where a member's bytes are in the file."""

    offset: int
    size: int


@dataclass(slots=True)
class TarMembers:
    """The table of contents of a tar file."""

    where: str
    _extents: dict[str, Extent] = field(default_factory=dict)
    _links: dict[str, str] = field(default_factory=dict)

    @classmethod
    def scan(cls, file: BinaryIO, where: str) -> Self:
        """Read the headers, not the data (blocking); ArchiveInvalid if it is damaged or cut short."""
        found = cls(where)
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for count, member in enumerate(tar):
                    if count >= _MAX_MEMBERS:
                        raise found._invalid(f"it has more than {_MAX_MEMBERS} members")
                    found._add(member)
                end = tar.offset
        except (tarfile.TarError, ValueError, EOFError, OverflowError, RecursionError) as e:
            raise found._invalid(str(e)) from e
        except OSError as e:
            if e.errno != errno.EINVAL:  # what seeking to a position no file has gives
                raise
            raise found._invalid("a member has an impossible size") from e
        found._check_end(file, end)
        return found

    def find(self, name: str) -> Extent | None:
        """Where a member's bytes are; links within the archive are followed."""
        name = _normal(name)
        for _ in range(_MAX_LINKS):
            if (extent := self._extents.get(name)) is not None:
                return extent
            if (target := self._links.get(name)) is None:
                return None
            name = target
        return None

    def under(self, folder: str) -> Iterable[tuple[str, Extent]]:
        """The files below a folder, by their names below it."""
        prefix = folder + "/"
        for name, extent in self._extents.items():
            if name.startswith(prefix):
                yield name.removeprefix(prefix), extent

    def _add(self, member: tarfile.TarInfo) -> None:
        name = _normal(member.name)
        if member.issym():
            self._links[name] = _normal(posixpath.join(posixpath.dirname(name), member.linkname))
        elif member.islnk():
            self._links[name] = _normal(member.linkname)
        elif member.isreg():
            if member.sparse is not None:
                raise self._invalid(f"its member {name!r} is sparse")
            if member.size < 0 or member.offset_data < 0:
                raise self._invalid(f"its member {name!r} has an impossible size")
            self._extents[name] = Extent(member.offset_data, member.size)

    def _check_end(self, file: BinaryIO, end: int) -> None:
        # tarfile takes a damaged header after the first one for the end, and never looks at data.
        size = file.seek(0, os.SEEK_END)
        last = max((e.offset + e.size for e in self._extents.values()), default=0)
        if last > size:
            raise self._invalid(f"it is cut short: {size} bytes, and it needs at least {last}")
        file.seek(min(end, size))
        if any(file.read(_BLOCK)):
            raise self._invalid(f"the header at offset {end} is damaged")

    def _invalid(self, why: str) -> ArchiveInvalid:
        return ArchiveInvalid(
            f"{self.where} is not a readable tar archive", why=why, remedy="make or fetch it again"
        )


def _normal(name: str) -> str:
    return posixpath.normpath("/" + name).lstrip("/")


class TarWriter:
    """A reproducible tar: the order given, no times, no owners. Blocking."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def folder(self, name: str) -> None:
        """A directory."""
        self._header(name, 0, kind=tarfile.DIRTYPE, mode=0o755)

    def content(self, name: str, body: bytes) -> None:
        """A file from memory."""
        self._header(name, len(body))
        self._file.write(body + _padding(len(body)))

    def file(self, name: str, path: str) -> None:
        """A file as it is on disk; the kernel moves the bytes."""
        with open(path, "rb") as source:
            size = os.fstat(source.fileno()).st_size
            self._header(name, size)
            self._file.flush()
            done = 0
            while done < size:
                sent = os.sendfile(self._file.fileno(), source.fileno(), done, size - done)
                if not sent:
                    raise EOFError(f"{path} became shorter while it was read")
                done += sent
        self._file.write(_padding(size))

    def close(self) -> None:
        """The two empty blocks that end a tar."""
        self._file.write(bytes(2 * _BLOCK))
        self._file.flush()

    def _header(
        self, name: str, size: int, *, kind: bytes = tarfile.REGTYPE, mode: int = 0o644
    ) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.type, member.mode = size, kind, mode
        self._file.write(member.tobuf(tarfile.GNU_FORMAT))


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)
