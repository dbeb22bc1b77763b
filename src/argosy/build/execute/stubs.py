"""Mount points the runtime makes in the root file system, taken out again so that no layer has them."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from argosy.build.layers.confine import Root

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Stubs:
    """What of the mount targets is not there before a step; `remove` it after (blocking)."""

    def __init__(self, root: str, targets: Sequence[str]) -> None:
        self._root = os.fsencode(root)
        self._missing: list[bytes] = []  # from the root, without links
        self._times: dict[bytes, tuple[int, int]] = {}
        with Root(root) as tree:
            for target in targets:
                # Links are followed inside the root, as the runtime does it.
                self._look(tree.resolve(os.fsencode(target)))

    def _look(self, path: bytes) -> None:
        while not os.path.lexists(self._root + path):
            self._missing.append(path)
            path = os.path.dirname(path)
            if os.path.lexists(self._root + path):
                status = os.lstat(self._root + path)
                self._times.setdefault(path, (status.st_atime_ns, status.st_mtime_ns))

    def remove(self) -> None:
        """Remove what is still an empty stub; the times of where it was are as before.

        The step may have put links anywhere meanwhile, to places outside of the root too,
        so none is followed.
        """
        gone = False
        for path in sorted(set(self._missing), key=len, reverse=True):
            folder, name = os.path.split(path)
            with suppress(OSError), self._opened(folder) as fd:  # what has changed stays
                gone = _removed(fd, name) or gone
        for path, times in self._times.items() if gone else ():
            with suppress(OSError), self._opened(path) as fd:
                os.utime(fd, ns=times)

    @contextmanager
    def _opened(self, path: bytes) -> Iterator[int]:
        fd = os.open(self._root, _FOLDER & ~os.O_NOFOLLOW)
        try:
            for part in filter(None, path.split(b"/")):
                below = os.open(part, _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)


def _removed(folder: int, name: bytes) -> bool:
    status = os.lstat(name, dir_fd=folder)
    if stat.S_ISDIR(status.st_mode):
        os.rmdir(name, dir_fd=folder)
    elif stat.S_ISREG(status.st_mode) and status.st_size == 0:
        os.unlink(name, dir_fd=folder)
    else:
        return False
    return True
