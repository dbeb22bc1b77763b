"""copy: move a graph of descriptors from a Source to a Store. The one verb.

Children go before parents and the tag goes last, so a reader of the destination
never sees a name for something incomplete. Three traps:

- Pruning a subtree because its root exists is sound only if a Store that holds a
  manifest holds everything below it. So before an index is tagged, what was
  pruned below it is walked at the destination, and what is missing is put.
- If the destination answers a manifest with MANIFEST_BLOB_UNKNOWN all the same,
  everything below it is put again, once, whatever `exists` says.
- No slot is held while children are awaited, else deep graphs deadlock.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from argosy.concurrency import first_error, gather
from argosy.content.graph import Children, children
from argosy.content.store import (
    BytesBody,
    Mounts,
    Pins,
    Referrers,
    ResolvesHere,
    Source,
    Store,
    origin,
)
from argosy.content.verify import missing, read, verified
from argosy.errors import (
    ArgosyError,
    CopyError,
    Denied,
    DigestMismatch,
    NetworkTimeout,
    NotFound,
    RegistryError,
    SizeMismatch,
    Unauthorized,
)
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest, is_digest
from argosy.observe import Event, Kind, Report, silent
from argosy.values import frozen

_LOOKS_PER_JOB = 4  # questions (no bytes) in flight for each blob in flight: they only cost latency


async def copy(
    src: Source,
    src_ref: str,
    dst: Store,
    dst_ref: str | None = None,
    *,
    select: Children = children,
    jobs: int = 4,
    referrers: bool = False,
    verify_timeout: float = 5.0,
    report: Report = silent,
) -> Descriptor:
    """Copy what `src_ref` names and everything below it; tag it `dst_ref` (as in the source if None).

    `select` says what hangs below a descriptor; `referrers` takes along the
    signatures, SBOMs and attestations of the root and of every manifest below it,
    and theirs. An empty `dst_ref` tags nothing. Every byte is checked against its
    digest. Before an index is tagged everything below it is known to be there;
    `verify_timeout` is the seconds to find that out for one manifest. Raises
    CopyError naming the operation and the side.
    """
    tag = src_ref if dst_ref is None else dst_ref
    tag = "" if is_digest(tag) else tag
    root, standing = await gather([_resolved(src, src_ref), _standing(dst, tag)])
    assert root is not None
    mover = _Mover(src, dst, select, jobs, report)
    try:
        if standing == root:
            mover.tell("skipped", root)
        else:
            await mover.move(root)
        if referrers:
            await mover.move_referrers(root)
        if standing != root:
            await _name(mover, root, tag, verify_timeout)
    except BaseExceptionGroup as group:
        raise first_error(group) from group
    return root


async def _resolved(src: Source, ref: str) -> Descriptor | None:
    with _failing("resolve", "source", ref or "the image"):
        return await src.resolve(ref)


async def _standing(dst: Store, tag: str) -> Descriptor | None:
    """What the tag stands for by now; None too if that may not be known."""
    if not tag:
        return None
    with _failing("look for", "destination", tag):
        try:
            if isinstance(dst, ResolvesHere):
                return await dst.resolve_here(tag)
            return await dst.resolve(tag)
        except (NotFound, Unauthorized, Denied):
            return None  # some credentials may push and not pull


async def _name(mover: "_Mover", root: Descriptor, tag: str, verify_timeout: float) -> None:
    if tag and media.is_index(root.media_type):
        await mover.prove(verify_timeout)
    if tag:
        with _failing("tag", "destination", tag):
            await mover.dst.tag(root, tag)
    elif isinstance(mover.dst, Pins):
        with _failing("list", "destination", str(root)):
            await mover.dst.pin(root)


class _Mover:
    """One copy under way: each digest is moved by one task, however often it occurs."""

    def __init__(
        self, src: Source, dst: Store, select: Children, jobs: int, report: Report
    ) -> None:
        self.src = src
        self.dst = dst
        self._select = select
        self._slots = asyncio.Semaphore(jobs)
        self._looks = asyncio.Semaphore(jobs * _LOOKS_PER_JOB)
        self._report = report
        self._claimed: dict[Digest, asyncio.Future[None]] = {}
        self._pruned: list[Descriptor] = []

    async def move(self, desc: Descriptor) -> None:
        """Move a descriptor and all below it; returns when it is there."""
        if (ahead := self._claimed.get(desc.digest)) is not None:
            await asyncio.shield(ahead)
            return
        done = asyncio.get_running_loop().create_future()
        self._claimed[desc.digest] = done
        try:
            await self._move_new(desc)
        except BaseException as e:
            done.set_exception(e if isinstance(e, Exception) else asyncio.CancelledError())
            done.exception()  # the waiters, if any, raise it; otherwise nobody has to
            raise
        done.set_result(None)

    async def _move_new(self, desc: Descriptor) -> None:
        if await self._is_there(desc):
            self.tell("skipped", desc)
            if media.is_manifest(desc.media_type):
                self._pruned.append(desc)
        elif media.is_manifest(desc.media_type):
            await self._move_manifest(desc)
        else:
            await self._move_blob(desc)

    async def _is_there(self, desc: Descriptor) -> bool:
        async with self._looks:
            with _failing("look for", "destination", str(desc)):
                return await self.dst.exists(desc)

    async def _move_manifest(self, desc: Descriptor) -> None:
        body, below = await self._read_manifest(desc)
        await gather(self.move(child) for child in below)
        self.tell("started", desc)
        try:
            await self._put_manifest(desc, body)
        except CopyError as e:
            if not _misses_children(e):
                raise
            self._report(Event("retry", desc.digest, desc.media_type, text=e.summary))
            await gather(self._put_again(child) for child in below)
            await self._put_manifest(desc, body)
        self.tell("done", desc)

    async def _read_manifest(self, desc: Descriptor) -> tuple[bytes, Sequence[Descriptor]]:
        async with self._slots:
            with _failing("read", "source", str(desc)):
                body = await read(self.src, desc)
                return body, await self._select(_Held(self.src, desc, body), desc)

    async def _put_manifest(self, desc: Descriptor, body: bytes) -> None:
        async with self._slots:
            with _failing("put", "destination", str(desc)):
                await self.dst.put(desc, BytesBody(body))

    async def _put_again(self, desc: Descriptor) -> None:
        """Put a descriptor and all below it, without asking what is there."""
        if media.is_manifest(desc.media_type):
            body, below = await self._read_manifest(desc)
            await gather(self._put_again(child) for child in below)
            await self._put_manifest(desc, body)
        else:
            await self._move_blob(desc)

    async def _move_blob(self, desc: Descriptor) -> None:
        async with self._slots:
            if isinstance(self.dst, Mounts):
                with _failing("mount", "destination", str(desc)):
                    if await self.dst.mount(desc, origin(self.src, desc)):
                        self.tell("mounted", desc)
                        return
            self.tell("started", desc)
            if desc.data is not None:
                with _failing("read", "source", str(desc)):
                    held = await read(self.src, desc)
                with _failing("put", "destination", str(desc)):
                    await self.dst.put(desc, BytesBody(held))
            else:
                await self._stream(desc)
            self.tell("done", desc)

    async def _stream(self, desc: Descriptor) -> None:
        body = SourceBody(self.src, desc, self._report)
        with _failing("put", "destination", str(desc)):
            try:
                await self.dst.put(desc, body)
            except (DigestMismatch, SizeMismatch) as e:
                if body.was_bare:  # it hashed just what the source gave
                    raise CopyError("read", "source", str(desc), e) from e
                raise
            finally:
                await body.close()

    async def move_referrers(self, desc: Descriptor) -> None:
        """Move what refers to `desc`, to the manifests below it, and to those referrers."""
        seen: set[Digest] = set()
        level: Sequence[Descriptor] = [desc]
        while level:
            fresh = {n.digest: n for n in level if media.is_manifest(n.media_type)}
            nodes = [node for digest, node in fresh.items() if digest not in seen]
            seen |= fresh.keys()
            found = await gather(self._move_about(node) for node in nodes)
            level = [node for group in found for node in group]

    async def _move_about(self, node: Descriptor) -> Sequence[Descriptor]:
        """Move the referrers of one manifest; they and what is below it are to be looked at next."""
        about: Sequence[Descriptor] = ()
        below: Sequence[Descriptor] = ()
        async with self._looks:
            with _failing("list the referrers of", "source", str(node)):
                if isinstance(self.src, Referrers):
                    about = await self.src.referrers(node.digest)
                if media.is_index(node.media_type):
                    below = await self._select(self.src, node)
        await gather(self.move(referrer) for referrer in about)
        return [*about, *below]

    async def prove(self, timeout: float) -> None:
        """Everything below the manifests that were pruned is at the destination, or is put now."""
        for desc in self._pruned:
            absent = await self._missing(desc, timeout)
            await gather(self._put_again(child) for child in absent)
            if absent and (still := await self._missing(desc, timeout)):
                raise CopyError("verify", "destination", str(desc), _not_there(still))

    async def _missing(self, desc: Descriptor, timeout: float) -> Sequence[Descriptor]:
        with _failing("verify", "destination", str(desc)):
            try:
                async with asyncio.timeout(timeout):
                    return await missing(self.dst, desc, looks=self._looks)
            except TimeoutError as e:
                raise _too_slow(desc, timeout) from e

    def tell(self, kind: Kind, desc: Descriptor) -> None:
        """Report what happened to a descriptor."""
        done = 0 if kind == "started" else desc.size
        self._report(Event(kind, desc.digest, desc.media_type, done, desc.size))


class SourceBody:
    """The bytes of a descriptor at a source as a rewindable body that checks itself from the start.

    What the source side raises while the destination reads is marked as the
    source's fault. A store that checks the bytes itself may take them bare.
    """

    def __init__(self, src: Source, desc: Descriptor, report: Report = silent) -> None:
        self.source = src
        self.desc = desc
        self.was_bare = False
        self._report = report
        self._readings: list[AsyncGenerator[bytes, None]] = []

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._begin(0, check=True)

    async def close(self) -> None:
        """End readings that a failing destination left: else the event loop does, and complains."""
        while self._readings:
            reading = self._readings.pop()
            # If it runs, another task is in it, whose end will close it.
            if not getattr(reading, "ag_running", False):
                await reading.aclose()

    def _begin(self, start: int, *, check: bool) -> AsyncIterator[bytes]:
        self._readings.append(self._read(start, check=check))
        return self._readings[-1]

    def at(self, start: int) -> AsyncIterator[bytes]:
        """The bytes from offset `start`; checked only if that is 0."""
        return self._begin(start, check=start == 0)

    def bare(self) -> AsyncIterator[bytes]:
        """The bytes from the start, unchecked."""
        self.was_bare = True
        return self._begin(0, check=False)

    async def _read(self, start: int, *, check: bool) -> AsyncGenerator[bytes, None]:
        desc, done = self.desc, start
        with _failing("read", "source", str(desc)):
            async with self.source.open(desc, start=start) as body:
                async for piece in verified(desc, body) if check else body:
                    done += len(piece)
                    self._report(Event("advanced", desc.digest, desc.media_type, done, desc.size))
                    yield piece


@frozen
class _Held:
    """A Source that already holds one manifest's bytes, so that `select` need not read it again."""

    source: Source
    desc: Descriptor
    body: bytes

    async def resolve(self, ref: str) -> Descriptor:
        return await self.source.resolve(ref)

    async def exists(self, desc: Descriptor) -> bool:
        return await self.source.exists(desc)

    @asynccontextmanager
    async def open(
        self, desc: Descriptor, *, start: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        if desc.digest == self.desc.digest:
            yield BytesBody(self.body).at(start)
            return
        async with self.source.open(desc, start=start) as body:
            yield body


class _failing:  # noqa: N801 - reads as a phrase: with failing("put", …)
    """Translate an ArgosyError inside into a CopyError, unless it is one already."""

    def __init__(self, operation: str, side: str, subject: str) -> None:
        self._words = (operation, side, subject)

    def __enter__(self) -> None:
        return

    def __exit__(self, _type: object, error: BaseException | None, _tb: object) -> None:
        if isinstance(error, ArgosyError) and not isinstance(error, CopyError):
            raise CopyError(*self._words, error) from error


def _too_slow(desc: Descriptor, timeout: float) -> NetworkTimeout:
    return NetworkTimeout(
        f"{desc} could not be verified within {timeout:g} s",
        why="the destination does not answer in time whether everything below it is there",
        remedy="try again, or allow more time with ARGOSY_VERIFY_TIMEOUT",
    )


def _not_there(absent: Sequence[Descriptor]) -> NotFound:
    return NotFound(
        f"{absent[0]} is missing or damaged there",
        why="it was put again without success, so the tag was not moved",
        remedy="check the destination's storage",
        evidence={"missing": [str(desc) for desc in absent]},
    )


def _misses_children(error: CopyError) -> bool:
    cause = error.cause
    return isinstance(cause, RegistryError) and cause.registry_code in (
        "MANIFEST_BLOB_UNKNOWN",
        "BLOB_UNKNOWN",
    )
