"""What a build is asked for, and what it gives back: values, and how `--output` is read."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import field
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, get_args

from argosy.build.fetch import Fetch
from argosy.build.graph import Execute, Reason, Shell, Snapshotter
from argosy.build.layers.compression import Compression
from argosy.build.limits import Conditions
from argosy.build.origins import Origins
from argosy.build.output_words import (
    OutputKind,
    Wish,
    fields_of,
    is_true,
    unreadable,
    wish_of,
)
from argosy.build.ssh import Agent
from argosy.build.telling import Telling
from argosy.content.store import Source, Store
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.platform import Platform
from argosy.model.reference import Reference
from argosy.values import frozen

if TYPE_CHECKING:
    from argosy.build.engines.loading import EngineName
    from argosy.build.remote_cache.words import ActionsCache, CacheFrom, CacheTo


@frozen(kw_only=True)
class Output:
    """One place the result goes to, as in `--output type=…,dest=…`.

    `oci` and `docker` write an archive, `local` a directory of files, `tar` a tar of
    files, `registry` pushes to the tags' registries. `image` is the local store,
    `cacheonly` is nowhere: only the steps are remembered. `docker` without a `dest`
    goes into the Docker engine.
    """

    kind: OutputKind
    dest: str = ""
    names: tuple[str, ...] = ()  # in addition to the build's tags
    wish: Wish = field(default_factory=Wish)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `type=oci,dest=x.tar`, a bare directory (type local) or `-` (a tar to standard output).

        The fields are comma-separated with CSV's quotes, as buildx has it. UsageError
        says what cannot be read or honoured.
        """
        if text == "-":
            return cls(kind="tar", dest="-")
        if "=" not in text:
            return cls(kind="local", dest=text)
        fields = fields_of(text)
        kind = fields.pop("type", "")
        if kind not in get_args(OutputKind):
            raise unreadable(text, f"type must be one of {', '.join(get_args(OutputKind))}")
        wish = wish_of(text, kind, fields)
        names = tuple(n for n in fields.get("name", "").split(",") if n)
        if is_true(text, fields, "push"):
            kind = "registry"
        dest = _dest(text, kind, fields)
        return cls(kind=cls._checked(kind), dest=dest, names=names, wish=wish)

    @staticmethod
    def _checked(kind: str) -> OutputKind:
        return next(k for k in get_args(OutputKind) if k == kind)


@frozen(kw_only=True)
class Secret:
    """A secret for RUN --mount=type=secret, by id: the content of a file or of a variable."""

    id: str
    file: str = ""
    env: str = ""


@frozen(kw_only=True)
class BuildOptions:
    """What to build; empty means the default of docker build."""

    context: str
    dockerfile: str = ""  # a path; `` is Dockerfile in the context, `-` reads dockerfile_text
    dockerfile_text: bytes | None = None
    tags: tuple[str, ...] = ()
    platforms: tuple[Platform, ...] = ()  # none: this machine's
    target: str = ""
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(
        default_factory=dict
    )  # manifest:, index: prefixes allowed
    build_contexts: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()
    outputs: tuple[Output, ...] = ()
    push: bool = False
    load: bool = False  # keep it in the local images, although it is pushed or written elsewhere
    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()  # stages that are built without cache
    pull: bool = False
    agents: tuple[Agent, ...] = ()  # --ssh
    conditions: Conditions = field(default_factory=Conditions)
    debug_shell: bool = False
    metadata_file: str = ""
    metadata_warnings: bool = False  # BUILDX_METADATA_WARNINGS: what the checks found goes into it
    iidfile: str = ""
    engines: "tuple[EngineName, ...]" = ()  # --load=ENGINE; they take it from the local images
    cache_from: "tuple[CacheFrom, ...]" = ()
    cache_to: "tuple[CacheTo, ...]" = ()
    source_date_epoch: int | None = None  # the caller reads SOURCE_DATE_EPOCH
    epoch_from: str = ""  # `git` or `context`: where to take that time from
    telling: Telling = field(default_factory=Telling)  # --describe
    jobs: int = 0  # steps at once; 0 is one per processor, at least 2


@frozen(kw_only=True)
class BuildResult:
    """What came out: the manifest or index, the names it has, and the steps that were run."""

    descriptor: Descriptor
    names: tuple[str, ...]
    platforms: tuple[Platform, ...]
    manifests: tuple[Descriptor, ...]  # one per platform, in the order of `platforms`
    steps: int  # steps in all
    cached: int  # steps that needed no work
    warnings: tuple[Mapping[str, Any], ...] = ()  # of the build checks, in BuildKit's JSON
    ref: str = ""  # in the build history
    reasons: tuple[Reason, ...] = ()  # why each step ran, or that it did not

    @property
    def digest(self) -> Digest:
        """The digest of the manifest or index."""
        return self.descriptor.digest


class ActionsStore(Store, Protocol):
    """A part of GitHub's cache service as a Store; `refs` are the tags to read, the first one to write."""

    @property
    def refs(self) -> tuple[str, ...]:
        """The tags."""
        ...


Actions = Callable[["ActionsCache"], AbstractAsyncContextManager[ActionsStore]]
ReadInput = Callable[[int], bytes]
Archive = Callable[[Literal["oci", "docker"], str], AbstractAsyncContextManager[Store]]


@frozen(kw_only=True)
class Ends:
    """Where images come from and go to; the caller composes it, since build knows no stores.

    `archive("oci", path)` opens an archive for writing, kept only if the block ends
    well; a path of `-` is standard output, one that ends in a slash an OCI layout directory.
    """

    images: Store  # the images of this machine; tagged with full references
    repository: Callable[[Reference], Store]
    archive: Archive
    shell: Shell | None = None
    actions: Actions | None = None  # for caches of type gha
    fetch: Fetch | None = None  # the web, for ADD and contexts
    layout: Callable[[str], Source] | None = None  # an OCI layout directory, for --build-context
    stdin: ReadInput | None = None  # a context of `-` is read from it


@frozen(kw_only=True)
class Engine:
    """What runs the steps: overlayfs and an OCI runtime, or fakes in a test.

    `origins` is where `snapshots` fetches layers from: whoever learns of one tells it.
    """

    snapshots: Snapshotter
    execute: Execute
    compression: Compression = field(default_factory=Compression)  # of the layers it writes
    origins: Origins = field(default_factory=Origins)


def _dest(text: str, kind: str, fields: Mapping[str, str]) -> str:
    dest = fields.get("dest", "")
    if kind == "tar" and not dest:
        return "-"
    if kind in ("local", "oci") and not dest:
        raise unreadable(text, f"type={kind} needs dest=PATH")
    if dest and fields.get("tar") and not is_true(text, fields, "tar"):
        return dest.rstrip("/") + "/"  # an OCI layout directory
    return dest
