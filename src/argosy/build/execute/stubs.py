"""Mount points the runtime makes in the root file system, taken out again so that no layer has them."""

import os
import stat
from collections.abc import Sequence
from contextlib import suppress

from argosy.build.layers.confine import Root


class Stubs:
    """What of the mount targets is not there before a step; `remove` it after (blocking)."""

    def __init__(self, root: str, targets: Sequence[str]) -> None:
        self._root = root
        self._missing: list[bytes] = []
        self._times: dict[bytes, tuple[int, int]] = {}
        with Root(root) as tree:
            for target in targets:
                self._look(tree, os.fsencode(target))

    def _look(self, tree: Root, target: bytes) -> None:
        # Links are followed inside the root, as the runtime does it.
        path = os.fsencode(self._root) + tree.resolve(target)
        while not os.path.lexists(path):
            self._missing.append(path)
            path = os.path.dirname(path)
            if os.path.lexists(path):
                status = os.lstat(path)
                self._times.setdefault(path, (status.st_atime_ns, status.st_mtime_ns))

    def remove(self) -> None:
        """Remove what is still an empty stub; the times of where it was are as before."""
        gone = False
        for path in sorted(set(self._missing), key=len, reverse=True):
            with suppress(OSError):  # somebody put something there: it stays
                status = os.lstat(path)
                if stat.S_ISDIR(status.st_mode):
                    os.rmdir(path)
                    gone = True
                elif stat.S_ISREG(status.st_mode) and status.st_size == 0:
                    os.unlink(path)
                    gone = True
        for path, times in self._times.items() if gone else ():
            with suppress(OSError):
                os.utime(path, ns=times)
