"""The instructions of a Dockerfile as values: what is written, checked, not yet expanded.

A string marked "may hold variables" goes through `expand` when the stage is evaluated.
Source: Dockerfile reference, one section per instruction.
"""

from argosy.build.dockerfile.lexer import Heredoc
from argosy.build.dockerfile.source import SourceRange
from argosy.values import frozen

Pairs = tuple[tuple[str, str], ...]


@frozen(kw_only=True)
class Instruction:
    """What every instruction has: where it is, and its text with continued lines joined."""

    where: SourceRange
    text: str


@frozen(kw_only=True)
class From(Instruction):
    """FROM [--platform] image [AS name]; image and platform may hold global variables."""

    image: str
    name: str = ""  # in lower case; `` for none
    name_written: str = ""
    platform: str = ""
    comments: tuple[str, ...] = ()


@frozen(kw_only=True)
class Arg(Instruction):
    """ARG name[=default] …; defaults may hold variables, None is no default."""

    args: tuple[tuple[str, str | None], ...]
    comments: tuple[str, ...] = ()


@frozen(kw_only=True)
class Env(Instruction):
    """ENV name=value …; both may hold variables. `legacy` is the form `ENV name value`."""

    pairs: Pairs
    legacy: bool = False


@frozen(kw_only=True)
class Label(Instruction):
    """LABEL name=value …; both may hold variables."""

    pairs: Pairs
    legacy: bool = False


@frozen
class Command:
    """A command line: words of an exec form, or one text for the shell."""

    words: tuple[str, ...]
    shell: bool


@frozen
class MountFlag:
    """One --mount of RUN, as key and value (None for a bare key); values may hold variables."""

    text: str
    kind: str
    options: tuple[tuple[str, str | None], ...]

    def get(self, *keys: str) -> str:
        """The last value of any of the keys, not expanded; `` for none."""
        return next((v or "" for k, v in reversed(self.options) if k in keys), "")


@frozen(kw_only=True)
class Run(Instruction):
    """RUN; the command is never expanded here, the shell does that."""

    command: Command
    mounts: tuple[MountFlag, ...] = ()
    network: str = "default"
    security: str = "sandbox"
    heredocs: tuple[Heredoc, ...] = ()


@frozen(kw_only=True)
class Transfer(Instruction):
    """What COPY and ADD share; sources, destination, chown, chmod, exclude may hold variables."""

    sources: tuple[str, ...]
    files: tuple[Heredoc, ...] = ()
    dest: str
    chown: str = ""
    chmod: str = ""
    link: bool = False
    exclude: tuple[str, ...] = ()


@frozen(kw_only=True)
class Copy(Transfer):
    """COPY; `from_` is a stage's name or number, an image, or a named context."""

    from_: str = ""
    parents: bool = False


@frozen(kw_only=True)
class Add(Transfer):
    """ADD; sources may be URLs and git repositories too. `unpack` None is the default."""

    checksum: str = ""
    keep_git_dir: bool = False
    unpack: bool | None = None


@frozen(kw_only=True)
class Workdir(Instruction):
    """WORKDIR path; may hold variables."""

    path: str


@frozen(kw_only=True)
class User(Instruction):
    """USER name or id, with an optional group; may hold variables."""

    user: str


@frozen(kw_only=True)
class Cmd(Instruction):
    """CMD."""

    command: Command


@frozen(kw_only=True)
class Entrypoint(Instruction):
    """ENTRYPOINT."""

    command: Command


@frozen(kw_only=True)
class Expose(Instruction):
    """EXPOSE port[-port][/protocol] …; may hold variables, which may hold several."""

    ports: tuple[str, ...]


@frozen(kw_only=True)
class Volume(Instruction):
    """VOLUME; paths may hold variables."""

    paths: tuple[str, ...]


@frozen(kw_only=True)
class Shell(Instruction):
    """SHELL, in exec form only."""

    words: tuple[str, ...]


@frozen(kw_only=True)
class StopSignal(Instruction):
    """STOPSIGNAL; may hold variables."""

    signal: str


@frozen(kw_only=True)
class Healthcheck(Instruction):
    """HEALTHCHECK; `test` is as in the image config: NONE, CMD …, CMD-SHELL …. Times in ns."""

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@frozen(kw_only=True)
class Onbuild(Instruction):
    """ONBUILD; `trigger` is the inner instruction's text, here-documents included."""

    trigger: str
    inner: Instruction


@frozen(kw_only=True)
class Maintainer(Instruction):
    """MAINTAINER, which OCI has no place for but `author`."""

    name: str
