"""What is in the database but not for who reads the database: sealed with a secret of the server's.

AES-256-GCM under a key for each purpose (HKDF-SHA-256), bound to the row it belongs to.
The secret comes from the settings, which every node of a cluster shares, or from a file in
the data directory that is made at the first start.
"""

import os
import secrets
from typing import Final

from argosy.errors import ConfigError, StorageError

_NONCE: Final = 12
_LEAST: Final = 32
FILE: Final = "secret"


class Sealer:
    """Seals and opens under one secret."""

    def __init__(self, secret: str) -> None:
        """ConfigError when the secret is too short to be one."""
        if len(secret) < _LEAST:
            raise ConfigError(
                f"the server's secret has fewer than {_LEAST} characters",
                why="what it seals would be open to who guesses it",
                remedy="make one with `openssl rand -hex 32`",
            )
        self._secret: Final = secret.encode()
        self._keys: dict[str, bytes] = {}

    def seal(self, purpose: str, row: str, plain: bytes) -> bytes:
        """`plain`, for nobody but who has the secret, the purpose and the row's name."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - 20 ms

        nonce = os.urandom(_NONCE)
        return nonce + AESGCM(self._key(purpose)).encrypt(nonce, plain, row.encode())

    def open(self, purpose: str, row: str, sealed: bytes) -> bytes:
        """What was sealed; ConfigError when this server has another secret than who sealed it."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - 20 ms
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - 20 ms

        nonce, body = sealed[:_NONCE], sealed[_NONCE:]
        try:
            return AESGCM(self._key(purpose)).decrypt(nonce, body, row.encode())
        except (InvalidTag, ValueError) as e:
            raise ConfigError(
                f"{purpose} {row} was sealed with another secret than this server's",
                why="the setting auth.secret (or the file `secret` in the data directory) is not"
                " the one that was used before, or on the other nodes",
                remedy="give every node the same secret, the one that was there first",
            ) from e

    def derived(self, purpose: str) -> bytes:
        """32 bytes that follow from the secret: a key for keyed hashes that all nodes share."""
        return self._key(purpose)

    def _key(self, purpose: str) -> bytes:
        if (found := self._keys.get(purpose)) is None:
            from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - 20 ms
            from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415 - 20 ms

            info = f"argosy:{purpose}".encode()
            made = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(self._secret)
            found = self._keys[purpose] = made
        return found


def secret_in(directory: str) -> str:
    """The secret in a data directory, made if there is none; only its owner may read the file."""
    path = os.path.join(directory, FILE)
    try:
        if not os.path.exists(path):
            _make(path)
        with open(path, encoding="ascii") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise ConfigError(
                    f"others may read the server's secret {path}",
                    why="who has it can make keys and tokens of their own",
                    remedy=f"chmod 600 {path}",
                )
            return file.read().strip()
    except (OSError, UnicodeDecodeError) as e:
        raise StorageError(
            f"cannot use the server's secret {path}",
            why=getattr(e, "strerror", None) or str(e),
            remedy="look at the disk and its rights, or set auth.secret",
        ) from e


def _make(path: str) -> None:
    """Write a new secret; whole or not at all, and never over one that is there."""
    draft = f"{path}.{secrets.token_hex(4)}"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:  # another process was first: its secret counts
            return
    finally:
        os.unlink(draft)
