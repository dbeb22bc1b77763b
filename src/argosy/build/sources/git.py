"""The git program, run so that nothing of this machine's or the repository's settings takes part.

No configuration of users or the system, no hooks, no helpers, no prompts; only the
protocols http, https, ssh and git. Credentials are handed over in the environment,
which other users cannot read, never in words or files.
"""

import asyncio
import base64
import os
import signal
from collections.abc import Iterable, Mapping
from contextlib import suppress
from urllib.parse import unquote, urlsplit, urlunsplit

from argosy.build.dockerfile.git_reference import GitReference, shown
from argosy.build.sources.outside import Outside
from argosy.errors import BuildError, ConfigError
from argosy.values import frozen

PROTOCOLS = "http:https:ssh:git"
_PASSED = (
    *("PATH", "TMPDIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
)
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.attributesFile": "/dev/null",
    "core.autocrlf": "false",
    "core.askPass": "",
    "core.logAllRefUpdates": "false",
    "credential.helper": "",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "safe.directory": "*",
    "advice.detachedHead": "false",
    "init.defaultBranch": "main",
    "protocol.version": "2",
    "fetch.recurseSubmodules": "false",
    "submodule.recurse": "false",
}
_HINTS = (
    (
        ("could not read Username", "Authentication failed", "returned error: 401", "error: 403"),
        "the repository wants a password, or it does not exist",
        "give a token: --secret id=GIT_AUTH_TOKEN,env=NAME",
    ),
    (
        ("Permission denied (publickey", "Could not read from remote", "agent refused"),
        "",
        "give the keys: --ssh default (with SSH_AUTH_SOCK set) or --ssh default=KEYFILE",
    ),
    (
        ("Host key verification failed",),
        "",
        "the host's key is another one than before: if that is right, correct known_hosts",
    ),
    (("not found", "does not exist", "not appear to be a git"), "", "check the repository's URL"),
    (("Could not resolve", "unable to look up"), "", "check the host's name and the network"),
)
"""Signs in git's words, what they mean, and what to do."""


class GitFailed(BuildError):
    """git ended with an error; `said` are its words."""

    def __init__(self, summary: str, said: str) -> None:
        why, remedy = "", "try the same with git by hand"
        for signs, meaning, hint in _HINTS:
            if any(sign.lower() in said.lower() for sign in signs):
                why, remedy = meaning, hint
                break
        lines = [line for line in said.splitlines() if line.strip()]
        told = "; ".join(line.strip() for line in lines[-3:]) or "git does not say why"
        super().__init__(summary, why=f"{why}: {told}" if why else told, remedy=remedy)
        self.said = said


@frozen(kw_only=True)
class Access:
    """The way to one repository: its bare URL, and the settings and variables git needs for it."""

    url: str
    settings: tuple[tuple[str, str], ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    over_ssh: bool = False


def access_to(reference: GitReference, outside: Outside) -> Access:
    """The way to a repository, credentials included (blocking).

    Secrets GIT_AUTH_TOKEN and GIT_AUTH_HEADER, with `.host` for one host only, as
    BuildKit has them; else user and password of the URL.
    """
    if reference.over_ssh:
        return Access(url=reference.remote, over_ssh=True)
    parts = urlsplit(reference.remote)
    user, at, host = parts.netloc.rpartition("@")
    bare = urlunsplit(parts._replace(netloc=host))
    if parts.scheme not in ("http", "https"):
        return Access(url=bare)
    header = _header(parts.hostname or "", outside)
    if not header and at:
        header = _basic(unquote(user))
    if not header:
        return Access(url=bare)
    setting = f"http.{parts.scheme}://{host}/.extraHeader"
    return Access(url=bare, settings=((setting, f"Authorization: {header}"),))


def _header(host: str, outside: Outside) -> str:
    for suffix in (f".{host}", ""):
        if header := outside.secret(f"GIT_AUTH_HEADER{suffix}"):
            return header
        if token := outside.secret(f"GIT_AUTH_TOKEN{suffix}"):
            return _basic(f"x-access-token:{token}")
    return ""


def _basic(user: str) -> str:
    return "basic " + base64.b64encode(user.encode()).decode()


@frozen(kw_only=True)
class Git:
    """Runs git in a directory; `home` is where it may keep the keys of ssh hosts it has met."""

    home: str
    access: Access

    async def __call__(
        self, *words: str, cwd: str, protocols: str = PROTOCOLS, doing: str = ""
    ) -> str:
        """What git prints. GitFailed if it fails; cancelling kills it with all it started."""
        try:
            process = await asyncio.create_subprocess_exec(
                "git",
                *words,
                cwd=cwd,
                env=self._environment(cwd, protocols),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                umask=0o022,
            )
        except FileNotFoundError as e:
            raise ConfigError(
                "git repositories need the program git",
                why="it is not installed",
                remedy="run: apt-get install --yes git",
            ) from e
        try:
            out, said = await process.communicate()
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode:
            summary = doing or f"git {words[0]} failed"
            raise GitFailed(f"{summary} {shown(self.access.url)}", said.decode(errors="replace"))
        return out.decode(errors="surrogateescape")

    def _environment(self, cwd: str, protocols: str) -> dict[str, str]:
        settings = [*_SETTINGS.items(), *self.access.settings]
        return {
            **{name: os.environ[name] for name in _PASSED if name in os.environ},
            **_numbered(settings),
            "LC_ALL": "C",
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_ALLOW_PROTOCOL": protocols,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_NO_REPLACE_OBJECTS": "1",
            # No repository above the directory may take part.
            "GIT_CEILING_DIRECTORIES": os.path.dirname(os.path.realpath(cwd)),
            "GIT_SSH_COMMAND": self._ssh(),
            **dict(self.access.variables),
        }

    def _ssh(self) -> str:
        # As docker, an unknown host is taken at its word; unlike docker, only the first time.
        known = os.path.join(self.home, "known_hosts")
        options = ["BatchMode=yes", "StrictHostKeyChecking=accept-new", "IdentitiesOnly=no"]
        options += [f'"UserKnownHostsFile={known} ~/.ssh/known_hosts"', "IdentityFile=none"]
        if not dict(self.access.variables).get("SSH_AUTH_SOCK"):
            options.append("IdentityAgent=none")
        return "ssh -F /dev/null " + " ".join(f"-o {option}" for option in options)


def _numbered(settings: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Settings as git takes them from the environment (git-config(1), GIT_CONFIG_COUNT)."""
    found: dict[str, str] = {}
    count = 0
    for name, value in settings:
        found |= {f"GIT_CONFIG_KEY_{count}": name, f"GIT_CONFIG_VALUE_{count}": value}
        count += 1
    return {**found, "GIT_CONFIG_COUNT": str(count)}
