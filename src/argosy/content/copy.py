"""copy: move a graph of descriptors from a Source to a Store. The one verb.

Children go before parents and the tag goes last, so a reader of the destination
never sees a name for something incomplete. Two traps:

- Pruning a subtree because its root exists is sound only if a Store that holds a
  manifest holds everything below it. If the destination answers a manifest with
  MANIFEST_BLOB_UNKNOWN all the same, its children are put again, once.
- No slot is held while children are awaited, else deep graphs deadlock.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from argosy.concurrency import first_error, gather
from argosy.content.graph import Children, children
from argosy.content.store import BytesBody, Mounts, Referrers, Source, Store
from argosy.content.verify import read, verified
from argosy.errors import ArgosyError, CopyError, RegistryError
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.observe import Event, Kind, Report, silent


async def copy(
    src: Source,
    src_ref: str,
    dst: Store,
    dst_ref: str | None = None,
    *,
    select: Children = children,
    jobs: int = 4,
    referrers: bool = False,
    report: Report = silent,
) -> Descriptor:
    """Copy what `src_ref` names and everything below it; tag it `dst_ref` (as in the source if None).

    `select` says what hangs below a descriptor; `referrers` takes along the
    signatures, SBOMs and attestations of the root and of every manifest below it,
    and theirs. An empty `dst_ref` tags nothing. Every byte is checked against its
    digest. Raises CopyError naming the operation and the side.
    """
    with _failing("resolve", "source", src_ref):
        root = await src.resolve(src_ref)
    mover = _Mover(src, dst, select, asyncio.Semaphore(jobs), report)
    try:
        await mover.move(root)
        if referrers:
            await mover.move_referrers(root)
    except BaseExceptionGroup as group:
        raise first_error(group) from group
    tag = src_ref if dst_ref is None else dst_ref
    if tag and ":" not in tag:  # a digest needs no tag
        with _failing("tag", "destination", tag):
            await dst.tag(root, tag)
    return root


@dataclass(slots=True)
class _Mover:
    """One copy under way: each digest is moved by one task, however often it occurs."""

    src: Source
    dst: Store
    select: Children
    slots: asyncio.Semaphore
    report: Report
    claimed: dict[Digest, "asyncio.Future[None]"] = field(default_factory=dict)

    async def move(self, desc: Descriptor) -> None:
        """Move a descriptor and all below it; returns when it is there."""
        if (ahead := self.claimed.get(desc.digest)) is not None:
            await asyncio.shield(ahead)
            return
        done = asyncio.get_running_loop().create_future()
        self.claimed[desc.digest] = done
        try:
            await self._move_new(desc)
        except BaseException as e:
            done.set_exception(e if isinstance(e, Exception) else asyncio.CancelledError())
            done.exception()  # the waiters, if any, raise it; otherwise nobody has to
            raise
        done.set_result(None)

    async def _move_new(self, desc: Descriptor) -> None:
        async with self.slots:
            with _failing("look for", "destination", str(desc)):
                there = await self.dst.exists(desc)
        if there:
            self._tell("skipped", desc)
        elif media.is_manifest(desc.media_type):
            await self._move_manifest(desc)
        else:
            async with self.slots:
                await self._move_blob(desc)

    async def _move_manifest(self, desc: Descriptor) -> None:
        async with self.slots:
            with _failing("read", "source", str(desc)):
                body = await read(self.src, desc)
                below = await self.select(_Held(self.src, desc, body), desc)
        await gather(self.move(child) for child in below)
        async with self.slots:
            self._tell("started", desc)
            try:
                await self._put_manifest(desc, body)
            except CopyError as e:
                if not _misses_children(e):
                    raise
                # It reported a child it does not have: put them all, then this one again.
                for child in below:
                    await self._put_again(child)
                await self._put_manifest(desc, body)
            self._tell("done", desc)

    async def _put_manifest(self, desc: Descriptor, body: bytes) -> None:
        with _failing("put", "destination", str(desc)):
            await self.dst.put(desc, BytesBody(body))

    async def _put_again(self, desc: Descriptor) -> None:
        if media.is_manifest(desc.media_type):
            with _failing("read", "source", str(desc)):
                body = await read(self.src, desc)
            await self._put_manifest(desc, body)
        else:
            await self._move_blob(desc)

    async def _move_blob(self, desc: Descriptor) -> None:
        if isinstance(self.dst, Mounts):
            with _failing("mount", "destination", str(desc)):
                if await self.dst.mount(desc, self.src):
                    self._tell("mounted", desc)
                    return
        self._tell("started", desc)
        if desc.data is not None:
            with _failing("put", "destination", str(desc)):
                await self.dst.put(desc, BytesBody(desc.data))
        else:
            with _failing("put", "destination", str(desc)):
                await self.dst.put(desc, SourceBody(self.src, desc, self.report))
        self._tell("done", desc)

    async def move_referrers(self, desc: Descriptor) -> None:
        """Move what refers to `desc`, to the manifests below it, and to those referrers."""
        if not isinstance(self.src, Referrers):
            return
        seen: set[Digest] = set()
        pending = [desc]
        while pending:
            node = pending.pop()
            if node.digest in seen or not media.is_manifest(node.media_type):
                continue
            seen.add(node.digest)
            with _failing("list the referrers of", "source", str(node)):
                about: Sequence[Descriptor] = await self.src.referrers(node.digest)
                below = await self.select(self.src, node) if media.is_index(node.media_type) else ()
            await gather(self.move(r) for r in about)
            pending += [*about, *below]

    def _tell(self, kind: Kind, desc: Descriptor) -> None:
        done = 0 if kind == "started" else desc.size
        self.report(Event(kind, desc.digest, desc.media_type, done, desc.size))


class SourceBody:
    """The bytes of a descriptor at a source as a rewindable body; verified when read from the start.

    What the source side raises while the destination reads is marked as the
    source's fault.
    """

    def __init__(self, src: Source, desc: Descriptor, report: Report = silent) -> None:
        self.source = src
        self.desc = desc
        self._report = report

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.at(0)

    async def at(self, start: int) -> AsyncIterator[bytes]:
        """The bytes from offset `start`."""
        done = start
        with _failing("read", "source", str(self.desc)):
            async with self.source.open(self.desc, start=start) as body:
                pieces = verified(self.desc, body) if start == 0 else body
                async for piece in pieces:
                    done += len(piece)
                    self._report(
                        Event(
                            "advanced", self.desc.digest, self.desc.media_type, done, self.desc.size
                        )
                    )
                    yield piece


@dataclass(frozen=True, slots=True)
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


def _misses_children(error: CopyError) -> bool:
    cause = error.cause
    return isinstance(cause, RegistryError) and cause.registry_code in (
        "MANIFEST_BLOB_UNKNOWN",
        "BLOB_UNKNOWN",
    )
