"""Bodies of answers that are more than a few bytes: files and streams."""

import os
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Final

from argosy.server.http.bulk import Outflow, read_part
from argosy.server.http.messages import PIECE, Body, FileBody
from argosy.server.http.pacing import Pace, PacedOutflow
from argosy.server.http.wire import Wire

JOINED: Final = 64 * 1024
"""A body this short is sent together with its head."""


class Unfinished(Exception):
    """The answer has begun and cannot be ended: the connection has to break, so that it shows."""


async def send_file(wire: Wire, start: bytes, body: FileBody, pace: Pace | None = None) -> None:
    """The head, then the part of the file; OSError when it cannot be read and nothing was sent."""
    if body.length <= JOINED:
        data = await wire.off_loop(read_part, body)
        if pace is not None:
            await pace.wait(len(data))
        wire.write(start + data)
        await wire.drained()
    elif wire.secure:
        await _send_encrypted(wire, start, body, pace)
    elif pace is None:
        await _carry(wire, Outflow(start, body))
    else:
        flow = PacedOutflow(start, body, pace)
        try:
            await flow.more()
            await _carry(wire, flow)
        finally:
            flow.allowance.close()


async def _carry(wire: Wire, flow: Outflow) -> None:
    try:
        await wire.carry(flow, out=True)
    except OSError as e:
        if flow.begun:
            raise Unfinished from e
        raise
    finally:
        flow.close()


async def _send_encrypted(wire: Wire, start: bytes, body: FileBody, pace: Pace | None) -> None:
    file = body.file
    if not isinstance(file, int):
        file = await wire.off_loop(os.open, file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        wire.write(start)
        sent = 0
        while sent < body.length:
            count = min(PIECE, body.length - sent)
            if pace is not None:
                count = min(count, pace.most())
                await pace.wait(count)
            data = await wire.off_loop(os.pread, file, count, body.start + sent)
            if not data:
                raise Unfinished("the file is shorter than it was when its length was announced")
            wire.write(data)
            sent += len(data)
            await wire.drained()
    finally:
        os.close(file)


async def send_stream(
    wire: Wire, start: bytes, pieces: AsyncIterable[bytes], *, length: int | None, chunked: bool
) -> int:
    """The head, then each piece as it comes; Unfinished when there is one too few or too many."""
    wire.write(start)
    sent = 0
    try:
        async for piece in pieces:
            sent += len(piece)
            if length is not None and sent > length:
                raise Unfinished(f"the body has more than the {length} bytes announced")
            if piece:
                wire.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            await wire.drained()
    finally:
        await let_go(pieces)
    if length is not None and sent < length:
        raise Unfinished(f"the body has {sent} bytes, not the {length} announced")
    if chunked:
        wire.write(b"0\r\n\r\n")
    return sent


async def paced(pieces: AsyncIterable[bytes], pace: Pace) -> AsyncGenerator[bytes, None]:
    """The same bytes, when they may go out."""
    try:
        async for piece in pieces:
            start = 0
            while start < len(piece):
                count = min(pace.most(), len(piece) - start)
                await pace.wait(count)
                yield piece[start : start + count]
                start += count
    finally:
        await let_go(pieces)


async def let_go(body: Body) -> None:
    """Give back what a body holds, when it is not going to be sent."""
    if isinstance(body, FileBody):
        if isinstance(body.file, int):
            os.close(body.file)
    elif isinstance(body, AsyncGenerator):
        await body.aclose()
