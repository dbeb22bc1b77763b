"""What git says about a context: commit, tag, remote, and whether files were changed since.

The `git` program is asked, twice; where there is no repository nothing is started.
"""

import os
import subprocess
from urllib.parse import urlsplit, urlunsplit

from argosy.values import frozen

_SECONDS = 20.0
# A repository's own settings must not start programs (fsmonitor, hooks, textconv).
_SAFE = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")


@frozen(kw_only=True)
class GitFacts:
    """One commit. `time` is when it was committed, seconds since 1970; `tag` an exact one, or ``."""

    commit: str
    time: int
    tag: str = ""
    remote: str = ""  # without user and password
    is_dirty: bool = False

    @property
    def revision(self) -> str:
        """The commit; `-dirty` behind it if tracked files differ (as buildx writes it)."""
        return f"{self.commit}-dirty" if self.is_dirty else self.commit


def git_facts(directory: str) -> GitFacts | str:
    """The facts of the repository around a directory (blocking).

    `none` when there is no repository or no commit yet; another text says why git
    would not tell.
    """
    if not _is_in_repository(directory):
        return "none"
    try:
        shown = _git(directory, "log", "-1", "--format=%H%n%ct%n%D", "--decorate=full")
        commit, time, decorations = shown.split("\n")[:3]
        changed = _git(directory, "status", "--porcelain", "-uno", "--ignore-submodules", "--", ".")
        remote = _remote(directory)
    except FileNotFoundError:
        return "there is no git program"
    except subprocess.TimeoutExpired:
        return f"git took more than {_SECONDS:.0f} s"
    except subprocess.CalledProcessError as e:
        said = str(e.stderr).strip().split("\n")[0]
        return "none" if "does not have any commits" in said else said
    return GitFacts(
        commit=commit,
        time=int(time),
        tag=_tag(decorations),
        remote=remote,
        is_dirty=bool(changed.strip()),
    )


def _is_in_repository(directory: str) -> bool:
    place = os.path.realpath(directory)
    while not os.path.lexists(os.path.join(place, ".git")):
        place, below = os.path.dirname(place), place
        if place == below:
            return False
    return True


def _git(directory: str, *words: str) -> str:
    # LC_ALL: the messages are read. GIT_OPTIONAL_LOCKS: a build writes nothing into the repository.
    environ = {**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    done = subprocess.run(
        ["git", *_SAFE, "-C", directory, *words],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_SECONDS,
        check=True,
        env=environ,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout


def _remote(directory: str) -> str:
    """The URL of `origin`, else of the only remote."""
    try:
        lines = _git(directory, "config", "--get-regexp", r"^remote\..*\.url$").splitlines()
    except subprocess.CalledProcessError:
        return ""  # there is none
    urls = dict(line.partition(" ")[::2] for line in lines)
    origin = urls.get("remote.origin.url", "")
    return without_credentials(origin or (next(iter(urls.values())) if len(urls) == 1 else ""))


def _tag(decorations: str) -> str:
    """The highest tag at the commit; they are told as `tag: refs/tags/v1.0, …`."""
    names = [d.strip().removeprefix("tag: refs/tags/") for d in decorations.split(",")]
    wanted = [d.strip() for d in decorations.split(",") if d.strip().startswith("tag: ")]
    tags = [name for name in names if f"tag: refs/tags/{name}" in wanted]
    return max(tags, key=_by_number, default="")


def _by_number(tag: str) -> list[tuple[int, str]]:
    parts = tag.lstrip("v").replace("-", ".").split(".")
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in parts]


def without_credentials(url: str) -> str:
    """A remote's URL that may be shown: no user, no password, no query. Paths of this machine are ``.

    `git@host:path`, as ssh has it, is kept: its user is no secret.
    """
    if "://" not in url:
        return url if ":" in url and not url.startswith(("/", ".")) else ""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "ssh", "git"):
        return ""
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
