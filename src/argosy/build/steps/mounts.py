"""RUN --mount: what is put into a step's file system while it runs, and taken out again.

Mount points are the business of what runs the step. Bind mounts show another stage, an
image or the context; writes to them are lost.
Cache mounts are directories of this machine. Secrets and here-document scripts are
files in memory. Nothing of it enters a layer, and secrets enter no cache key.
"""

import asyncio
import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from argosy.build.dockerfile.plan import (
    BindMount,
    CacheMount,
    InlineMount,
    RunMount,
    SecretMount,
    SshMount,
    TmpfsMount,
)
from argosy.build.files.owners import Owner
from argosy.build.files.placement import Manner, Placement
from argosy.build.files.tree import Choice, Stop, Tree, resolve
from argosy.build.graph import Mount, Op, Snapshot, Work
from argosy.build.ssh import forwarded, missing
from argosy.concurrency import in_thread, in_thread_to_end
from argosy.errors import BuildError
from argosy.model.digest import Digest
from argosy.values import frozen

_LOCK_POLL = 0.2  # seconds between looks at a cache mount that another process has locked


@frozen(eq=False)
class Attached:
    """One --mount, and where its content comes from: an op, the context, or nowhere."""

    mount: RunMount
    origin: Op | Tree | None = None

    @property
    def op(self) -> Op | None:
        """The op it shows the snapshot of."""
        return None if isinstance(self.origin, Tree) else self.origin

    @property
    def tree(self) -> Tree | None:
        """The context it shows."""
        return self.origin if isinstance(self.origin, Tree) else None

    def listing(self) -> Iterator[tuple[str, str]]:
        """The files of the context that it shows, if it shows some (blocking)."""
        if self.tree is not None and isinstance(self.mount, BindMount):
            yield from self.tree.listing(_whole(self.mount.source, owners=False))

    async def seen(self) -> list[Any]:
        """Its part of the cache key, but for the content of an op."""
        m = self.mount
        match m:
            case BindMount():
                known: list[Any] = ["bind", m.target, m.source, m.readonly]
                if self.tree:
                    known.append(await _digest(self.tree, m.source))
                return known
            case CacheMount():
                return ["cache", m.target, m.readonly, m.mode, m.uid, m.gid]
            case TmpfsMount():
                return ["tmpfs", m.target, m.size]
            case SecretMount():
                return ["secret", m.id, m.target, m.env, m.mode, m.uid, m.gid]
            case InlineMount():
                return ["inline", m.target, Digest.of(m.data), m.mode]
            case SshMount():
                return ["ssh", m.id, m.target, m.mode, m.uid, m.gid]

    async def content(self, snapshot: Snapshot | None, work: Work) -> Digest:
        """The name of what it shows of an op's snapshot."""
        source = self.mount.source if isinstance(self.mount, BindMount | CacheMount) else "/"
        async with work.snapshots.edit(snapshot) as view:
            return await _digest(
                Tree(view.root, what="the file system to mount"), source, owners=True
            )


async def _digest(tree: Tree, source: str, *, owners: bool = False) -> Digest:
    stop, choice = Stop(), _whole(source, owners=owners)
    return await in_thread_to_end(lambda: tree.digest(choice, stop), stop.set)


def _whole(source: str, *, owners: bool = True) -> Choice:
    # A mount's source is a path, not a pattern.
    escaped = "".join(f"\\{c}" if c in "*?[\\" else c for c in source)
    return Choice(pattern=escaped, owners=owners)


@dataclass(slots=True)
class Held:
    """What a step's mounts come to."""

    mounts: list[Mount] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    agents: int = 0


@asynccontextmanager
async def mounted(
    attached: Sequence[Attached], snapshots: Sequence[Snapshot | None], work: Work
) -> AsyncIterator[Held]:
    """Everything that `attached` says, ready to be mounted; undone at the end.

    `snapshots` are those of the origins that are ops, in order.
    """
    held = Held()
    if not attached:
        yield held
        return
    waiting = list(snapshots)
    async with AsyncExitStack() as stack:
        files = _Files()
        stack.push_async_callback(in_thread, files.remove)
        mounting = _Mounting(held, stack, files, work)
        for one in attached:
            snapshot = waiting.pop(0) if one.op else None
            made = await mounting.mount(one, snapshot)
            if made is not None:
                held.mounts.append(made)
        yield held


