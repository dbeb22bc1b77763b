"""The build graph: ops, snapshots, and what an op may use while it runs.

Nothing here knows a Dockerfile, a container runtime or a mount: those are handed
in through `Work`.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import field
from typing import Literal, Protocol, runtime_checkable

from argosy.build.limits import Limits
from argosy.build.origins import Origins
from argosy.build.ssh import Agent
from argosy.claims import Claims
from argosy.content.store import Store
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.platform import Platform
from argosy.observe import Report, silent
from argosy.values import frozen


@frozen
class Layer:
    """What a snapshot changes, as a blob: its descriptor, and the digest of the tar in it."""

    descriptor: Descriptor
    diff_id: Digest


@frozen
class Snapshot:
    """A committed file system state: one layer directory on top of its parent's.

    `id` names the layer directory in the snapshotter. None, where a snapshot is
    wanted, is the empty file system (scratch). One that has a `layer` need not be
    unpacked here yet: the snapshotter does that when something must see its files.
    """

    id: str
    parent: "Snapshot | None" = None
    layer: Layer | None = field(default=None, compare=False)

    @property
    def chain(self) -> tuple[str, ...]:
        """Ids from the bottom layer to this one."""
        return (*(self.parent.chain if self.parent else ()), self.id)


class Workspace(Protocol):
    """A writable file system while it is being edited."""

    @property
    def root(self) -> str:
        """Absolute path of the merged root: everything of the parent, writable."""
        ...

    @property
    def parent(self) -> Snapshot | None:
        """What it started from."""
        ...


class Snapshotter(Protocol):
    """Keeps file system states: edit, then commit; or throw the workspace away."""

    def edit(self, parent: Snapshot | None) -> AbstractAsyncContextManager[Workspace]:
        """A workspace on top of `parent`; unmounted on exit, and gone unless committed."""
        ...

    async def commit(self, workspace: Workspace, *, timeless: bool = False) -> Snapshot:
        """Keep what was written as a new snapshot; call it inside `edit`.

        `timeless`: the files' times come from somebody's checkout and mean nothing, so
        that a layer with SOURCE_DATE_EPOCH has that time throughout.
        """
        ...

    async def layer(self, upper: Snapshot, into: Store) -> tuple[Descriptor, Digest]:
        """The changes of `upper` over its parent as a compressed layer put in `into`; and its diffID."""
        ...

    def apply(self, parent: Snapshot | None, layer: Layer) -> Snapshot:
        """State that a layer lies on top of `parent`; nothing is fetched or unpacked yet.

        `edit` and `layer` do that when they must, and check digest and diffID.
        """
        ...

    async def remove(self, snapshot: Snapshot) -> None:
        """Forget one snapshot nothing is built upon."""
        ...


@runtime_checkable
class Holds(Protocol):
    """A Snapshotter that can tell whether a snapshot is still there (else it is taken on trust)."""

    async def exists(self, snapshot: Snapshot) -> bool:
        """Whether the snapshot and everything below it are there, or their layers can be had.

        Never wrong about what is there; where a layer is said to be, it may turn out gone.
        """
        ...


@frozen(kw_only=True)
class Mount:
    """Something mounted into a RUN step. Nothing of it is ever part of a layer."""

    kind: Literal["bind", "tmpfs"]
    target: str
    source: str = ""
    readonly: bool = False
    size: int = 0  # of a tmpfs, bytes; 0 is no limit of its own


@frozen(kw_only=True)
class Process:
    """A command to run in a root file system. `user` is as in USER: name or id, with an optional group."""

    args: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str = "/"
    user: str = ""
    platform: Platform = field(default_factory=Platform.host)
    network: Literal["default", "none", "host"] = "default"
    hostname: str = "argosy"
    hosts: tuple[tuple[str, str], ...] = ()  # more names for /etc/hosts, each with its address
    mounts: tuple[Mount, ...] = ()
    stdin: bytes = b""
    insecure: bool = False  # every capability, no seccomp: RUN --security=insecure
    interactive: bool = False  # it has this process's terminal; nothing is passed to `output`
    limits: Limits = field(default_factory=Limits)


Output = Callable[[bytes], None]


class Execute(Protocol):
    """Runs a process in a root file system."""

    async def __call__(self, process: Process, root: str, output: Output) -> int:
        """The exit status. Cancelling kills the process and everything it started.

        RuntimeUnavailable if no OCI runtime, or no emulator for the platform, works here.
        """
        ...


# Gives the terminal over to a step's shell for as long as the block lasts.
Shell = Callable[[str], AbstractContextManager[None]]


def _discard(_text: bytes) -> None:
    return


@frozen(kw_only=True)
class Work:
    """What an op may use while it runs."""

    snapshots: Snapshotter
    execute: Execute
    images: Store  # blobs and manifests of this machine
    origins: Origins = field(default_factory=Origins)  # where blobs are that are not here yet
    report: Report = silent
    log: Output = _discard  # what the step that runs prints; the solver binds it to the step
    cache_mounts: str = ""  # directory of what RUN --mount=type=cache keeps
    # Fills a new one (by id) from elsewhere, given its directory; False if there is nothing.
    fill: Callable[[str, str], Awaitable[bool]] | None = None
    secrets: Mapping[str, Callable[[], bytes]] = field(
        default_factory=dict
    )  # by id, read when used
    agents: Mapping[str, Agent] = field(default_factory=dict)  # of --ssh, by id
    shell: Shell | None = None  # --debug-shell: who wants to look into a step that failed
    claims: Claims | None = None  # what is used of `cache_mounts` is not pruned


@frozen
class CacheKey:
    """How an op is cached: `fast` from definitions alone; `slow` from the content it really uses.

    `slow` is asked for only when `fast` misses, since the inputs at `content` must be
    there for it. It gets their snapshots, in that order.
    """

    fast: Digest
    slow: Callable[[Sequence[Snapshot | None], Work], Awaitable[Digest]] | None = None
    content: tuple[int, ...] = ()


class Op(Protocol):
    """One step of a build: how it is cached is stated apart from how it runs."""

    @property
    def name(self) -> str:
        """What people see: `[build 2/5] RUN make`; nothing is reported of an op without a name."""
        ...

    @property
    def inputs(self) -> "tuple[Op, ...]":
        """The ops whose snapshots it starts from, the parent first."""
        ...

    async def cache_key(self, inputs: Sequence[CacheKey]) -> CacheKey:
        """Its key, from its own definition and its inputs' keys."""
        ...

    async def run(self, inputs: Sequence[Snapshot | None], work: Work) -> Snapshot | None:
        """Do it; called only when no cache record has the key."""
        ...


Part = tuple[str, str]  # an input of an op by a name people know, and what it is


@runtime_checkable
class Explains(Protocol):
    """An op that can name its inputs, those of ops below left out."""

    def parts(self) -> Iterable[Part]:
        """`variable NAME`, `file PATH`, `mount TARGET` and the like, each with its value (blocking)."""
        ...


@frozen(kw_only=True)
class Reason:
    """One step of a build: what became of it, and why."""

    step: str
    result: Literal["cached", "ran"]
    why: str = ""

    def to_json(self) -> dict[str, str]:
        """For machines."""
        return {"step": self.step, "result": self.result, "why": self.why}
