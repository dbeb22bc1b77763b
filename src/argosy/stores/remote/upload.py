"""One blob on its way up: streamed, in chunks if wished, taken up again where the registry is.

Source: distribution-spec, Pushing Blobs (POST, PATCH, PUT, and GET for the offset).
"""

import re
from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote

from argosy.content.copy import SourceBody
from argosy.content.store import Body, BytesBody, Rewindable
from argosy.content.verify import verified
from argosy.errors import (
    ArgosyError,
    Denied,
    DigestMismatch,
    NetworkError,
    NotFound,
    RateLimited,
    RegistryError,
    RegistryUnavailable,
    SizeMismatch,
    Unauthorized,
)
from argosy.model.descriptor import Descriptor
from argosy.stores.remote.exchange import Exchange
from argosy.stores.remote.retry import wait
from argosy.stores.remote.transport import Answer, Request

_SMALL = 256 << 10  # bytes; up to here a blob goes in one PUT from memory
_SEND = 256 << 10  # smaller pieces are joined up to this: each costs a trip between threads
_OCTETS = {"Content-Type": "application/octet-stream"}
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")
_STARTS_ANEW = frozenset({"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"})


class Upload:
    """The upload of one blob into one repository; `run` it once."""

    def __init__(
        self, exchange: Exchange, repository: str, desc: Descriptor, scopes: Sequence[str]
    ) -> None:
        self._exchange = exchange
        self._repository = repository
        self._desc = desc
        self._scopes = scopes
        self._what = f"push blob {desc.digest} to {exchange.endpoint.host}/{repository}"
        self._location = ""
        self._chunk = exchange.settings.chunk_size
        self._renewed = False

    async def run(self, body: Body, location: str = "") -> None:
        """Send the bytes and commit them; `location` is an upload a refused mount left open.

        Nothing is kept unless all of it came and was right: the registry checks the
        digest at the commit, and the bytes are checked here unless `body` does it.
        """
        self._location = location
        if self._desc.size <= _SMALL:
            pieces = [bytes(piece) async for piece in verified(self._desc, body)]
            body = BytesBody(b"".join(pieces))
        try:
            await self._persist(body)
        except NetworkError:
            raise  # whoever cannot be reached cannot be told either
        except ArgosyError:
            await self._cancel()
            raise

    async def rehearse(self) -> None:
        """Open an upload and give it up: raises what a push would meet before its first byte."""
        await self._start()
        await self._cancel()

    async def _persist(self, body: Body) -> None:
        attempt, offset = 0, 0
        while True:
            try:
                await self._send_and_commit(body, offset)
                return  # noqa: TRY300 - what follows is the next try
            except ArgosyError as e:
                if not self._may_go_on(e, body):
                    raise
                denied = e if isinstance(e, Denied) else None
                after = e.evidence.get("retry-after")
                seconds = wait(attempt, after, self._exchange.settings)
                if seconds is None:
                    raise
                why = e.summary
            attempt += 1
            await self._exchange.pause(seconds, self._desc.digest, why)
            before, offset = offset, await self._where()
            if offset > before:
                attempt, self._renewed = (
                    0,
                    False,
                )  # it moves: such a connection needs patience, not an end
            if not self._location and await self._is_there():
                return
            if not self._location and denied is not None:
                raise denied  # not the token's fault: the registry has dropped what it refuses

    def _may_go_on(self, error: ArgosyError, body: Body) -> bool:
        if not isinstance(body, Rewindable):
            return False
        if isinstance(error, NetworkError):
            return self._exchange.may_pass(error)
        if isinstance(error, RegistryUnavailable | RateLimited):
            return True
        if isinstance(error, Unauthorized | Denied):
            # A token that expired amid the upload: asking for the offset renews it. Once.
            again, self._renewed = not self._renewed and bool(self._location), True
            return again
        if isinstance(error, NotFound):
            return error.evidence.get("registry_code") in ("", *_STARTS_ANEW)
        return isinstance(error, RegistryError) and (
            error.status == 416 or error.registry_code in _STARTS_ANEW
        )

    async def _send_and_commit(self, body: Body, offset: int) -> None:
        if not self._location:
            await self._start()
        size = self._desc.size
        if size <= _SMALL and offset == 0:
            data = b"".join([piece async for piece in body])
            await self._commit(data)
            return
        if offset < size:
            await self._send(_checked(self._desc, body, offset), offset)
        await self._commit()

    async def _start(self) -> None:
        url = await self._exchange.url(f"{self._repository}/blobs/uploads/")
        if self._desc.digest.algorithm != "sha256":
            url += f"?digest-algorithm={self._desc.digest.algorithm}"
        answer = await self._ask(Request(method="POST", url=url), (202,))
        self._location = self._exchange.location(answer, "")
        least = answer.headers.get("oci-chunk-min-length", "")
        if self._chunk and least.isdigit():
            self._chunk = max(self._chunk, int(least))

    async def _send(self, pieces: AsyncIterator[bytes], offset: int) -> None:
        if not self._chunk:
            await self._patch(pieces, offset, self._desc.size - offset)
            return
        async for chunk in _chunks(pieces, self._chunk):
            length = sum(map(len, chunk))
            await self._patch(_each(chunk), offset, length)
            offset += length

    async def _patch(self, pieces: AsyncIterator[bytes], offset: int, length: int) -> None:
        headers = dict(_OCTETS)
        if self._chunk or offset:
            headers["Content-Range"] = f"{offset}-{offset + length - 1}"
        request = Request(
            method="PATCH",
            url=self._location,
            headers=headers,
            stream=_joined(pieces),
            length=length,
        )
        answer = await self._ask(request, (202, 204))
        self._location = self._exchange.location(answer, self._location)

    async def _commit(self, data: bytes | None = None) -> None:
        joint = "&" if "?" in self._location else "?"
        url = f"{self._location}{joint}digest={quote(self._desc.digest, safe='')}"
        headers = _OCTETS if data is not None else {}
        # Not tried again blindly: a PUT whose answer was lost may have been done.
        request = Request(
            method="PUT",
            url=url,
            headers=headers,
            body=data or b"",
            once=True,
        )
        try:
            answer = await self._ask(request, (201, 204))
        except RegistryError as e:
            raise self._mismatch(e) from e
        told = answer.headers.get("docker-content-digest")
        same_kind = told and told.partition(":")[0] == self._desc.digest.algorithm
        if told and same_kind and told != self._desc.digest:
            raise DigestMismatch(self._what, expected=self._desc.digest, actual=told)
        self._location = ""

    def _mismatch(self, e: RegistryError) -> ArgosyError:
        if e.registry_code != "DIGEST_INVALID":
            return e
        return DigestMismatch(self._what, expected=self._desc.digest, actual="another", why=e.why)

    async def _where(self) -> int:
        """How far the registry is; 0 with no location when the upload has to begin anew."""
        if not self._location:
            return 0
        request = Request(method="GET", url=self._location)
        answer = await self._exchange.send(request, self._scopes)
        await answer.read()
        match = _RANGE.fullmatch(answer.headers.get("range", "").strip())
        if answer.status not in (200, 202, 204) or match is None:
            self._location = ""
            return 0
        self._location = self._exchange.location(answer, self._location)
        end = int(match[1])
        # An empty upload is said to be at `0-0`, as is one of a single byte.
        offset = end + 1 if end else 0
        if offset > self._desc.size:
            await self._cancel()
            return 0
        return offset

    async def _is_there(self) -> bool:
        url = await self._exchange.url(f"{self._repository}/blobs/{self._desc.digest}")
        answer = await self._exchange.send(Request(method="HEAD", url=url), self._scopes)
        await answer.close()
        return answer.status == 200

    async def _cancel(self) -> None:
        """Tell the registry to forget the upload; it sweeps what it is not told."""
        location, self._location = self._location, ""
        if not location:
            return
        request = Request(method="DELETE", url=location, once=True)
        try:
            await (await self._exchange.send(request, self._scopes)).read()
        except ArgosyError:
            return

    async def _ask(self, request: Request, expect: tuple[int, ...]) -> Answer:
        answer = await self._exchange.ask(request, self._what, self._scopes, expect)
        await answer.read()
        return answer


