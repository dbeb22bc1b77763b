"""An upload to an object store: one request's turn at it, and what the next one finds.

While a turn lasts, parts go up as they fill. At its end, what is too short for a part is
left in the ledger's row (a few bytes), or as an object: where there are no parts yet,
that object is all there is, and may be the blob already. After parts, the rest goes up
twice, as the object and as what may be the last part: so a commit has nothing to send.
"""

import asyncio
import hashlib
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Final

from argosy.concurrency import between, in_thread
from argosy.content.blob_storage import Claim, Stored, UploadBusy, UploadLost
from argosy.content.upload_ledger import Held, State, UploadLedger
from argosy.errors import ArgosyError, DigestMismatch, SizeMismatch, StorageUnavailable
from argosy.model.digest import Digest
from argosy.stores import hashing
from argosy.stores.hashing import RunningHash
from argosy.stores.s3 import cleaning, naming
from argosy.stores.s3.bucket import Bucket
from argosy.stores.s3.failures import Missing
from argosy.stores.s3.flow import PartFlow, Room, Target
from argosy.stores.s3.options import SMALLEST_PART

log = logging.getLogger("argosy.stores.s3")

PATIENCE = 10.0  # seconds to wait for another request on the same upload
_INLINE: Final = 32 << 10  # bytes of a tail that go into the ledger's row
_SAFE_GAP: Final = 8  # part numbers that a turn which ended badly may still be using


class Ground:
    """What all uploads of a process stand on; `turns` is how many requests are at one now."""

    def __init__(self, bucket: Bucket, ledger: UploadLedger) -> None:
        self.bucket: Final = bucket
        self.ledger: Final = ledger
        self.room: Final = Room(bucket.options.memory)
        self.turns = 0


class S3Upload:
    """An upload as it was found; `offset` is how many bytes are there."""

    def __init__(self, ground: Ground, id: str, state: State) -> None:  # noqa: A002
        self.id: Final = id
        self.offset = state.offset
        self._ground = ground

    @asynccontextmanager
    async def turn(self) -> AsyncIterator["S3Turn"]:
        """Hold the upload for one request; UploadBusy when another one keeps it too long.

        UploadLost if that other one has committed or cancelled it meanwhile.
        """
        claim = Claim(self.id, uuid.uuid4().hex)
        held = await self._hold(claim)
        failed: Exception | None = None
        self._ground.turns += 1
        async with asyncio.TaskGroup() as group:
            turn = S3Turn(self._ground, self, claim, held, group)
            try:
                await turn.enter(held.before)
                yield turn
            except Exception as e:  # noqa: BLE001 - raised below, outside of a group
                failed = e
            except BaseException:
                await turn.abandon()
                raise
            finally:
                self._ground.turns -= 1
            failed = await turn.leave(failed)
        if failed is not None:
            raise failed

    async def _hold(self, claim: Claim) -> Held:
        until = time.monotonic() + PATIENCE
        ground = self._ground
        while True:
            try:
                held = await ground.ledger.take(claim, ground.bucket.options.lease)
            except asyncio.CancelledError:
                with suppress(ArgosyError):  # it may have become ours, and nobody would know
                    await ground.ledger.drop(claim, claim.holder)
                raise
            if held is not None:
                return held
            pause = between(0.05, 0.2)
            if time.monotonic() + pause > until:
                raise UploadBusy(
                    f"upload {self.id} is being written by another request",
                    remedy="send the parts of a blob one after the other",
                )
            await asyncio.sleep(pause)


