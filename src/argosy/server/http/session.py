"""HTTP/1.1 on one wire: the next head, its handler, its answer, in a plain loop.

Nothing is parsed while a handler runs: pipelined requests wait as raw bytes,
a bounded number of them, and are answered in order.
"""

import logging
import re
import time
from collections.abc import AsyncIterable
from typing import Final

from argosy.server.http import rendering
from argosy.server.http.heads import END, FIRST_BYTES, MAX_HEAD, BadRequest, Head, HeadReader
from argosy.server.http.incoming import IncomingBody
from argosy.server.http.messages import BodyTooLarge, ClientGone, FileBody, Request, Response
from argosy.server.http.outgoing import JOINED, let_go, paced, send_file, send_stream
from argosy.server.http.wire import NEVER, Wire

log = logging.getLogger("argosy.server.http")

_CLOSE: Final = b"Connection: close\r\n\r\n"
_KEEP_1_0: Final = b"Connection: keep-alive\r\n\r\n"
_BLANK_LINES: Final = re.compile(rb"(?:\r\n)*+")
_CLIENT_GONE: Final = 499  # nginx' number for the log; nobody is there to get it


class Session:
    """What goes on between us and one client, request by request."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.busy = False
        self._common = wire.common
        self._heads = HeadReader()
        self._scanned = 0
        self._id_field = b""  # of the request at hand

    async def run(self) -> None:
        """Answer requests until one side has had enough; never raises because of the client."""
        try:
            while (head := await self._next_head()) is not None:
                self.busy = True
                if not await self._exchange(head):
                    break
                self.busy = False
        except BadRequest as e:
            await self._refuse(e)
        except ClientGone:
            self.wire.abort()
        except Exception:
            log.exception("an answer could not be finished")
            self.wire.abort()
        finally:
            self.wire.close()

    # Heads.

    async def _next_head(self) -> Head | None:
        """The next head; None when either side is done."""
        wire, options = self.wire, self._common.options
        if not wire.pending:
            if self._common.closing:
                return None
            wire.deadline = wire.loop.time() + options.idle_timeout
            await wire.more()
        if not self._complete():
            wire.deadline = wire.loop.time() + options.head_timeout
            while not self._complete():
                if wire.expired and wire.pending:
                    raise BadRequest("the head of the request did not come in time", status=408)
                if wire.ended or wire.expired:
                    return None
                await wire.more()
        wire.deadline = NEVER
        return self._cut()

    def _complete(self) -> bool:
        """Whether there is something to decide: a whole head, or what cannot become one."""
        wire = self.wire
        if wire.pending.startswith(b"\r\n"):  # RFC 9112 §2.2: before a request line, ignore it
            # All at once: who sends nothing else must not be copied line by line.
            wire.pending = wire.pending[_BLANK_LINES.match(wire.pending).end() :]  # type: ignore[union-attr]  # it matches anything
        pending = wire.pending
        if not pending or pending == b"\r":
            return False
        if pending.endswith(END) or pending.find(END, max(0, self._scanned - 3)) >= 0:
            return True
        self._scanned = len(pending)
        return len(pending) > MAX_HEAD or pending[0] not in FIRST_BYTES

    def _cut(self) -> Head:
        wire = self.wire
        data = wire.pending
        end = data.find(END) + len(END)
        if end > MAX_HEAD or (end < len(END) and len(data) > MAX_HEAD):
            raise BadRequest(f"the head is longer than {MAX_HEAD} bytes", status=431)
        if data[0] not in FIRST_BYTES:
            raise BadRequest("this is not HTTP; is the client speaking TLS to a plain port?")
        self._scanned = 0
        if end == len(data):
            wire.pending = b""
        else:
            wire.pending = data[end:]
            data = data[:end]
        return self._heads.read(data)

    async def _refuse(self, error: BadRequest) -> None:
        answer = rendering.problem(error.status, error.why)
        assert isinstance(answer.body, bytes)
        self.wire.write(self._head(answer, None, keep=False) + answer.body)
        await self.wire.swallow()

    # One request and its answer.

    async def _exchange(self, head: Head) -> bool:
        """True when another request may follow on this connection."""
        began = time.perf_counter()
        wire, fields = self.wire, head.fields
        body = IncomingBody(wire, fields) if fields.has_body else None
        request = Request(head.method, head.target, headers=fields.headers, peer=wire.peer)
        if body is not None:
            request.body = body
        if wire.secure:
            request.scheme = "https"
            request.certificate = wire.certificate
        if self._common.options.request_ids:
            self._id_field = b"X-Request-Id: %b\r\n" % request.id.encode()
        status, sent = _CLIENT_GONE, 0
        try:
            response = await self._call(request)
            keep = head.keeps_alive and not self._common.closing and _keeps(response, head)
            unread = None if body is None or body.framing.done else body
            if unread is not None:
                keep = keep and unread.skippable
            status = response.status
            status, sent = await self._send(request, response, head, keep=keep)
        finally:
            if (tell := self._common.options.log) is not None:
                tell(request, status, sent, time.perf_counter() - began)
        if unread is not None:
            await (unread.skip() if keep else wire.swallow())
        return keep

    async def _call(self, request: Request) -> Response:
        try:
            return await self._common.handler(request)
        except ClientGone:
            raise
        except BadRequest as e:
            return rendering.problem(e.status, e.why)
        except BodyTooLarge as e:
            return rendering.problem(413, e.summary)
        except Exception as e:  # noqa: BLE001 - whatever a handler raises, the client gets an answer
            return _failure(request, e)

    # Answers.

    def _head(
        self, response: Response, head: Head | None, *, keep: bool, extra: bytes = b""
    ) -> bytes:
        rendered = (response.rendered or rendering.render(response)) + self._id_field
        clock = self._common.clock
        if keep and head is not None and head.minor == "1":
            return rendered + extra + clock.date_and_end
        return rendered + extra + clock.date + (_KEEP_1_0 if keep else _CLOSE)

    async def _send(
        self, request: Request, response: Response, head: Head, *, keep: bool
    ) -> tuple[int, int]:
        """Send it all; returns the status and the bytes of the body."""
        body = response.body
        bodiless = head.method == "HEAD" or response.status in rendering.BODILESS
        try:
            pace = request.pace
            if isinstance(body, bytes) or bodiless:
                if pace is not None and body and not bodiless:
                    await pace.wait(len(body))  # type: ignore[arg-type]  # it is bytes
                return response.status, await self._send_bytes(response, head, keep, bodiless)
            if isinstance(body, FileBody):
                await send_file(self.wire, self._head(response, head, keep=keep), body, pace)
                return response.status, body.length
            stream = body if pace is None else paced(body, pace)
            return response.status, await self._send_stream(response, head, stream, keep=keep)
        except (ValueError, OSError) as e:  # nothing has been sent yet
            failure = _failure(request, e)
            return 500, await self._send_bytes(failure, head, keep, bodiless)

    async def _send_bytes(self, response: Response, head: Head, keep: bool, bodiless: bool) -> int:
        body = response.body
        start = self._head(response, head, keep=keep)
        if bodiless:
            self.wire.write(start)
            await let_go(body)
            return 0
        assert isinstance(body, bytes)
        if not body and rendering.NO_LENGTH not in start:
            raise ValueError("the body is empty, the Content-Length is not")
        if len(body) <= JOINED:
            self.wire.write(start + body)
        else:
            self.wire.write(start)
            self.wire.write(body)
        await self.wire.drained()
        return len(body)

    async def _send_stream(
        self, response: Response, head: Head, pieces: AsyncIterable[bytes], *, keep: bool
    ) -> int:
        length = rendering.declared_length(response)
        chunked = length is None and head.minor == "1"
        extra = rendering.CHUNKED if chunked else b""
        start = self._head(response, head, keep=keep, extra=extra)
        return await send_stream(self.wire, start, pieces, length=length, chunked=chunked)


def _keeps(response: Response, head: Head) -> bool:
    """Whether the end of this answer can be told from its beginning."""
    if head.minor == "1" or isinstance(response.body, bytes | FileBody):
        return True
    return rendering.declared_length(response) is not None


def _failure(request: Request, error: Exception) -> Response:
    """The answer to what should not have happened."""
    what = f"{request.method} {request.target}"
    log.error("%s failed; request %s", what, request.id, exc_info=error)
    message = f"internal error; the log of the server has it as request {request.id}"
    return rendering.problem(500, message, detail={"request": request.id})
