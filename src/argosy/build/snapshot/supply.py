"""Where the blobs of lazy snapshots come from, and where they stay once they were fetched."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from argosy.concurrency import first_error
from argosy.content.store import Source, Store
from argosy.model.descriptor import Descriptor
from argosy.observe import Event, Kind, Report, silent
from argosy.values import frozen

_AHEAD = 8  # pieces that the reader may be ahead of the store


@frozen(kw_only=True)
class Supply:
    """A Source of layers to unpack: what passes through it is put in `keep`, and reported.

    The store checks what it keeps, so a blob that is not what its digest says is not
    kept, and whoever reads it is told so at its end.
    """

    source: Source
    keep: Store | None = None
    report: Report = silent

    async def resolve(self, ref: str) -> Descriptor:
        """As the source does."""
        return await self.source.resolve(ref)

    async def exists(self, desc: Descriptor) -> bool:
        """Whether it can be had."""
        return await self.source.exists(desc)

    @asynccontextmanager
    async def open(
        self, desc: Descriptor, *, start: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes, which are kept if all of them are read."""
        keep = self.keep
        if start or (keep is not None and await keep.exists(desc)):
            async with self.source.open(desc, start=start) as body:
                yield body
            return
        self._tell("started", desc, 0)
        try:
            async with self.source.open(desc) as body, aclosing(self._told(desc, body)) as told:
                if keep is None:
                    yield told
                else:
                    async with _kept(desc, told, keep) as pieces:
                        yield pieces
        except BaseException:
            self._tell("failed", desc, 0)
            raise
        self._tell("done", desc, desc.size)

    async def _told(
        self, desc: Descriptor, body: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        done = 0
        async for piece in body:
            done += len(piece)
            self._tell("advanced", desc, done)
            yield piece

    def _tell(self, kind: Kind, desc: Descriptor, done: int) -> None:
        self.report(Event(kind, desc.digest, desc.media_type, done, desc.size))


@asynccontextmanager
async def _kept(
    desc: Descriptor, body: AsyncGenerator[bytes, None], store: Store
) -> AsyncIterator[AsyncIterator[bytes]]:
    """The pieces of `body`, which go into `store` while they are read."""
    waiting: asyncio.Queue[bytes | None] = asyncio.Queue(_AHEAD)

    async def arriving() -> AsyncGenerator[bytes, None]:
        while (piece := await waiting.get()) is not None:
            yield piece

    async def put() -> None:
        async with aclosing(arriving()) as pieces:
            await store.put(desc, pieces)

    def drain(_task: object) -> None:
        while not waiting.empty():  # lets go of a reader that waits for room
            waiting.get_nowait()

    async def both(putting: asyncio.Task[None]) -> AsyncGenerator[bytes, None]:
        async for piece in body:
            if not putting.done():
                await waiting.put(piece)
            yield piece
        if not putting.done():
            await waiting.put(None)
        await putting

    try:
        async with asyncio.TaskGroup() as group:
            putting = group.create_task(put())
            putting.add_done_callback(drain)
            async with aclosing(both(putting)) as pieces:
                yield pieces
            putting.cancel()  # if it is not done, nobody read to the end
    except BaseExceptionGroup as problems:
        raise first_error(problems) from problems
