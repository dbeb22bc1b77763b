"""A git repository as ADD, `argosy build` and --build-context name it. Pure.

    https://host/path.git#REF:SUBDIR     the older way
    https://host/path.git?ref=…&subdir=…&keep-git-dir=…&submodules=…&checksum=…
    git@host:path, ssh://…, git://…      with the same endings

Source: Docker documentation, "Build context", "URL fragments" and "URL queries".
"""

import posixpath
import re
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit, urlunsplit

from argosy.errors import UsageError
from argosy.values import frozen

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.]*)://")
_SCP = re.compile(
    r"(?P<user>[a-zA-Z0-9_][a-zA-Z0-9_-]*)@(?P<host>[a-zA-Z0-9][a-zA-Z0-9.-]*):"
    r"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?"
)
_BAD_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|\A-|\A/|/\Z|\.lock\Z")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_FULL = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_FLAGS = {"1": True, "t": True, "true": True, "": True, "0": False, "f": False, "false": False}


@frozen(kw_only=True)
class GitReference:
    """A repository, and what of it is meant; `ref` `` is its default branch."""

    remote: str  # as git takes it; may hold a user and a password
    ref: str = ""  # branch, tag, full refs/… or whole commit
    subdir: str = ""  # relative, cleaned; `` is all
    checksum: str = ""  # the commit it must be, or how that begins
    keep_git_dir: bool = False
    submodules: bool = True

    @property
    def is_commit(self) -> bool:
        """Whether the ref is a whole commit, so that nobody has to be asked what it stands for."""
        return _FULL.fullmatch(self.ref) is not None

    @property
    def over_ssh(self) -> bool:
        """Whether ssh is the way to it."""
        return not _SCHEME.match(self.remote) or self.remote.lower().startswith("ssh://")


def parse_git(text: str, *, context: bool = False) -> GitReference | None:
    """The repository a text names; None if it names none. UsageError: it does, but wrongly.

    `context`: also `github.com/…`, which elsewhere is a path.
    """
    if text.startswith(("./", "../", "/")):
        return None
    if context and text.startswith("github.com/"):
        text = f"https://{text}"
    elif (scheme := _SCHEME.match(text)) is None:
        return _of_scp(text)
    elif not _is_git(scheme[1].lower(), text):
        return None
    _check_address(text)
    parts = _split(text)
    remote = urlunsplit((parts.scheme.lower(), parts.netloc, parts.path, "", ""))
    return _with_rest(text, remote, parts.query, unquote(parts.fragment))


def _is_git(scheme: str, text: str) -> bool:
    if scheme in ("http", "https"):
        path = re.split(r"[?#]", text, maxsplit=1)[0]
        return unquote(path).endswith(".git")
    return scheme in ("git", "ssh")


def _of_scp(text: str) -> GitReference | None:
    found = _SCP.fullmatch(text)
    if found is None or not found["path"]:
        return None
    _check_address(text)
    remote = f"{found['user']}@{found['host']}:{found['path']}"
    return _with_rest(text, remote, found["query"] or "", found["fragment"] or "")


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as e:
        raise _bad(text, str(e)) from e
    if not parts.hostname or parts.hostname.startswith("-") or parts.netloc.startswith("-"):
        raise _bad(text, "it has no usable host")
    return parts


def _with_rest(text: str, remote: str, query: str, fragment: str) -> GitReference:
    given = _of_fragment(text, fragment)
    asked = _of_query(text, query)
    for name in ("ref", "subdir"):
        if given.get(name) and asked.get(name) and given[name] != asked[name]:
            raise _bad(text, f"it names two {name}s: {given[name]} and {asked[name]}")
    words = {**asked, **{k: v for k, v in given.items() if v}}
    checksum = words.get("checksum", "")
    if checksum and not _COMMIT.fullmatch(checksum):
        raise _bad(text, f"{checksum!r} is no commit: it has 7 to 64 hexadecimal digits")
    ref = words.get("ref", "") or (checksum if _FULL.fullmatch(checksum) else "")
    if ref and _BAD_REF.search(ref):
        raise _bad(text, f"{ref!r} is no name for a branch, a tag or a commit")
    subdir = posixpath.normpath("/" + words.get("subdir", "")).lstrip("/")
    if "\0" in subdir:
        raise _bad(text, "its directory has a NUL in it")
    return GitReference(
        remote=remote,
        ref=ref,
        subdir=subdir,
        checksum=checksum,
        keep_git_dir=_flag(text, words, "keep-git-dir", default=False),
        submodules=_flag(text, words, "submodules", default=True),
    )


def _of_fragment(text: str, fragment: str) -> dict[str, str]:
    if not fragment.startswith("#"):
        ref, _, subdir = fragment.partition(":")
        return {"ref": ref, "subdir": subdir}
    found: dict[str, str] = {}  # ##ref=…,subdir=…
    for field in filter(None, fragment[1:].split(",")):
        name, equals, value = field.partition("=")
        known = {"ref": "ref", "subdir": "subdir", "commit": "checksum"}.get(name.lower())
        if not equals or known is None:
            raise _bad(text, f"{field!r} is not ref=…, subdir=… or commit=…")
        found[known] = value
    return found


def _of_query(text: str, query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _QUERIES:
            raise _bad(text, f"{name!r} is not one of {', '.join(_QUERIES)}")
        if not value and name not in ("keep-git-dir", "submodules"):
            raise _bad(text, f"{name} has no value")
        key, prefix = _QUERIES[name]
        full = value if value.startswith(prefix) else prefix + value
        if found.setdefault(key, full) != full:
            raise _bad(text, f"it names two values for {key}: {found[key]} and {full}")
    return found


_QUERIES = {
    "ref": ("ref", ""),
    "branch": ("ref", "refs/heads/"),
    "tag": ("ref", "refs/tags/"),
    "subdir": ("subdir", ""),
    "checksum": ("checksum", ""),
    "commit": ("checksum", ""),
    "keep-git-dir": ("keep-git-dir", ""),
    "submodules": ("submodules", ""),
}


def _flag(text: str, words: Mapping[str, str], name: str, *, default: bool) -> bool:
    if name not in words:
        return default
    value = _FLAGS.get(words[name].lower())
    if value is None:
        raise _bad(text, f"{name} is true or false, not {words[name]!r}")
    return value


def _check_address(text: str) -> None:
    if _CONTROL.search(text):
        raise _bad(text, "it has blanks or control characters in it")


def _bad(text: str, why: str) -> UsageError:
    return UsageError(
        f"{shown(text)!r} cannot be read as a git repository",
        why=why,
        remedy="write for example https://host/repository.git#branch:directory",
    )


def shown(url: str) -> str:
    """A URL as people may see it: without user and password, its query cut off."""
    head, query, _ = url.partition("?")
    scheme, slashes, rest = head.partition("://")
    if not slashes:
        return head + ("?…" if query else "")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}" + ("?…" if query else "")