async def _checked(desc: Descriptor, body: Body, offset: int) -> AsyncIterator[bytes]:
    """The pieces from `offset`, hashed on the way unless `body` does that itself."""
    if offset == 0 and not isinstance(body, SourceBody):
        async for piece in verified(desc, body):
            yield piece
        return
    done = offset
    pieces = body.at(offset) if isinstance(body, Rewindable) else body.__aiter__()
    async for piece in pieces:
        done += len(piece)
        if done > desc.size:
            break
        yield piece
    if done != desc.size:
        raise SizeMismatch(str(desc), expected=desc.size, actual=done)


async def _joined(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    held: list[bytes] = []
    size = 0
    async for piece in pieces:
        if not held and len(piece) >= _SEND:
            yield piece
            continue
        held.append(piece)
        size += len(piece)
        if size >= _SEND:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


async def _chunks(pieces: AsyncIterator[bytes], size: int) -> AsyncIterator[list[bytes]]:
    """The same bytes in lists of pieces of `size` bytes each, but for the last."""
    chunk: list[bytes] = []
    room = size
    async for piece in pieces:
        while len(piece) >= room:
            yield [*chunk, piece[:room]]
            piece, chunk, room = piece[room:], [], size  # noqa: PLW2901 - the rest of it
        if piece:
            chunk.append(piece)
            room -= len(piece)
    if chunk:
        yield chunk


async def _each(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
