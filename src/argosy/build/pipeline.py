"""build: from a Dockerfile and a context to images where they were asked for."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal

from argosy.build.graph import Execute, Snapshotter
from argosy.content.store import Store
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.platform import Platform
from argosy.model.reference import Reference
from argosy.observe import Report, silent
from argosy.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One place the result goes to, as in `--output type=…,dest=…`.

    `oci` and `docker` write an archive, `local` a directory of files, `tar` a tar of
    files, `registry` pushes to the tags' registries. `image` is the local store, where
    every result goes anyway.
    """

    kind: Literal["oci", "docker", "local", "tar", "registry", "image"]
    dest: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Output":
        """Read `type=oci,dest=x.tar` or a bare directory (type local); UsageError says why not."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A secret for RUN --mount=type=secret, by id: the content of a file or of a variable."""

    id: str
    file: str = ""
    env: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
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
    no_cache: bool = False
    pull: bool = False
    network: Literal["default", "none", "host"] = "default"
    metadata_file: str = ""
    iidfile: str = ""
    source_date_epoch: int | None = None  # the caller reads SOURCE_DATE_EPOCH
    jobs: int = 0  # steps at once; 0 is one per processor, at least 2


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """What came out: the manifest or index, the names it has, and the steps that were run."""

    descriptor: Descriptor
    names: tuple[str, ...]
    platforms: tuple[Platform, ...]
    manifests: tuple[Descriptor, ...]  # one per platform, in the order of `platforms`
    steps: int  # steps in all
    cached: int  # steps that needed no work

    @property
    def digest(self) -> Digest:
        """The digest of the manifest or index."""
        return self.descriptor.digest


Archive = Callable[[Literal["oci", "docker"], str], AbstractAsyncContextManager[Store]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Where images come from and go to; the caller composes it, since build knows no stores.

    `archive("oci", path)` opens an archive for writing, kept only if the block ends
    well; a path of `-` is standard output, one that ends in a slash an OCI layout directory.
    """

    images: Store  # the images of this machine; tagged with full references
    repository: Callable[[Reference], Store]
    archive: Archive


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What runs the steps: overlayfs and an OCI runtime, or fakes in a test."""

    snapshots: Snapshotter
    execute: Execute


async def build(
    options: BuildOptions,
    *,
    settings: Settings,
    ends: Ends,
    report: Report = silent,
    engine: Engine | None = None,
) -> BuildResult:
    """Build for every platform and export; each equal step runs once.

    Raises DockerfileError, StepFailed, another ArgosyError; nothing is tagged or
    pushed unless every platform was built.
    """
    raise NotImplementedError
