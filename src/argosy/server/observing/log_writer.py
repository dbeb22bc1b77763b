"""Lines on their way out: written by a thread, in bunches, never waited for.

Who reads the log may be slow or gone; the server is neither for it. What does not fit the
queue is dropped, counted, and told of in the log itself.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from argosy.meters import declared as meters

Line = bytes | Callable[[], bytes]
"""A line, or what makes it, off the event loop."""

_PAUSE: Final = 0.05  # seconds between two bunches: none is woken for a single line
_BUNCH: Final = 256
_PATIENCE: Final = 2.0  # seconds for the last lines at the end


class LogWriter:
    """Writes lines to a file descriptor, from enter to exit."""

    def __init__(self, fd: int, dropped: Callable[[int], bytes], most: int = 20_000) -> None:
        self._fd = fd
        self._most = most
        self._tell_dropped = dropped
        self._lines: deque[Line] = deque()
        self._dropped = 0
        self._sleeps = False
        self._stopped = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def put(self, line: Line) -> None:
        """Take a line, from any thread, without waiting."""
        if len(self._lines) >= self._most:
            self._dropped += 1
            meters.LOG_DROPPED.add()
            return
        self._lines.append(line)
        if self._sleeps:
            self._wake.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped = True
        self._wake.set()
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        while True:
            self._write_all()
            if self._stopped and not self._lines:
                return
            if self._lines or self._wake.wait(_PAUSE):
                continue
            self._sleeps = True
            if not self._lines and not self._stopped:  # none came before we said that we sleep
                self._wake.wait()
            self._sleeps = False
            self._wake.clear()
            if not self._stopped:
                time.sleep(_PAUSE)  # for others to come along

    def _write_all(self) -> None:
        while self._lines:
            count = min(_BUNCH, len(self._lines))
            whole = b"".join(_made(self._lines.popleft()) for _ in range(count))
            if self._dropped:
                count, self._dropped = self._dropped, 0
                whole += self._tell_dropped(count)
            self._write(whole)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:  # somebody has made it so; it is shared
                time.sleep(_PAUSE)
                if self._stopped:
                    return
            except OSError:  # nobody reads it any more
                return


def _made(line: Line) -> bytes:
    return line if isinstance(line, bytes) else line()
