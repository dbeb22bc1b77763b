"""Layers as blobs of a Store: a directory packed, hashed and compressed in one pass; and back.

Packing runs in one thread, what compressing gives is hashed and written in another, and
the compressing itself is done by a few more that all layers share.
"""

import asyncio
import errno
import hashlib
import os
import queue
import tempfile
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import field
from typing import Any, Self, TypeVar

from argosy.build.layers.compression import Compression, decompressed
from argosy.build.layers.pack import PackOptions, pack
from argosy.build.layers.unpack import Unpacked, UnpackOptions, unpack
from argosy.concurrency import first_error, in_thread, in_thread_to_end
from argosy.content.store import Adopts, Source, Store
from argosy.content.verify import verified
from argosy.errors import BuildError, DigestMismatch, NoSpace, StorageError
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.values import frozen

T = TypeVar("T")
PIECE = 1 << 20
_AHEAD = 8  # pieces packed but not compressed yet


Produce = Callable[
    [Callable[[bytes], object]], object
]  # writes a tar with the function it is given


@frozen(kw_only=True)
class LayerOptions:
    """How a layer is written: its compression, and a directory for the unfinished file.

    `diff_id`: what the tar that comes in must hash to.
    """

    scratch: str
    tar: PackOptions = field(default_factory=lambda: PackOptions(overlay=True))
    compression: Compression = field(default_factory=Compression)
    diff_id: Digest | None = None


async def write_layer(top: str, into: Store, options: LayerOptions) -> tuple[Descriptor, Digest]:
    """Pack the directory `top` as a layer and put it in `into`: its descriptor and diffID."""
    return await put_layer(lambda write: pack(top, write, options.tar), into, options)


async def put_layer(
    produce: Produce, into: Store, options: LayerOptions
) -> tuple[Descriptor, Digest]:
    """Put the tar that `produce` writes (in a thread) as a layer: its descriptor and diffID.

    The diffID is the digest of the uncompressed tar (OCI image-spec config.md).
    """
    stop = threading.Event()
    with _Temporary() as temporary:
        await in_thread(temporary.create, options.scratch)
        writing = _Writing(produce, options, temporary.path, stop)
        desc, diff_id = await in_thread_to_end(writing.run, stop.set)
        if not isinstance(into, Adopts) or not await into.adopt(desc, temporary.path):
            await into.put(desc, FileBody(temporary.path))
    return desc, diff_id


class _Temporary:
    """A temporary file that is gone afterwards, whatever happened to it."""

    def __init__(self) -> None:
        self.path = ""

    def create(self, directory: str) -> None:
        """Make the file (blocking)."""
        os.makedirs(directory, exist_ok=True)
        handle, self.path = tempfile.mkstemp(prefix="layer-", dir=directory)
        os.close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.path)


class FileBody:
    """A local file as a body that can be read again from an offset (LocalFile, Rewindable)."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.start = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.at(0)

    async def at(self, start: int) -> AsyncIterator[bytes]:
        """The bytes from offset `start`."""
        file = await in_thread(open, self.path, "rb", buffering=0)
        try:
            await in_thread(file.seek, start)
            while piece := await in_thread(file.read, PIECE):
                yield piece
        finally:
            file.close()


class _Stopped(Exception):
    """The caller was cancelled."""


class _Writing:
    """One layer on its way: packed in a thread of its own, compressed in the caller's."""

    def __init__(
        self, produce: Produce, options: LayerOptions, path: str, stop: threading.Event
    ) -> None:
        self._produce = produce
        self._options = options
        self._path = path
        self._stop = stop
        self._queue: queue.Queue[bytes | None] = queue.Queue(_AHEAD)
        self._plain = hashlib.sha256()
        self._encoder = options.compression.encoder()
        self._error: BaseException | None = None

    def run(self) -> tuple[Descriptor, Digest]:
        """Pack, hash, compress, hash, write (blocking)."""
        thread = threading.Thread(target=self._pack, name="argosy-pack", daemon=True)
        thread.start()
        try:
            digest, size = self._compress()
        finally:
            self._stop.set()
            thread.join()
        if self._error is not None:
            raise self._error
        made, plain = self._encoder.result(), Digest.from_hash(self._plain)
        expected = self._options.diff_id
        if expected is not None and plain != expected:
            raise DigestMismatch("the layer", expected=expected, actual=plain)
        desc = Descriptor(
            media_type=self._options.compression.media_type,
            digest=digest,
            size=size,
            annotations=made.annotations,
        )
        return desc, made.diff_id or plain

    def _pack(self) -> None:
        try:
            self._produce(self._piece)
        except BaseException as e:  # noqa: BLE001 - handed to the other thread, which raises it
            self._error = e
        finally:
            self._give(None)

    def _piece(self, piece: bytes) -> None:
        self._plain.update(piece)
        if not self._give(piece):
            raise _Stopped

    def _give(self, piece: bytes | None) -> bool:
        while not self._stop.is_set():
            with suppress(queue.Full):
                self._queue.put(piece, timeout=0.1)
                return True
        return False

    def _compress(self) -> tuple[Digest, int]:
        state = hashlib.sha256()
        size = 0
        try:
            with open(self._path, "wb", buffering=0) as file:
                for out in self._encoder.encoded(self._pieces()):
                    state.update(out)
                    size += _write_all(file.fileno(), out)
        except OSError as e:
            raise _cannot_write(self._path, e) from e
        return Digest.from_hash(state), size

    def _pieces(self) -> Iterator[bytes]:
        while True:
            try:
                piece = self._queue.get(timeout=0.1)
            except queue.Empty:
                if self._stop.is_set():
                    raise BuildError("the build was stopped") from None
                continue
            if piece is None:
                return
            yield piece


