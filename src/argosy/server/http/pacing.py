"""Bodies slower than they could be: a pace says when the next bytes may move.

A transfer with a pace runs in stints of a few bytes and waits on the event loop in between,
so that it holds no thread meanwhile. One without a pace has none of this in its way.
"""

import mmap
import socket
from typing import Protocol

from argosy.server.http.bulk import Intake, Outflow, Pause
from argosy.server.http.framing import Framing, LengthFraming
from argosy.server.http.messages import PIECE, FileBody, Sink


class Pace(Protocol):
    """When bytes may move."""

    def most(self) -> int:
        """How many to ask for at once; more than 0."""
        ...

    async def wait(self, count: int) -> None:
        """Return when so many bytes may move."""
        ...

    def give_back(self, count: int) -> None:
        """So many that were waited for have not moved, and will not."""
        ...


class Allowance:
    """The bytes that a transfer may still move; below 0 if some came unasked."""

    __slots__ = ("_pace", "left")

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.left = 0

    async def ask(self, wanted: int) -> int:
        """Some of the bytes that are wanted; waits when none are left."""
        if self.left <= 0:
            count = max(1, min(self._pace.most(), wanted))
            await self._pace.wait(count - self.left)
            self.left = count
        return min(self.left, wanted)

    def close(self) -> None:
        """Give back what was not moved."""
        left, self.left = self.left, 0
        if left > 0:
            self._pace.give_back(left)


class PacedIntake(Intake):
    """A request's body that comes in at a pace."""

    __slots__ = ("allowance",)

    def __init__(
        self, framing: Framing, sink: Sink, buffer: mmap.mmap, early: bytes, pace: Pace
    ) -> None:
        super().__init__(framing, sink, buffer, early)
        self.allowance = Allowance(pace)

    async def more(self) -> None:
        """Wait until some bytes may come in."""
        known = isinstance(self.framing, LengthFraming)
        await self.allowance.ask(self.framing.remaining if known else PIECE)  # type: ignore[attr-defined]  # `known` says so

    def _receive(self, sock: socket.socket) -> bool:
        free = min(PIECE - self._filled, self.framing.want(), self.allowance.left)
        return free > 0 and self._fill(sock, free)

    def _why(self) -> Pause:
        return Pause.STALLED if self.allowance.left > 0 else Pause.SPENT

    def _add(self, count: int) -> None:
        self.allowance.left -= count  # also what came together with the head
        super()._add(count)


class PacedOutflow(Outflow):
    """A file that goes out at a pace."""

    __slots__ = ("allowance",)

    def __init__(self, head: bytes, body: FileBody, pace: Pace) -> None:
        super().__init__(head, body)
        self.allowance = Allowance(pace)

    async def more(self) -> None:
        """Wait until some bytes may go out."""
        await self.allowance.ask(self._left)

    def stint(self, sock: socket.socket) -> Pause:
        """Send until the allowance is spent, the end, a stall or the end of the turn."""
        whole, before = self._left, self.moved
        self._left = min(whole, self.allowance.left)
        try:
            pause = super().stint(sock)
        finally:
            moved = self.moved - before
            self._left = whole - moved
            self.allowance.left -= moved
        return Pause.SPENT if pause is Pause.DONE and self._left else pause
