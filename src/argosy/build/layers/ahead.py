"""Work done ahead: what decompresses and hashes runs beside what writes files."""

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress

_AHEAD = 8  # pieces of 1 MiB


def ahead(pieces: Iterator[bytes]) -> Generator[bytes, None, None]:
    """The same pieces, the next ones made in a thread meanwhile; no thread for a single one.

    To be closed when it is not taken to its end; that waits for the piece being made.
    """
    for first in pieces:
        yield first
        break
    else:
        return
    making = _Making(pieces)
    try:
        yield from making.taken()
    finally:
        making.stop()


class _Making:
    """A thread that makes pieces, a few more than are taken."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._queue: queue.Queue[bytes | None] = queue.Queue(_AHEAD)
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._make, name="argosy-ahead", daemon=True)
        self._thread.start()

    def taken(self) -> Iterator[bytes]:
        """What was made, in order; raises what making it raised."""
        while (piece := self._queue.get()) is not None:
            yield piece
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Let the thread end."""
        self._over.set()
        with suppress(queue.Empty):
            self._queue.get_nowait()  # it may wait for room
        self._thread.join()

    def _make(self) -> None:
        try:
            for piece in self._pieces:
                self._give(piece)
                if self._over.is_set():
                    break
        except BaseException as e:  # noqa: BLE001 - handed to the thread that takes
            self._error = e
        self._give(None)

    def _give(self, piece: bytes | None) -> None:
        while not self._over.is_set():
            with suppress(queue.Full):
                self._queue.put(piece, timeout=0.1)
                return
