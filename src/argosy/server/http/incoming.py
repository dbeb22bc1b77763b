"""The body of a request that is still on its way."""

import mmap

from argosy.server.http.bulk import Intake
from argosy.server.http.framing import ChunkedFraming, Framing, LengthFraming
from argosy.server.http.heads import Fields
from argosy.server.http.messages import PIECE, BodyTooLarge, Sink
from argosy.server.http.pacing import Pace, PacedIntake
from argosy.server.http.rendering import CONTINUE
from argosy.server.http.wire import Wire

_SMALL = 64 * 1024


class IncomingBody:
    """RequestBody over a wire; what nobody takes, the session skips or cuts off."""

    __slots__ = ("_begun", "_expects", "_wire", "framing", "length", "pace", "received")

    def __init__(self, wire: Wire, fields: Fields) -> None:
        self._wire = wire
        wire.be_patient()
        self._expects = fields.expects
        self._begun = False
        self.received = 0
        self.pace: Pace | None = None  # whoever limits what comes in sets it before it is taken
        self.length: int | None = None if fields.chunked else fields.length
        self.framing: Framing = ChunkedFraming() if fields.chunked else LengthFraming(fields.length)
        if fields.chunked or fields.length > len(wire.pending):
            wire.pause()  # until somebody wants it

    @property
    def skippable(self) -> bool:
        """Whether what is left is surely coming, and little enough to read over it."""
        left = self.framing.remaining if isinstance(self.framing, LengthFraming) else PIECE
        return left <= _SMALL and not self._expects

    async def read(self, limit: int) -> bytes:
        """The whole body; BodyTooLarge above `limit` bytes, ClientGone when it breaks off."""
        if self.length is not None and self.length > limit:
            raise BodyTooLarge(limit)
        self._begin()
        whole = bytearray()
        view = memoryview(bytearray(min(_SMALL, self.length or _SMALL)))
        while not self.framing.done:
            whole += await self._next(view)
            if len(whole) > limit:
                raise BodyTooLarge(limit)
        if self.pace is not None:
            await self.pace.wait(len(whole))  # what follows it has to
        self.received = len(whole)
        return bytes(whole)

    async def skip(self) -> None:
        """Read over what is left of it."""
        view = memoryview(bytearray(_SMALL))
        while not self.framing.done:
            await self._next(view)

    async def into(self, sink: Sink) -> int:
        """Feed every byte to `sink`, in order, in a worker thread; returns the number of bytes."""
        self._begin()
        buffer = self._wire.common.buffers.take()
        try:
            take = self._through_loop if self._wire.secure else self._past_loop
            self.received = await take(sink, buffer)
            return self.received
        finally:
            self._wire.common.buffers.give(buffer)

    async def _past_loop(self, sink: Sink, buffer: mmap.mmap) -> int:
        wire = self._wire
        early, wire.pending = wire.pending, b""
        if self.pace is None:
            intake = Intake(self.framing, sink, buffer, early)
            await wire.carry(intake, out=False)
        else:
            intake = await self._slowly(sink, buffer, early, self.pace)
        wire.pending = self.framing.rest
        return intake.moved

    async def _slowly(self, sink: Sink, buffer: mmap.mmap, early: bytes, pace: Pace) -> PacedIntake:
        intake = PacedIntake(self.framing, sink, buffer, early, pace)
        try:
            await intake.more()
            await self._wire.carry(intake, out=False)
        finally:
            intake.allowance.close()
        return intake

    async def _through_loop(self, sink: Sink, buffer: mmap.mmap) -> int:
        """The same for TLS, which only the loop can decrypt."""
        view = memoryview(buffer)
        total = filled = 0
        while not self.framing.done:
            free = view[filled:]
            if self.pace is not None:
                free = free[: self.pace.most()]
                await self.pace.wait(len(free))
            got = len(await self._next(free))
            if self.pace is not None and got < len(free):
                self.pace.give_back(len(free) - got)
            filled += got
            if filled == PIECE or self.framing.done:
                await self._wire.off_loop(sink, view[:filled])
                total += filled
                filled = 0
        return total

    async def _next(self, view: memoryview) -> memoryview:
        raw = view[: min(len(view), self.framing.want())]
        count = await self._wire.receive(raw)
        payload = self.framing.feed(view[:count])
        if self.framing.done and self.framing.rest:
            self._wire.pending = self.framing.rest + self._wire.pending
        return view[:payload]

    def _begin(self) -> None:
        if self._begun:
            raise RuntimeError("the body of a request can be taken only once")
        self._begun = True
        if self._expects:
            self._expects = False
            if not self._wire.pending:
                self._wire.write(CONTINUE)
