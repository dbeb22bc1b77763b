"""Gzip in parallel, with the same bytes on every machine.

The stream is cut into blocks of 1 MiB. Each is deflated by itself, with the 32 KiB
before it as dictionary, and ends at a byte boundary (a sync flush), so that all of
them together are one deflate stream in one gzip member: what every reader takes. Where
the cuts are depends on nothing but the content, so neither the number of threads nor
the sizes of the pieces given show in the result.

By zlib-ng: its output was found the same on amd64 from SSE2 to AVX-512 and on arm64.
ISA-L is faster and differs among all of these. Levels are on Go's scale, each as
small as Go's `compress/gzip` of that number within a thousandth. Source: RFC 1951, RFC 1952.
"""

import functools
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

LIBRARY = "zlib-ng-2.3.3"  # pinned in pyproject.toml: its bytes are part of layers' digests
BLOCK = 1 << 20
_WINDOW = 32 << 10
_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # mtime 0, no name, OS unknown
_LEVELS = (0, 2, 3, 3, 4, 5, 6, 7, 7, 9)  # zlib-ng's own that come to Go's size
_MEMORY = 7  # 8192 symbols to a block: tables that fit are worth more than they cost
_SAMPLE, _SAMPLES = 4 << 10, 32


class Deflated(NamedTuple):
    """One block: what it was deflated to, and the CRC and size of what it was."""

    data: bytes
    crc: int
    size: int


def workers() -> int:
    """How many threads compress; they are shared by all layers of a process."""
    return min(16, len(os.sched_getaffinity(0)))


def pool() -> ThreadPoolExecutor:
    """The threads that compress. Jobs given to it must not wait for other jobs."""
    return _pool(os.getpid())


@functools.cache
def _pool(pid: int) -> ThreadPoolExecutor:
    del pid  # a child of fork has none of its parent's threads
    return ThreadPoolExecutor(workers(), thread_name_prefix="argosy-compress")


def deflated(block: bytes, level: int, *, before: bytes = b"", last: bool = True) -> Deflated:
    """One block as raw deflate: the stream's end, or up to a byte boundary (blocking)."""
    from zlib_ng import zlib_ng  # noqa: PLC0415 - 7 ms that most builds do not need

    chosen = 0 if not level or _is_incompressible(block) else _LEVELS[level]
    more = {"zdict": before} if before and chosen else {}
    stream = zlib_ng.compressobj(
        chosen, zlib_ng.DEFLATED, -15, _MEMORY, zlib_ng.Z_DEFAULT_STRATEGY, **more
    )
    data = stream.compress(block)
    data += stream.flush(zlib_ng.Z_FINISH if last else zlib_ng.Z_SYNC_FLUSH)
    return Deflated(data, zlib_ng.crc32(block), len(block))


def _is_incompressible(block: bytes) -> bool:
    """Whether all of many samples are: noise, and what is compressed well, is stored, ten times as fast."""
    from zlib_ng import zlib_ng  # noqa: PLC0415

    if len(block) < 2 * _SAMPLES * _SAMPLE:
        return False
    step = len(block) // _SAMPLES
    view = memoryview(block)
    samples = (view[at : at + _SAMPLE] for at in range(0, _SAMPLES * step, step))
    return all(len(zlib_ng.compress(sample, 1, -15)) > _SAMPLE for sample in samples)


def member(data: bytes, level: int) -> bytes:
    """A gzip member of its own (blocking)."""
    done = deflated(data, level)
    return _HEAD + done.data + tail(done.crc, done.size)


def tail(crc: int, size: int) -> bytes:
    """What ends a gzip member."""
    return crc.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")


class ParallelGzip:
    """One gzip stream; blocks are compressed while more comes. A Compressor."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._buffer = bytearray()
        self._before = b""
        self._jobs: deque[Future[Deflated]] = deque()
        self._crc = 0
        self._size = 0
        self._head = _HEAD

    def compress(self, data: bytes, /) -> bytes:
        """What is ready, in order; waits when as much is under way as threads can use."""
        self._buffer += data
        out = [self._started()]
        # The last block must be known as such, so a full one waits for what follows it.
        while len(self._buffer) > BLOCK:
            block = bytes(memoryview(self._buffer)[:BLOCK])
            del self._buffer[:BLOCK]
            job = functools.partial(deflated, block, self._level, before=self._before, last=False)
            self._jobs.append(pool().submit(job))
            self._before = block[-_WINDOW:]
            out += self._ready(workers() + 1)
        return b"".join(out)

    def flush(self) -> bytes:
        """The rest."""
        last = deflated(bytes(self._buffer), self._level, before=self._before)
        out = [self._started(), *self._ready(0), self._joined(last)]
        return b"".join([*out, tail(self._crc, self._size)])

    def _started(self) -> bytes:
        head, self._head = self._head, b""
        return head

    def _ready(self, limit: int) -> list[bytes]:
        found = []
        while self._jobs and (len(self._jobs) > limit or self._jobs[0].done()):
            found.append(self._joined(self._jobs.popleft().result()))
        return found

    def _joined(self, done: Deflated) -> bytes:
        from zlib_ng import zlib_ng  # noqa: PLC0415

        self._crc = zlib_ng.crc32_combine(self._crc, done.crc, done.size)
        self._size += done.size
        return done.data
