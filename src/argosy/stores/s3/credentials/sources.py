"""Keys, what gives them, and the sources on this machine: settings, environment, AWS's own file."""

import configparser
import math
import os
from collections.abc import Mapping
from typing import Final, Protocol

from argosy.concurrency import in_thread
from argosy.errors import ArgosyError, ConfigError
from argosy.stores.s3.signing import Credentials
from argosy.values import frozen

_NAMES: Final = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_LOOK: Final = 5.0  # seconds between two looks at a file that others renew


@frozen(kw_only=True)
class Key:
    """A key as a source gave it."""

    credentials: Credentials
    origin: str  # in words
    lifetime: float = math.inf  # seconds, from when it was asked for
    look: float = math.inf  # seconds after which there may be another, whatever its lifetime


class Source(Protocol):
    """Something that may give a key."""

    @property
    def name(self) -> str:
        """In words, for errors and for who asks where the key comes from."""
        ...

    @property
    def sure(self) -> bool:
        """Whether it is meant if it lacks nothing; otherwise it may simply not be there."""
        ...

    def lacks(self) -> str:
        """Why it is not set up; empty if it is. May read files: in a worker thread."""
        ...

    async def fetch(self) -> Key:
        """The key as it is now; raises an ArgosyError that says why there is none."""
        ...


def fixed(given: Credentials, env: Mapping[str, str]) -> Key | None:
    """The key of the settings, or of the environment: it never changes."""
    if given.access_key or given.secret_key:
        words = "storage.s3.access_key", "storage.s3.secret_key"
        return Key(credentials=_whole(given, *words), origin="the settings (storage.s3.access_key)")
    names = [name.upper() for name in _NAMES]
    found = Credentials(
        access_key=env.get(names[0], ""),
        secret_key=env.get(names[1], ""),
        session_token=env.get(names[2], ""),
    )
    if found.access_key or found.secret_key:
        credentials = _whole(found, names[0], names[1])
        return Key(credentials=credentials, origin=f"the environment ({names[0]})")
    return None


def _whole(found: Credentials, access: str, secret: str) -> Credentials:
    """Half a key is a mistake: what comes next in the chain would be somebody else's."""
    if not found.usable:
        there, missing = (access, secret) if found.access_key else (secret, access)
        raise ConfigError(
            "there is half a key for the object store",
            why=f"{there} is set, and {missing} is not",
            remedy="set both, or none of them",
        )
    return found


class SharedFile:
    """AWS's own file, `~/.aws/credentials`: others may renew what is in it."""

    sure: Final = True

    def __init__(self, env: Mapping[str, str]) -> None:
        self._path = os.path.expanduser(
            env.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"
        )
        self._chosen = env.get("AWS_PROFILE") or env.get("AWS_DEFAULT_PROFILE") or ""
        self._profile = self._chosen or "default"

    @property
    def name(self) -> str:
        """The file and the profile."""
        return f"{self._path} [{self._profile}]"

    def lacks(self) -> str:
        """Why it has no key; a profile that was asked for has to be there."""
        try:
            self._read()
        except FileNotFoundError:
            why = "there is no such file"
        except OSError as e:
            why = e.strerror or "it cannot be read"
        except KeyError:
            why = "it has no such profile, or no key in it"
        else:
            return ""
        if self._chosen:
            raise ConfigError(
                f"there is no key in the profile {self._chosen} of the object store",
                why=f"{self._path}: {why}",
                remedy="write its aws_access_key_id and aws_secret_access_key there, or unset"
                " AWS_PROFILE: profiles that name roles or programs are not read",
            )
        return why

    async def fetch(self) -> Key:
        """The key in it."""
        try:
            credentials = await in_thread(self._read)
        except (OSError, KeyError) as e:
            raise _unreadable(self._path, "it, or the key in it, is gone") from e
        return Key(credentials=credentials, origin=self.name, look=_LOOK)

    def _read(self) -> Credentials:
        parser = configparser.ConfigParser(interpolation=None)
        try:
            with open(self._path, encoding="utf-8") as file:
                parser.read_file(file)
        except (configparser.Error, UnicodeDecodeError) as e:
            # Not its words: they may hold the key.
            raise _unreadable(self._path, "it is no file of credentials") from e
        found = parser[self._profile]
        credentials = Credentials(
            access_key=found.get(_NAMES[0], ""),
            secret_key=found.get(_NAMES[1], ""),
            session_token=found.get(_NAMES[2], ""),
        )
        if not credentials.usable:
            raise KeyError(self._profile)
        return credentials


def _unreadable(path: str, why: str) -> ArgosyError:
    return ConfigError(
        f"{path} cannot be read",
        why=why,
        remedy="write it as `aws configure` does, or set storage.s3.access_key",
    )
