"""Stamps: numbers beside what is kept in memory, by which a reader sees that it is out of date.

What was read under one stamp counts while the stamp stands. Looking is one index into
memory: no lock, no system call.
"""

import hashlib
import itertools
import mmap
import os
from array import array
from typing import Final, Protocol

from argosy.errors import StorageError

NEVER: Final = 0
"""The stamp under which nothing counts."""

_SLOTS: Final = 1 << 14
_MASK: Final = (1 << 64) - 1


class Stamps(Protocol):
    """A row of numbers, and which of them stands for a key."""

    @property
    def memory(self) -> "array[int] | memoryview":
        """The numbers."""
        ...

    def slot(self, key: tuple[str, ...]) -> int:
        """The place in `memory` of the stamp of a key."""
        ...


class OwnStamp:
    """One stamp for all: for a process that is told of each change."""

    def __init__(self, *, trusted: bool = True) -> None:
        self.memory: array[int] = array("Q", [1 if trusted else NEVER])
        self._next = 2

    def slot(self, key: tuple[str, ...]) -> int:  # noqa: ARG002 - there is only one
        """The only place."""
        return 0

    def trust(self) -> None:
        """What is read from now on counts; what was kept before does not."""
        self.memory[0] = self._next
        self._next += 1

    def distrust(self) -> None:
        """Nothing counts, and nothing is worth keeping, until `trust`."""
        self.memory[0] = NEVER


class SharedStamps:
    """Stamps in a file that the server processes of one machine have in memory together.

    Who changes something changes its stamp after the commit and before he says that it is
    done, so who asks later sees another stamp. A process that starts changes all of them:
    it may take the place of one that was killed between the two. Two writers at once need
    no lock, because each writes a number that nobody has written before.
    """

    def __init__(self, path: str) -> None:
        self._numbers = itertools.count(int.from_bytes(os.urandom(8), "big"))
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                os.ftruncate(fd, _SLOTS * 8)
                self._map = mmap.mmap(fd, _SLOTS * 8)
            finally:
                os.close(fd)
        except OSError as e:
            raise StorageError(
                f"cannot share {path} between the server's processes",
                why=e.strerror or str(e),
                remedy="look at the disk and its rights",
            ) from e
        self.memory: memoryview = memoryview(self._map).cast("Q")
        self.change_all()

    def slot(self, key: tuple[str, ...]) -> int:
        """The place of a key, in every process; keys that share one only read more often."""
        found = hashlib.blake2b("\0".join(key).encode(), digest_size=4).digest()
        return int.from_bytes(found, "big") % _SLOTS

    def change(self, key: tuple[str, ...]) -> None:
        """Nothing that was read of a key until now counts, in any process."""
        self.memory[self.slot(key)] = self._number()

    def change_all(self) -> None:
        """Nothing that was read until now counts."""
        fresh = array("Q", [self._number() for _ in range(_SLOTS)])
        self.memory[:] = memoryview(fresh)

    def close(self) -> None:
        """Let go of the memory."""
        self.memory.release()
        self._map.close()

    def _number(self) -> int:
        return (next(self._numbers) & _MASK) or self._number()