@frozen
class _Mounting:
    """The mounts of one step being made; `stack` undoes them."""

    held: Held
    stack: AsyncExitStack
    files: "_Files"
    work: Work

    async def mount(self, one: Attached, snapshot: Snapshot | None) -> Mount | None:
        """One of them; None if there is nothing to mount."""
        m = one.mount
        match m:
            case BindMount():
                source = await self._shown(one, m, snapshot)
                return Mount(kind="bind", target=m.target, source=source, readonly=m.readonly)
            case CacheMount():
                cache = _cache(m, one, snapshot, self.work)
                source = await self.stack.enter_async_context(cache)
                return Mount(kind="bind", target=m.target, source=source, readonly=m.readonly)
            case TmpfsMount():
                return Mount(kind="tmpfs", target=m.target, size=m.size)
            case InlineMount():
                source = await in_thread(self.files.make, m.data, m.mode, Owner())
                return Mount(kind="bind", target=m.target, source=source, readonly=True)
            case SecretMount():
                return await self._secret(m)
            case SshMount():
                return await self._agent(m)

    async def _shown(self, one: Attached, m: BindMount, snapshot: Snapshot | None) -> str:
        """A path that shows the mount's source; what is written there is lost."""
        tree = one.tree
        if tree is not None and m.readonly and tree.ignore is None:
            return await in_thread(_inside, tree.root, m.source)
        view = await self.stack.enter_async_context(self.work.snapshots.edit(snapshot))
        if tree is not None:
            # A copy: the context is the user's, and ignored files must not show.
            stop, choice = Stop(), _whole(m.source, owners=False)
            place = Placement(view.root, f"/{m.source.strip('/')}", Manner(), stop=stop).place
            await in_thread_to_end(lambda: place(tree, choice), stop.set)
        return await in_thread(_inside, view.root, m.source)

    async def _agent(self, m: SshMount) -> Mount | None:
        agent = self.work.agents.get(m.id)
        if agent is None:
            if m.required:
                raise missing(m.id)
            return None
        target = m.target or f"/run/buildkit/ssh_agent.{self.held.agents}"
        self.held.agents += 1
        source = await in_thread(self.files.path)
        block = forwarded(agent, source, (m.uid, m.gid), m.mode)
        await in_thread(block.__enter__)
        self.stack.push_async_callback(in_thread, block.__exit__, None, None, None)
        # The first one is where ssh looks, as with BuildKit.
        self.held.env.setdefault("SSH_AUTH_SOCK", target)
        return Mount(kind="bind", target=target, source=source)

    async def _secret(self, m: SecretMount) -> Mount | None:
        read = self.work.secrets.get(m.id)
        if read is None:
            if m.required:
                raise BuildError(
                    f"secret {m.id!r} is required but was not given",
                    remedy=f"pass --secret id={m.id},src=FILE or --secret id={m.id},env=VARIABLE",
                )
            return None
        data = await in_thread(read)
        if m.env:
            self.held.env[m.env] = data.decode(errors="surrogateescape")
        target = m.target or ("" if m.env else f"/run/secrets/{m.id}")
        if not target:
            return None
        source = await in_thread(self.files.make, data, m.mode, Owner(m.uid, m.gid))
        return Mount(kind="bind", target=target, source=source, readonly=True)


def _inside(root: str, path: str) -> str:
    found = os.path.join(root, resolve(root, path)).rstrip("/")
    if not os.path.lexists(found):
        raise BuildError(
            f"cannot mount {path}: it is not there", remedy="check the mount's source= and from="
        )
    return found


class _Files:
    """Files in memory, for as long as a step runs."""

    def __init__(self) -> None:
        self._directory = ""

    def make(self, data: bytes, mode: int, owner: Owner) -> str:
        """A file with these bytes."""
        fd, path = tempfile.mkstemp(dir=self._place())
        with open(fd, "wb") as file:
            file.write(data)
            os.fchown(fd, owner.uid, owner.gid)
            os.fchmod(fd, mode)
        return path

    def path(self) -> str:
        """A path where nothing is yet."""
        return os.path.join(self._place(), secrets.token_hex(4))

    def _place(self) -> str:
        if not self._directory:
            memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108 - not predictable
            self._directory = tempfile.mkdtemp(prefix="argosy-", dir=memory)
        return self._directory

    def remove(self) -> None:
        """Remove them."""
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)


@asynccontextmanager
async def _cache(
    m: CacheMount, one: Attached, snapshot: Snapshot | None, work: Work
) -> AsyncIterator[str]:
    """The directory of a cache mount: shared with others, alone, or one that nobody else has."""
    number = 0
    while True:
        path = cache_directory(work.cache_mounts, m.id) + (f".{number}" if number else "")
        if work.claims is not None:
            await in_thread(work.claims.claim, f"mounts/{os.path.basename(path)}")
        lock = await in_thread(_lock, path, m.sharing)
        if lock is not None:
            break
        if m.sharing == "private":
            number += 1
        else:
            await asyncio.sleep(_LOCK_POLL)
    try:
        if await in_thread(_is_new, path, m.sharing):
            await _begin_cache(path, m, one, snapshot, work)
        yield os.path.join(path, "data")
    finally:
        await in_thread(os.close, lock)


def cache_directory(top: str, name: str) -> str:
    """The directory of a cache mount, by its id: its files are in `data`, its lock is `lock`."""
    return os.path.join(top, hashlib.sha256(name.encode()).hexdigest()[:32])


def _lock(path: str, sharing: str) -> int | None:
    os.makedirs(path, mode=0o700, exist_ok=True)
    fd = os.open(os.path.join(path, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.utime(fd)  # when it was last used: pruning goes by it
    if sharing == "shared":
        return fd
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _is_new(path: str, sharing: str) -> bool:
    """Whether it is not there yet, or empty while nobody else can have it mounted."""
    try:
        return not os.listdir(os.path.join(path, "data")) and sharing != "shared"
    except FileNotFoundError:
        return True


async def _begin_cache(
    path: str, m: CacheMount, one: Attached, snapshot: Snapshot | None, work: Work
) -> None:
    fresh = await in_thread(lambda: tempfile.mkdtemp(dir=path))

    def finish() -> None:
        with open(os.path.join(path, "id"), "wb") as file:
            file.write(os.fsencode(m.id))
        os.chown(fresh, m.uid, m.gid)
        os.chmod(fresh, m.mode)
        with suppress(OSError):  # another build was quicker
            os.rename(fresh, os.path.join(path, "data"))
        shutil.rmtree(fresh, ignore_errors=True)

    if work.fill is not None and await work.fill(m.id, fresh):
        await in_thread(finish)
        return
    if one.origin is None:
        await in_thread(finish)
        return
    async with work.snapshots.edit(snapshot) as view:
        tree = one.tree or Tree(view.root, what="the file system to begin with")
        stop, placement = Stop(), Placement(fresh, "/", Manner())
        await in_thread_to_end(lambda: placement.place(tree, _whole(m.source)), stop.set)
        await in_thread(finish)