def _write_all(fd: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    return len(data)


def _cannot_write(path: str, e: OSError) -> StorageError:
    kind = NoSpace if e.errno in (errno.ENOSPC, errno.EDQUOT) else StorageError
    return kind(
        f"cannot write the layer to {os.path.dirname(path)}",
        why=e.strerror or str(e),
        remedy="free some space there",
    )


async def read_layer(
    desc: Descriptor, source: Source, top: str, options: UnpackOptions
) -> Unpacked:
    """Unpack a layer into the directory `top`, its digest checked. On an error `top` is half filled."""

    def drain(pipe: "_Pipe") -> Unpacked:
        try:
            return unpack(pipe, top, options)
        finally:
            pipe.close()

    return await _fed(desc, source, lambda pipe: in_thread_to_end(lambda: drain(pipe), pipe.abort))


async def recompressed(
    layer: tuple[Descriptor, Digest], source: Source, into: Store, compression: Compression
) -> tuple[Descriptor, Digest]:
    """A layer in another compression, put in `into`: its descriptor and diffID.

    `layer` is the blob and its diffID; DigestMismatch if it is another. eStargz changes
    the tar, and so the diffID.
    """
    desc, diff_id = layer

    def produce(pipe: "_Pipe") -> Produce:
        def write_all(write: Callable[[bytes], object]) -> None:
            try:
                for piece in decompressed(pipe):
                    write(piece)
            finally:
                pipe.close()

        return write_all

    with tempfile.TemporaryDirectory(prefix="argosy-") as scratch:
        options = LayerOptions(scratch=scratch, compression=compression, diff_id=diff_id)
        return await _fed(desc, source, lambda pipe: put_layer(produce(pipe), into, options))


async def _fed(
    desc: Descriptor, source: Source, work: Callable[["_Pipe"], Coroutine[Any, Any, T]]
) -> T:
    """Let `work` run on the bytes of a blob while they come; their digest is checked."""
    pipe = _Pipe(asyncio.get_running_loop())

    async def feed() -> None:
        async with source.open(desc) as body:
            async for piece in verified(desc, body):
                await pipe.put(piece)
        pipe.end()

    try:
        async with asyncio.TaskGroup() as group:
            working = group.create_task(work(pipe))
            group.create_task(_or_abort(feed, pipe))
    except BaseExceptionGroup as problems:
        raise _root_cause(problems) from problems
    return working.result()


async def _or_abort(feed: Callable[[], Awaitable[None]], pipe: "_Pipe") -> None:
    try:
        await feed()
    except BaseException:
        pipe.abort()
        raise


def _root_cause(problems: BaseExceptionGroup[BaseException]) -> BaseException:
    # When the source fails, the unpacker only sees a stream that stopped.
    _, rest = problems.split(_Stopped)
    return first_error(rest or problems)


class _Pipe:
    """Pieces from the loop to one thread, a few at a time; neither side blocks the loop."""

    _FULL = 8 << 20  # bytes

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._room = asyncio.Event()
        self._changed = threading.Condition()
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._state = "open"  # ended: no more comes; aborted: stop; closed: nobody reads

    async def put(self, piece: bytes) -> None:
        """Hand over a piece; waits while too many are waiting."""
        while True:
            with self._changed:
                if self._size < self._FULL or self._state != "open":
                    self._pieces.append(piece)
                    self._size += len(piece)
                    self._changed.notify()
                    return
                self._room.clear()
            await self._room.wait()

    def end(self) -> None:
        """No more will come."""
        self._set("ended")

    def abort(self) -> None:
        """The reading thread shall stop where it is."""
        self._set("aborted")

    def _set(self, state: str) -> None:
        with self._changed:
            if self._state in ("open", "ended"):
                self._state = state
            self._changed.notify()

    def close(self) -> None:
        """The thread reads no more; what is still put is dropped."""
        with self._changed:
            self._state = "closed"
        self._loop.call_soon_threadsafe(self._room.set)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._changed:
            while not self._pieces and self._state == "open":
                self._changed.wait()
            if self._state == "aborted":
                raise _Stopped
            if not self._pieces:
                raise StopIteration
            piece = self._pieces.popleft()
            self._size -= len(piece)
        if self._size < self._FULL // 2 and not self._room.is_set():
            self._loop.call_soon_threadsafe(self._room.set)
        return piece