class S3Turn:
    """An upload in the hands of one request."""

    def __init__(
        self,
        ground: Ground,
        upload: S3Upload,
        claim: Claim,
        held: Held,
        group: asyncio.TaskGroup,
    ) -> None:
        self._upload = upload
        self._claim = claim
        self._ledger = ground.ledger
        self._bucket = bucket = ground.bucket
        self._state = state = held.state
        upload.offset = state.offset
        own = naming.blob(claim.holder)
        self._target = Target(state.key or own, bucket.begin_parts, state.multipart)
        self._target.last = max((part.number for part in state.parts), default=0)
        self._flow = PartFlow(bucket, ground.room, group, self._target)
        self._group = group
        self._hash = _hash_of(state)
        self._loop = asyncio.get_running_loop()
        self._fresh = bool(state.tail or state.tail_key)  # the rest of the turn before is there
        self._joining = False  # whether it may be one object already, or its parts on the way there
        self._stored: Stored | None = None
        self._digest = Digest()
        self._ended = False
        self._given = False  # whether it may have been given back, without our hearing of it
        self._before = ""  # who never gave it back, while that is not cleaned up
        self._renewing: asyncio.Task[None] | None = None

    async def enter(self, before: str) -> None:
        """Begin: keep it ours, and clean up after a turn that ended badly."""
        lease = self._bucket.options.lease
        self._target.until = time.time() + lease
        self._renewing = self._group.create_task(self._renew(lease))
        if before:
            self._before = before
            await cleaning.remove_turn(self._bucket, before, keep=self._state)
            if self._state.multipart:
                with suppress(Missing):
                    found = await self._bucket.highest_part(self._state.key, self._state.multipart)
                    self._target.last = max(self._target.last, found + _SAFE_GAP)
            self._before = ""

    async def _renew(self, lease: float) -> None:
        while True:
            await asyncio.sleep(lease / 3)
            asked = time.time()
            try:
                await self._ledger.keep(self._claim, lease)
            except StorageUnavailable:
                continue  # until our time is over
            except ArgosyError as e:
                if not self._ended:
                    self._flow.failed = self._flow.failed or e
                return
            self._target.until = asked + lease

    def write(self, piece: bytes | memoryview) -> None:
        """Append, in a worker thread; raises what storing the bytes before has come to."""
        if not len(piece):
            return
        if self._fresh:
            self._flow.add(asyncio.run_coroutine_threadsafe(self._tail(), self._loop).result())
        if self._hash is not None:
            self._hash.update(piece)
        self._flow.add(piece)
        self._upload.offset += len(piece)

    async def _tail(self) -> bytes:
        """What was left of the turn before; it is a part of its own no more."""
        state = self._state
        tail = state.tail
        if state.tail_key:
            async with self._bucket.get(state.tail_key) as pieces:
                tail = b"".join([piece async for piece in pieces])
        if self._hash is None and not state.parts:
            self._hash = hashing.begin(state.algorithm)
            await in_thread(self._hash.update, tail)
        parts = state.parts[:-1] if state.tail_key else state.parts
        if sum(part.size for part in parts) + len(tail) != state.offset:
            raise SizeMismatch(
                f"what is stored of upload {self._upload.id}",
                expected=state.offset,
                actual=sum(part.size for part in parts) + len(tail),
            )
        self._state = replace(state, parts=parts, tail=b"")
        self._fresh = False
        return tail

    async def commit(self, digest: Digest) -> Stored:
        """The whole is an object of its own; DigestMismatch keeps nothing."""
        await self._flow.drained()
        known = self._hash if self._hash and self._hash.algorithm == digest.algorithm else None
        if known is not None and (actual := known.digest()) != digest:
            await self.cancel()
            raise DigestMismatch("the uploaded blob", expected=digest, actual=actual)
        key, sure = await self._join()
        size = await self._bucket.size(key)
        if size != self._upload.offset:
            await self.cancel()
            raise SizeMismatch("the stored blob", expected=self._upload.offset, actual=size)
        if known is None or not sure:
            await self._read_again(key, digest)
        for needless in {self._state.tail_key, *self._state.drop} - {"", key}:
            await self._bucket.delete(needless)
        self._stored, self._digest = Stored(size, key, self._claim), digest
        return self._stored

    async def _join(self) -> tuple[str, bool]:
        """Make it one object: its key, and whether its parts are surely those that were hashed."""
        state, flow = self._state, self._flow
        if self._fresh and state.tail_key and not state.parts:
            return state.tail_key, True
        self._joining = True
        if self._fresh and state.tail:
            flow.fill(await self._tail())  # a few bytes
        if not (state.parts or flow.parts):
            key = naming.blob(self._claim.holder)
            await self._bucket.put(key, flow.rest)
            return key, True
        key, upload = await self._target.multipart()
        try:
            if flow.rest:
                await flow.put(self._target.number(), flow.rest)
            parts = sorted((*self._state.parts, *flow.parts), key=lambda part: part.number)
            etag = await self._bucket.join_parts(key, upload, [(p.number, p.etag) for p in parts])
        except Missing:
            # Put together before, and the answer got lost: then it is there, in its full size.
            return key, False
        return key, etag.strip('"') == joined_etag([part.etag for part in parts])

    async def _read_again(self, key: str, digest: Digest) -> None:
        """Compare what is stored; DigestMismatch removes it."""
        state = digest.hasher()
        async with self._bucket.get(key) as pieces:
            async for piece in pieces:
                await in_thread(state.update, piece)
        if (actual := Digest.from_hash(state)) != digest:
            await self.cancel()
            raise DigestMismatch("the uploaded blob", expected=digest, actual=actual)

    async def settle(self, kept: Stored) -> None:
        """Let go: if another object is in force for the digest, ours goes, unless that one is gone."""
        if self._stored is not None and kept.key != self._stored.key:
            try:
                await self._bucket.size(kept.key)
            except Missing:
                log.warning("blob %s: its object %s was gone", self._digest, kept.key)
                await self._ledger.mend(self._digest, kept, self._stored)
            else:
                with suppress(ArgosyError):  # the blob is there; ours is swept, then
                    await self._bucket.delete(self._stored.key)
                    await self._ledger.end(self._claim)
        self._ended = True

    async def cancel(self) -> None:
        """Forget the upload and what it has stored; nothing, if it is not ours or has become a blob."""
        if self._ended:
            return
        await self._flow.stop()
        with suppress(UploadLost):
            await self._ledger.keep(self._claim, self._bucket.options.lease)
            await self._remove()
        self._ended = True

    async def _remove(self) -> None:
        target = self._target
        await cleaning.remove(
            self._bucket, replace(self._state, key=target.key, multipart=target.begun)
        )
        await self._bucket.delete(naming.blob(self._claim.holder))
        await self._ledger.end(self._claim)

    async def leave(self, failed: Exception | None) -> Exception | None:
        """End the turn: what came is kept for the next one. The error that is to be raised."""
        lost = isinstance(failed, UploadLost) and self._stored is not None and not self._ended
        try:
            await self._end()
            if lost:
                await self._forget()  # it was not given its row, and never will be
        except ArgosyError as e:
            failed = failed or e
            await self._let_go()
        except BaseException:  # the client left: nobody shall wait for the end of our time
            await self._let_go()
            raise
        finally:
            self._close()
        return failed

    async def _end(self) -> None:
        if self._stored is not None:
            await self.cancel()  # its row could not be written: nothing, if it was settled
        elif self._ended:
            pass
        elif self._before or self._joining:
            await self._let_go()  # nothing of it counts: it has not begun, or broke at its end
        else:
            await self._give()

    async def _forget(self) -> None:
        """Remove what this turn has stored: the upload is somebody else's, who may be past that."""
        await self._flow.stop()
        with suppress(ArgosyError):
            await cleaning.remove_turn(self._bucket, self._claim.holder)

    async def abandon(self) -> None:
        """End the turn at once: what came in it is lost."""
        self._close()
        if not self._ended:
            await self._let_go()

    def _close(self) -> None:
        self._flow.close()
        if self._renewing is not None:
            self._renewing.cancel()

    async def _let_go(self) -> None:
        """Let others have it now, who see that this turn did not end well."""
        if self._renewing is not None:
            self._renewing.cancel()  # it would take it back
        with suppress(ArgosyError):
            ours = await self._ledger.drop(self._claim, self._before or self._claim.holder)
            # After a commit it may have been given its row, by a transaction nobody knows of; and
            # what was given back names what we have stored: the next one goes on from there.
            if not ours and self._stored is None and not self._given:
                await self._forget()

    async def _give(self) -> None:
        await self._flow.drained()
        state = self._state
        if self._upload.offset != state.offset:
            state = await self._left()
            # What the row names no more would be there for good if we died before removing it:
            # so it is named for one more turn, and those of the turn before are removed now.
            for needless in self._state.drop:
                await self._bucket.delete(needless)
        self._given = True
        try:
            await self._ledger.give(self._claim, state)
        except UploadLost:
            self._given = False
            raise

    async def _left(self) -> State:
        """Store what is no part yet, so that any node finds all that came."""
        flow, rest = self._flow, self._flow.rest
        tail, tail_key = b"", ""
        whole = not (self._state.parts or flow.parts)
        if len(rest) <= _INLINE:
            tail = bytes(rest)
        elif whole:
            tail_key = naming.blob(self._claim.holder)
            await self._bucket.put(tail_key, rest)
        else:
            jobs = [flow.put(self._target.number(), rest)]
            if len(rest) < SMALLEST_PART:
                tail_key = naming.tail(self._claim.holder)
                jobs.append(self._bucket.put(tail_key, rest))
            # Each to its end: what is broken off may still take effect when all is cleaned up.
            for outcome in await asyncio.gather(*jobs, return_exceptions=True):
                if outcome is not None:
                    raise outcome
        parts = sorted((*self._state.parts, *flow.parts), key=lambda part: part.number)
        state = self._hash.state() if self._hash is not None else b""
        return State(
            algorithm=self._state.algorithm,
            offset=self._upload.offset,
            key=self._target.key if self._target.begun else "",
            multipart=self._target.begun,
            parts=tuple(parts),
            tail=tail,
            tail_key=tail_key,
            drop=tuple({self._state.tail_key} - {"", tail_key}),
            hash_state=state,
            hash_tag=hashing.tag() if state else "",
        )


def joined_etag(etags: list[str]) -> str:
    """What S3 calls an object of parts: the MD5 of their MD5s, and how many; empty if they are none.

    A service that puts together whatever lies under the numbers shows here that it has
    taken another part than the one that was hashed.
    """
    try:
        digests = b"".join(bytes.fromhex(etag.strip('"')) for etag in etags)
    except ValueError:
        return ""
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(etags)}"


def _hash_of(state: State) -> RunningHash | None:
    if not state.offset:
        return hashing.begin(state.algorithm)
    return hashing.resume(state.algorithm, state.hash_state, state.hash_tag)
