"""Where credentials are kept: Docker's config.json, podman's auth.json, credential helpers.

Sources: docker/cli config file format; docker/docker-credential-helpers protocol;
containers-auth.json(5). Looked at only when a registry asks for them.
"""

import asyncio
import base64
import binascii
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from argosy.concurrency import in_thread
from argosy.errors import ConfigError
from argosy.settings import invoker
from argosy.stores.remote.auth import Credential
from argosy.values import frozen

DOCKER_HUB = "docker.io"
_HUB_KEY = "https://index.docker.io/v1/"
_HUB_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_TOKEN_USER = "<token>"  # noqa: S105 - what helpers call an identity token's user
_NOT_FOUND = "credentials not found in native keychain"
_HELPER_TIMEOUT = 30.0  # seconds; helpers may ask a person, but some simply hang


@frozen
class _File:
    """One credentials file as read."""

    path: str
    value: Mapping[str, Any]

    def helper(self, host: str) -> str:
        """The suffix of the helper in charge of a host, or ``."""
        by_host = _mapping(self.value.get("credHelpers"))
        named = next((by_host[k] for k in _spellings(host) if k in by_host), "")
        found = named or self.value.get("credsStore") or ""
        return found if isinstance(found, str) else ""


class Credentials:
    """The credentials of whoever runs this, read when asked for.

    The order is Docker's and podman's: `DOCKER_AUTH_CONFIG`; then the files, in each
    `credHelpers`, `credsStore`, `auths`. `authfile` replaces the search.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        authfile: str = "",
        given: Credential | None = None,
        helper_timeout: float = _HELPER_TIMEOUT,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._given = given
        self._timeout = helper_timeout
        self.files: tuple[str, ...] = (authfile,) if authfile else tuple(_files(self._environ))

    async def find(self, registry: str, repository: str = "") -> Credential | None:
        """The credential for a repository; None if there is none. ConfigError if one cannot be read."""
        if self._given is not None:
            return self._given
        if found := _from_variable(self._environ, registry, repository):
            return found
        for path in self.files:
            file = await in_thread(_read, path)
            if file is None:
                continue
            found = await self._in_file(file, registry, repository)
            if found is not None:
                return found
        return None

    async def _in_file(self, file: _File, registry: str, repository: str) -> Credential | None:
        if helper := file.helper(registry):
            found = await self._ask_helper(helper, registry)
            if found is not None:
                return found
        return _in_auths(_mapping(file.value.get("auths")), registry, repository, file.path)

    async def store(self, registry: str, credential: Credential) -> str:
        """Keep a credential (login); says where. A helper in charge of the host gets it."""
        path = self.files[0]
        file = await in_thread(_read, path) or _File(path, {})
        if helper := file.helper(registry):
            user, secret = credential.username, credential.password
            if credential.identity_token:
                user, secret = _TOKEN_USER, credential.identity_token
            message = {"ServerURL": _key(registry), "Username": user, "Secret": secret}
            await self._run_helper(helper, "store", json.dumps(message))
            return f"docker-credential-{helper}"
        entry: dict[str, str] = {}
        if credential.username:
            entry["auth"] = credential.basic.removeprefix("Basic ")
        if credential.identity_token:
            entry["identitytoken"] = credential.identity_token
        await in_thread(_change, path, lambda auths: {**auths, _key(registry): entry})
        return path

    async def erase(self, registry: str) -> str:
        """Forget a credential (logout); says where it was, `` if nowhere."""
        path = self.files[0]
        file = await in_thread(_read, path) or _File(path, {})
        if helper := file.helper(registry):
            await self._run_helper(helper, "erase", _key(registry))
            return f"docker-credential-{helper}"
        spellings = _spellings(registry)
        if not any(_plain(key) in spellings for key in _mapping(file.value.get("auths"))):
            return ""
        await in_thread(
            _change,
            path,
            lambda auths: {k: v for k, v in auths.items() if _plain(k) not in spellings},
        )
        return path

    async def _ask_helper(self, helper: str, registry: str) -> Credential | None:
        answer = await self._run_helper(helper, "get", _key(registry))
        if answer is None:
            return None
        value = _json(answer, f"docker-credential-{helper}")
        user, secret = str(value.get("Username", "")), str(value.get("Secret", ""))
        source = f"docker-credential-{helper}"
        if user == _TOKEN_USER:
            return Credential(identity_token=secret, source=source)
        return Credential(username=user, password=secret, source=source) if user else None

    async def _run_helper(self, helper: str, verb: str, message: str) -> str | None:
        """What the helper printed; None if it has no such credential."""
        program = f"docker-credential-{helper}"
        if os.sep in helper:
            raise ConfigError(f"{helper!r} is not the name of a credential helper")
        try:
            process = await asyncio.create_subprocess_exec(
                program,
                verb,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=dict(self._environ),
            )
        except OSError as e:
            raise ConfigError(
                f"the credential helper {program} cannot be run",
                why=e.strerror or str(e),
                remedy=f"install {program}, or take it out of credsStore/credHelpers in {self.files[0]}",
            ) from e
        out, err = await self._talk(process, program, verb, message)
        if process.returncode == 0:
            return out
        said = out.strip() or err.strip()
        if said == _NOT_FOUND:
            return None
        raise ConfigError(
            f"the credential helper {program} failed",
            why=said or f"exit code {process.returncode}",
            remedy=f"run it by hand: echo HOST | {program} get",
        )

    async def _talk(
        self, process: asyncio.subprocess.Process, program: str, verb: str, message: str
    ) -> tuple[str, str]:
        try:
            async with asyncio.timeout(self._timeout):
                out, err = await process.communicate(message.encode())
        except TimeoutError as e:
            raise ConfigError(
                f"the credential helper {program} gave no answer to {verb!r}",
                why=f"it was stopped after {self._timeout:g} seconds",
                remedy="unlock the keychain it asks, or take it out of credsStore/credHelpers",
            ) from e
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return out.decode(errors="replace"), err.decode(errors="replace")


def _files(environ: Mapping[str, str]) -> Iterator[str]:
    if chosen := environ.get("REGISTRY_AUTH_FILE"):
        yield chosen
        return
    home = environ.get("HOME") or os.path.expanduser("~")
    # Docker's file first: `argosy login` writes there, and so does `docker login`.
    yield os.path.join(environ.get("DOCKER_CONFIG") or os.path.join(home, ".docker"), "config.json")
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield os.path.join(runtime, "containers", "auth.json")
    else:
        yield f"/run/containers/{invoker()}/auth.json"
    config = environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    yield os.path.join(config, "containers", "auth.json")


def _from_variable(environ: Mapping[str, str], registry: str, repository: str) -> Credential | None:
    text = environ.get("DOCKER_AUTH_CONFIG")
    if not text:
        return None
    value = _json(text, "DOCKER_AUTH_CONFIG")
    return _in_auths(_mapping(value.get("auths")), registry, repository, "DOCKER_AUTH_CONFIG")


def _in_auths(
    auths: Mapping[str, Any], registry: str, repository: str, source: str
) -> Credential | None:
    for wanted in _keys(registry, repository):
        for key, entry in auths.items():
            if _plain(key) == wanted and isinstance(entry, dict):
                found = _from_entry(entry, f"{source} ({key})")
                if found is not None:
                    return found
    return None


def _from_entry(entry: Mapping[str, Any], source: str) -> Credential | None:
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if encoded := entry.get("auth"):
        user, password = _decoded(str(encoded), source)
    identity = str(entry.get("identitytoken") or "")
    token = str(entry.get("registrytoken") or "")
    if not (user or identity or token):
        return None
    return Credential(
        username=user,
        password=password,
        identity_token=identity,
        registry_token=token,
        source=source,
    )


def _decoded(encoded: str, source: str) -> tuple[str, str]:
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, ValueError) as e:
        raise ConfigError(
            f"the `auth` of {source} cannot be read",
            why="it must be base64 of user:password",
            remedy="log in anew: argosy login HOST",
        ) from e
    user, _, password = text.partition(":")
    return user, password.rstrip("\0")


def _keys(registry: str, repository: str) -> Iterator[str]:
    """Keys to try, most specific first: host/a/b, host/a, host (containers-auth.json)."""
    parts = [p for p in repository.split("/") if p]
    for spelling in _spellings(registry):
        for n in range(len(parts), -1, -1):
            yield "/".join([spelling, *parts[:n]])


def _spellings(registry: str) -> Sequence[str]:
    return tuple(sorted(_HUB_NAMES)) if registry in _HUB_NAMES else (registry,)


def _key(registry: str) -> str:
    return _HUB_KEY if registry in _HUB_NAMES else registry


def _plain(key: str) -> str:
    """A key without scheme and without the API version old clients wrote behind the host."""
    stripped = key.partition("://")[2] or key
    host, _, path = stripped.partition("/")
    path = path.strip("/")
    return host if path in ("", "v1", "v2") else f"{host}/{path}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _json(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise ConfigError(
            f"{where} cannot be read", why=str(e), remedy="it must be a JSON object"
        ) from e
    if not isinstance(value, dict):
        raise ConfigError(f"{where} cannot be read", remedy="it must be a JSON object")
    return value


def _read(path: str) -> _File | None:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(
            f"{path} cannot be read", why=str(e), remedy="check its owner and mode"
        ) from e
    return _File(path, _json(text, path) if text.strip() else {})


def _change(path: str, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Change the `auths` of a file; other Argosys that do so at this moment wait. A symlink stays one."""
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            file = _read(target) or _File(target, {})
            auths = change(_mapping(file.value.get("auths")))
            _replace(target, {**file.value, "auths": auths})
        finally:
            os.close(lock)
    except OSError as e:
        raise ConfigError(
            f"{path} cannot be written", why=str(e), remedy="check the directory's owner and mode"
        ) from e


def _replace(target: str, value: Mapping[str, Any]) -> None:
    """Put a new file in place at once, for the owner's eyes only."""
    import tempfile  # noqa: PLC0415 - 9 ms, and only who writes needs it

    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(target), prefix=".config-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:  # mkstemp made it 0600
            json.dump(value, file, indent="\t")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise
