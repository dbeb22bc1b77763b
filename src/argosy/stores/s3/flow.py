"""The bytes of an upload on their way into parts, which go up while the next ones come in.

`write` runs in a worker thread and fills a part; full ones are handed to the event loop.
What may be on its way is bounded, per upload and for the whole process: who has no room
waits, and with it the client.
"""

import asyncio
import mmap
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Final

from argosy.content.upload_ledger import Part
from argosy.errors import ArgosyError, StorageUnavailable
from argosy.stores.s3.bucket import Bucket

_AT_ONCE: Final = 3  # parts of one upload
_LOOK: Final = 1.0  # seconds between two looks at whether it still makes sense to wait
_GROWTH: Final = 1000  # S3 takes 10000 parts: after so many, parts get bigger


class Room:
    """Bytes of memory that all uploads of a process share."""

    def __init__(self, size: int) -> None:
        self._free = self._size = size
        self._changed = threading.Condition()

    def take(self, size: int, wanted: Callable[[], bool]) -> bool:
        """Wait for room, in a worker thread; False when it is no longer wanted."""
        size = min(size, self._size)
        with self._changed:
            while self._free < size:
                if not wanted():
                    return False
                self._changed.wait(_LOOK)
            self._free -= size
        return True

    def give(self, size: int) -> None:
        """Give room back."""
        with self._changed:
            self._free += min(size, self._size)
            self._changed.notify_all()


class PartFlow:
    """The parts of one upload, within one turn."""

    def __init__(
        self, bucket: Bucket, room: Room, group: asyncio.TaskGroup, target: "Target"
    ) -> None:
        self.target: Final = target
        self.parts: list[Part] = []  # those stored in this turn
        self._filling: _Filling | None = None
        self.failed: ArgosyError | None = None
        self._bucket = bucket
        self._room = room
        self._group = group
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way = threading.BoundedSemaphore(_AT_ONCE)
        self._closed = False

    def add(self, piece: bytes | memoryview) -> None:
        """Take more bytes, in a worker thread; raises what storing the ones before has come to."""
        self._check()
        view = memoryview(piece)
        while view:
            view = view[self.fill(view) :]
            if self._filling is not None and self._filling.full:
                self._hand_over(self._filling.content)
                self._filling = None

    def fill(self, piece: bytes | memoryview) -> int:
        """Take as much as the part that is being filled has room for, and send nothing."""
        if self._filling is None:
            self._filling = _Filling(self.target.part_size(self._bucket.options.part_size))
        return self._filling.add(piece)

    @property
    def rest(self) -> memoryview:
        """What has not been handed over."""
        return memoryview(b"") if self._filling is None else self._filling.content

    def _hand_over(self, part: memoryview) -> None:
        while not self._under_way.acquire(timeout=_LOOK):
            self._check()
        if not self._room.take(len(part), lambda: self.failed is None and not self._closed):
            self._under_way.release()
        self._check()
        number = self.target.number()
        self._loop.call_soon_threadsafe(self._start, number, part)

    def _check(self) -> None:
        if self.failed is not None:
            raise self.failed
        if self._closed:
            raise StorageUnavailable("the upload was broken off", remedy="send it again")

    def _start(self, number: int, part: memoryview) -> None:
        if self._closed:
            self._done(len(part))
            return
        task = self._group.create_task(self._store(number, part))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _store(self, number: int, part: memoryview) -> None:
        try:
            if self.failed is None:
                await self.put(number, part)
        except ArgosyError as e:
            self.failed = self.failed or e
        finally:
            self._done(len(part))

    def _done(self, size: int) -> None:
        self._room.give(size)
        self._under_way.release()

    async def put(self, number: int, part: memoryview) -> None:
        """Store one part, whatever its size."""
        key, upload = await self.target.multipart()
        etag = await self._bucket.put_part(key, upload, number, part)
        self.parts.append(Part(number, etag, len(part)))

    async def drained(self) -> None:
        """Every part that was handed over is stored; raises what went wrong."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._check()

    async def stop(self) -> None:
        """Store nothing more, and wait until nothing is on its way.

        What is broken off may still take effect there, so nobody could remove it for sure.
        """
        self._closed = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    def close(self) -> None:
        """Store nothing more, break off what is on its way, and let who waits for room go."""
        self._closed = True
        for task in self._tasks:
            task.cancel()


class _Filling:
    """A part that is being filled, in memory that goes back to the system afterwards.

    Python's own memory would stay with the process: blocks of megabytes, in many threads.
    """

    def __init__(self, size: int) -> None:
        self._view = memoryview(mmap.mmap(-1, size))  # pages come when they are written to
        self._length = 0

    @property
    def full(self) -> bool:
        """Whether nothing more goes in."""
        return self._length == len(self._view)

    @property
    def content(self) -> memoryview:
        """What is in it."""
        return self._view[: self._length]

    def add(self, piece: bytes | memoryview) -> int:
        """Take what there is room for; how many bytes that were."""
        count = min(len(piece), len(self._view) - self._length)
        self._view[self._length : self._length + count] = piece[:count]
        self._length += count
        return count


class Target:
    """Where parts go: a multipart upload, begun when the first part comes, and their numbers."""

    def __init__(self, key: str, begin: Callable[[str], Awaitable[str]], begun: str = "") -> None:
        self.key: Final = key
        self.begun = begun
        self.last = 0  # the highest number in use
        self.until = float("inf")  # wall clock: after that, nothing may be stored
        self._begin = begin
        self._lock = asyncio.Lock()

    def number(self) -> int:
        """The next number."""
        self.last += 1
        return self.last

    def part_size(self, usual: int) -> int:
        """How big the next part is to be."""
        return usual * (1 + self.last // _GROWTH)

    async def multipart(self) -> tuple[str, str]:
        """Its key and its name; StorageUnavailable when our time is over.

        A node that slept would write into an upload that is somebody else's by now.
        """
        if time.time() > self.until:
            raise StorageUnavailable(
                "the upload was broken off",
                why="this server was away for too long, or cannot reach its database",
                remedy="send it again",
            )
        async with self._lock:
            if not self.begun:
                self.begun = await self._begin(self.key)
        return self.key, self.begun
