"""What a Dockerfile comes to, for one platform: stages of resolved steps. Values only.

Every variable is expanded, every path absolute, the shell applied: a step holds all
that its definition is made of, and nothing but that. Two steps that are equal apart from
`name` and `where` do the same.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from argosy.build.dockerfile.source import SourceRange
from argosy.model.platform import Platform
from argosy.values import frozen

Pairs = tuple[tuple[str, str], ...]


@frozen
class BaseImage:
    """An image that comes from outside: `ref` as written (variables expanded), for a platform."""

    ref: str
    platform: Platform

    def __str__(self) -> str:
        return f"{self.ref} ({self.platform})"


@frozen
class Scratch:
    """The empty file system."""


@frozen
class FromStage:
    """The final file system of the stage at `index` of the Dockerfile (see Plan.stage)."""

    index: int


@frozen
class FromImage:
    """The file system of an image from outside."""

    image: BaseImage


@frozen
class FromContext:
    """The build context: the main one, or one named with --build-context."""

    name: str = ""


Base = Scratch | FromStage | FromImage
Origin = Scratch | FromStage | FromImage | FromContext


@frozen(kw_only=True)
class BindMount:
    """`source`, a path in `origin`, at `target`. If writable, what is written is thrown away."""

    target: str
    origin: Origin
    source: str = "/"
    readonly: bool = True


@frozen(kw_only=True)
class CacheMount:
    """A directory kept between builds; its content is in no layer and in no cache key."""

    target: str
    id: str
    sharing: Literal["shared", "private", "locked"] = "shared"
    readonly: bool = False
    origin: Origin = Scratch()  # what it holds at first
    source: str = "/"
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@frozen(kw_only=True)
class TmpfsMount:
    """Memory at `target`; `size` in bytes, 0 for no limit of its own."""

    target: str
    size: int = 0


@frozen(kw_only=True)
class SecretMount:
    """A secret as a file at `target` (if not ``) and as variable `env` (if not ``)."""

    id: str
    target: str = ""
    env: str = ""
    required: bool = False
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


@frozen(kw_only=True)
class SshMount:
    """The agent's socket at `target`; `` is the default place."""

    id: str = "default"
    target: str = ""
    required: bool = False
    mode: int = 0o600
    uid: int = 0
    gid: int = 0


@frozen(kw_only=True)
class InlineMount:
    """A file with `data`, read-only at `target`: a here-document that starts with `#!`."""

    target: str
    data: bytes
    mode: int = 0o755


RunMount = BindMount | CacheMount | TmpfsMount | SecretMount | SshMount | InlineMount


@frozen(kw_only=True)
class RunStep:
    """Run a command on top of what the stage has so far."""

    name: str  # the instruction as people see it: RUN apt-get update
    where: SourceRange
    args: tuple[str, ...]  # the argv, shell included
    env: Pairs  # the image's variables and the declared build arguments, in order, names unique
    proxy: Pairs = ()  # proxy arguments nobody declared: set when it runs, never part of the key
    cwd: str = "/"
    user: str = ""  # as in USER: name or id, optional :group
    platform: Platform
    network: Literal["default", "none", "host"] = "default"
    security: Literal["sandbox", "insecure"] = "sandbox"
    mounts: tuple[RunMount, ...] = ()


@frozen(kw_only=True)
class InlineFile:
    """A here-document copied as file `name`."""

    name: str
    data: bytes


@frozen(kw_only=True)
class Download:
    """A file of the web or a git repository, for ADD; `checksum` as in --checksum, or ``."""

    url: str
    kind: Literal["http", "git"] = "http"
    checksum: str = ""
    keep_git_dir: bool = False


@frozen(kw_only=True)
class CopyStep:
    """Copy files on top of what the stage has so far (COPY, and ADD with its extras)."""

    name: str
    where: SourceRange
    origin: Origin
    sources: tuple[
        str, ...
    ] = ()  # in `origin`, relative, cleaned, Go wildcards allowed; "." is all
    files: tuple[InlineFile, ...] = ()
    downloads: tuple[Download, ...] = ()
    dest: str = "/"  # absolute; a trailing slash says that it is a directory
    chown: str = ""  # user[:group]; `` is 0:0
    chmod: str = ""  # octal or symbolic, as written; `` keeps the mode
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()  # .dockerignore syntax, relative to each source
    unpack: Literal["never", "local", "always"] = "never"  # local: archives of `sources`


@frozen(kw_only=True)
class WorkdirStep:
    """Make sure that directory `path` (absolute) exists; what is missing belongs to `user`."""

    name: str
    where: SourceRange
    path: str
    user: str = ""


Step = RunStep | CopyStep | WorkdirStep


@frozen(kw_only=True)
class Stage:
    """One stage, resolved.

    `config` is the OCI `config` object (Env, Cmd, …), and `history` has OCI history
    entries, the base's first. `created` is missing in those of the Dockerfile. The
    entries of the Dockerfile that lack `empty_layer` are those of the steps, in order:
    one step, one layer, one entry.
    """

    index: int  # its place in the Dockerfile, from 0
    name: str  # after AS, else stage-INDEX
    platform: Platform
    base: Base
    steps: tuple[Step, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()
    author: str = ""
    where: SourceRange = field(default_factory=SourceRange)


@frozen(kw_only=True)
class Plan:
    """What to do for one platform: the stages that the target needs, each after those it needs."""

    platform: Platform
    stages: tuple[Stage, ...]  # the last one is the target
    unused_build_args: tuple[str, ...] = ()  # given, but declared nowhere: worth a warning

    @property
    def target(self) -> Stage:
        """The stage that becomes the image."""
        return self.stages[-1]

    def stage(self, index: int) -> Stage:
        """The stage at `index` of the Dockerfile."""
        return next(s for s in self.stages if s.index == index)
