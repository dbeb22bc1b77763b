"""Where the key of an object store comes from: the settings, the environment, AWS's own files.

In this order. Files are read again when they have changed, because temporary keys are
renewed there by others.
"""

import configparser
import os
from collections.abc import Mapping
from typing import Final

from argosy.errors import ConfigError
from argosy.stores.s3.signing import Credentials

_NAMES: Final = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


class CredentialSource:
    """Gives the key as it is now."""

    def __init__(self, given: Credentials, environment: Mapping[str, str] | None = None) -> None:
        env = os.environ if environment is None else environment
        self._fixed = given if given.usable else _from_environment(env)
        self._path = os.path.expanduser(
            env.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"
        )
        self._profile = env.get("AWS_PROFILE") or "default"
        self._read: tuple[int, Credentials] | None = None

    @property
    def at_hand(self) -> Credentials | None:
        """The key where it never changes, or nothing."""
        return self._fixed if self._fixed.usable else None

    def now(self) -> Credentials:
        """The key; ConfigError if there is none. Looks at a file's date: in a worker thread."""
        if self._fixed.usable:
            return self._fixed
        try:
            changed = os.stat(self._path).st_mtime_ns
        except OSError as e:
            raise _none() from e
        if self._read is None or self._read[0] != changed:
            self._read = (changed, self._from_file())
        if not self._read[1].usable:
            raise _none()
        return self._read[1]

    def _from_file(self) -> Credentials:
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(self._path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as e:
            raise ConfigError(
                f"{self._path} cannot be read",
                why="it is no file of credentials",  # not its words: they may hold the key
                remedy="write it as `aws configure` does, or set storage.s3.access_key",
            ) from e
        found = parser[self._profile] if parser.has_section(self._profile) else {}
        return Credentials(
            access_key=found.get(_NAMES[0], ""),
            secret_key=found.get(_NAMES[1], ""),
            session_token=found.get(_NAMES[2], ""),
        )


def _from_environment(env: Mapping[str, str]) -> Credentials:
    found = [env.get(name.upper(), "") for name in _NAMES]
    return Credentials(access_key=found[0], secret_key=found[1], session_token=found[2])


def _none() -> ConfigError:
    return ConfigError(
        "there is no key for the object store",
        why="neither the settings, nor the environment, nor ~/.aws/credentials have one",
        remedy="set storage.s3.access_key and storage.s3.secret_key (or ..._FILE), or"
        " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    )
