"""COPY and ADD as a step: what is copied from where to where.

Source: Dockerfile reference, COPY and ADD.
"""

import posixpath
from collections.abc import Callable, Mapping
from typing import Literal

from argosy.build.dockerfile import checks, ignore
from argosy.build.dockerfile.expand import expand_document
from argosy.build.dockerfile.git_reference import parse_git
from argosy.build.dockerfile.instructions import Add, Copy
from argosy.build.dockerfile.lexer import Heredoc
from argosy.build.dockerfile.plan import CopyStep, Download, InlineFile, Origin
from argosy.build.dockerfile.source import Fault
from argosy.errors import UsageError
from argosy.values import frozen

_URLS = ("http://", "https://")


@frozen(kw_only=True)
class Around:
    """What a COPY or ADD depends on beyond its own words."""

    expand: Callable[[str], str]
    env: Mapping[str, str]
    workdir: str
    origin: Origin


def transfer_step(instruction: Copy | Add, around: Around) -> tuple[CopyStep, str]:
    """The step, and its history's text; Fault if a value cannot be used."""
    run = around.expand
    sources = [run(s) for s in instruction.sources]
    dest = run(instruction.dest)
    is_add = isinstance(instruction, Add)
    parents = isinstance(instruction, Copy) and instruction.parents
    remote = [s for s in sources if is_remote(s)]
    if remote and not is_add:
        raise Fault("COPY takes no URL and no repository", at=remote[0], remedy="ADD takes both")
    chown, chmod = run(instruction.chown), run(instruction.chmod)
    exclude = tuple(run(e) for e in instruction.exclude)
    ignore.patterns(exclude)  # refuse here what cannot be matched
    step = CopyStep(
        name=display_name(instruction.text),
        where=instruction.where,
        origin=around.origin,
        sources=tuple(clean_source(s, parents=parents) for s in sources if not is_remote(s)),
        files=tuple(_file(h, around.env) for h in instruction.files),
        downloads=_downloads(instruction, remote, run) if isinstance(instruction, Add) else (),
        dest=absolute(around.workdir, dest),
        chown=checks.chown(chown) if chown else "",
        chmod=checks.chmod(chmod) if chmod else "",
        link=instruction.link,
        parents=parents,
        exclude=exclude,
        unpack=_unpack(instruction),
    )
    words = [*sources, *(f"<<{h.name}" for h in instruction.files), dest]
    flags = ["--parents"] * parents
    flags += [f"--chown={chown}"] * bool(chown) + [f"--chmod={chmod}"] * bool(chmod)
    return step, " ".join(["ADD" if is_add else "COPY", *flags, *words])


def is_remote(source: str) -> bool:
    """Whether a source is a URL or a git repository rather than a path."""
    try:
        return source.startswith(_URLS) or parse_git(source) is not None
    except UsageError:  # it is one, but badly written
        return True


def _downloads(add: Add, remote: list[str], run: Callable[[str], str]) -> tuple[Download, ...]:
    checksum = run(add.checksum)
    if checksum:
        checks.checksum(checksum)
        if len(remote) != 1 or len(add.sources) != 1:
            raise Fault(
                "--checksum is for one URL or repository",
                at="--checksum",
                remedy="write one ADD for each source",
            )
    found: list[Download] = []
    for url in remote:
        kind = _kind(url)
        if checksum and (":" in checksum) == (kind == "git"):
            raise Fault(
                f"--checksum: {checksum[:80]!r} is not a checksum of this source",
                at="--checksum",
                why="a repository has a commit, a file of the web a digest such as sha256:…",
            )
        found.append(Download(url=url, kind=kind, checksum=checksum, keep_git_dir=add.keep_git_dir))
    return tuple(found)


def _kind(url: str) -> Literal["git", "http"]:
    try:
        return "git" if parse_git(url) else "http"
    except UsageError as e:
        raise Fault(e.summary, at=url, why=e.why, remedy=e.remedy) from e


def _unpack(instruction: Copy | Add) -> Literal["never", "local", "always"]:
    if isinstance(instruction, Copy) or instruction.unpack is False:
        return "never"
    return "local" if instruction.unpack is None else "always"


def _file(heredoc: Heredoc, env: Mapping[str, str]) -> InlineFile:
    if "/" in heredoc.name or heredoc.name in (".", ".."):
        raise Fault(
            f"{heredoc.name!r} is no name for a file",
            at=heredoc.name,
            why="a here-document is copied as a file named by its word",
        )
    text = expand_document(heredoc.data, env) if heredoc.expands else heredoc.data
    return InlineFile(name=heredoc.name, data=text.encode(errors="replace"))


def clean_source(source: str, *, parents: bool) -> str:
    """A path below the origin's root, without `/` in front; `..` cannot leave the root."""
    before, pivot, after = source.partition("/./") if parents else (source, "", "")
    return f"{_clean(before)}/./{_clean(after)}" if pivot else _clean(before)


def _clean(path: str) -> str:
    return posixpath.normpath("/" + path).lstrip("/") or "."


def absolute(workdir: str, path: str) -> str:
    """The path against the working directory; a slash at the end stays: it says directory."""
    joined = posixpath.normpath(posixpath.join("/", workdir, path))
    joined = "/" + joined.lstrip("/")
    is_directory = path in ("", ".") or path.endswith(("/", "/."))
    return joined + "/" if is_directory and joined != "/" else joined


def display_name(text: str) -> str:
    """An instruction as people see it: its keyword in capitals, blanks closed up."""
    keyword, _, rest = " ".join(text.split()).partition(" ")
    return f"{keyword.upper()} {rest}".rstrip()
