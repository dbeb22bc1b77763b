"""Users of an htpasswd file, as Apache and docker-registry read it: bcrypt only.

    name:$2y$10$…           one user a line (`htpasswd -B FILE NAME`); # begins a comment
    group: name name …      the file of groups (mod_authz_groupfile), if there is one

Both files are read again when they change. A change that cannot be read keeps what was
known, for the users it can be read for: a slip of the hand locks nobody else out.
"""

import logging
import os
import re
import secrets
import threading
from collections.abc import Mapping
from typing import Final

import bcrypt

from argosy.access.signing_in.backends import BackendUnavailable, Identity
from argosy.concurrency import in_thread
from argosy.errors import ConfigError
from argosy.values import frozen

log = logging.getLogger("argosy.access.htpasswd")

_BCRYPT: Final = re.compile(r"\$2[aby]\$(0[4-9]|1[0-7])\$[./A-Za-z0-9]{53}")
_LONGEST: Final = 72  # bytes of a password that bcrypt looks at; Apache drops the rest as well
_KINDS: Final = (
    ("$apr1$", "MD5 (apr1)"),
    ("$1$", "MD5"),
    ("{SHA}", "SHA-1"),
    ("$5$", "SHA-256 crypt"),
    ("$6$", "SHA-512 crypt"),
    ("$2", "bcrypt that is damaged or slower than cost 17"),
)
_REMEDY: Final = "write the user's line anew with `htpasswd -B FILE NAME`"


@frozen(kw_only=True)
class HtpasswdOptions:
    """The files, and which of the groups administers the system."""

    file: str
    groups_file: str = ""
    admin_group: str = ""


@frozen
class Unreadable:
    """A line that names no usable user: never shown, only where it is and what is wrong."""

    line: int
    name: str
    why: str


def parse(text: str) -> tuple[dict[str, bytes], list[Unreadable]]:
    """The users with their hashes, and the lines that cannot be used; the last line of a name counts."""
    users: dict[str, bytes] = {}
    bad: list[Unreadable] = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, colon, hashed = line.partition(":")
        if not colon or not name:
            bad.append(Unreadable(number, "", "it is not NAME:HASH"))
        elif not _BCRYPT.fullmatch(hashed):
            users.pop(name, None)
            bad.append(Unreadable(number, name, f"its hash is {_kind(hashed)}, not bcrypt"))
        else:
            users[name] = hashed.encode()
    return users, bad


def parse_groups(text: str) -> dict[str, tuple[str, ...]]:
    """The groups of each user."""
    found: dict[str, list[str]] = {}
    for raw in text.split("\n"):
        group, colon, names = raw.partition(":")
        if colon and not raw.lstrip().startswith("#"):
            for name in names.split():
                found.setdefault(name, []).append(group.strip())
    return {name: tuple(sorted(set(groups))) for name, groups in found.items()}


def _kind(hashed: str) -> str:
    """What a hash looks like, in words that give nothing of it away."""
    return next((kind for mark, kind in _KINDS if hashed.startswith(mark)), "crypt or plain text")


def matches(password: str, hashed: bytes) -> bool:
    """Whether bcrypt made `hashed` from `password`. CPU work: a tenth of a second."""
    given = password.encode(errors="surrogateescape")  # as it came on the wire
    if not given or b"\0" in given:  # bcrypt in C ends at NUL: "a\0b" would be "a"
        return False
    return bcrypt.checkpw(given[:_LONGEST], hashed)


def _decoy(hashes: Mapping[str, bytes]) -> bytes:
    """A hash nobody has the password of, as slow as the others: names must not be told by time."""
    costs = sorted(int(hashed[4:6]) for hashed in hashes.values())
    cost = costs[len(costs) // 2] if costs else 10
    return bcrypt.hashpw(secrets.token_bytes(24).hex().encode(), bcrypt.gensalt(cost))


class _Watched:
    """The text of a file, read again when its stat differs."""

    def __init__(self, path: str) -> None:
        self.path: Final = path
        self._seen: tuple[int, int, int] | None = None

    def changed(self) -> str | None:
        """The text when it is new, None when it is as before. BackendUnavailable: not readable."""
        try:
            with open(self.path, "rb") as file:
                stat = os.fstat(file.fileno())
                seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
                if seen == self._seen:
                    return None
                text = file.read().decode()
        except (OSError, UnicodeDecodeError) as e:
            raise BackendUnavailable(
                f"cannot read the users in {self.path}",
                why=getattr(e, "strerror", "") or str(e),
                remedy="set [auth.htpasswd] file to a file the server may read",
            ) from e
        self._seen = seen
        return text


class Htpasswd:
    """The back end on an htpasswd file."""

    name: Final = "htpasswd"

    def __init__(self, options: HtpasswdOptions) -> None:
        """Read nothing yet: see `check`, which fails on what `verify` only logs."""
        self._options = options
        self._lock = threading.Lock()
        self._users_file = _Watched(options.file)
        self._groups_file = _Watched(options.groups_file) if options.groups_file else None
        self._users: dict[str, bytes] = {}
        self._groups: dict[str, tuple[str, ...]] = {}
        self._decoy = b""

    async def check(self) -> int:
        """How many users there are; ConfigError for the first line that cannot be used."""
        bad = await in_thread(self._refresh)
        if bad:
            raise ConfigError(
                f"{self._options.file}, line {bad[0].line}: {_who(bad[0])} cannot log in",
                why=bad[0].why,
                remedy=_REMEDY,
            )
        return len(self._users)

    @property
    def recalls(self) -> bool:
        """It can: the file has everybody."""
        return True

    async def recall(self, name: str, external_id: str) -> Identity | None:
        """The user, if the file has a usable line of theirs."""
        return await in_thread(self._recall, external_id or name)

    async def verify(self, name: str, password: str) -> Identity | None:
        """The user, when the password is the one of the file as it is now."""
        return await in_thread(self._verify, name, password)

    def _verify(self, name: str, password: str) -> Identity | None:
        self._told()
        hashed = self._users.get(name)
        if not matches(password, hashed or self._decoy) or hashed is None:
            return None
        return self._identity(name)

    def _recall(self, name: str) -> Identity | None:
        self._told()
        return self._identity(name) if name in self._users else None

    def _told(self) -> None:
        """Read what changed, and tell of lines that cannot be used."""
        for line in self._refresh():
            log.error("%s, line %d: %s (%s)", self._options.file, line.line, line.why, _who(line))

    def _identity(self, name: str) -> Identity:
        groups = self._groups.get(name, ())
        admin = self._options.admin_group
        return Identity(
            name=name,
            backend=self.name,
            groups=groups,
            is_admin=admin in groups if admin else None,
            external_id=name,
        )

    def _refresh(self) -> list[Unreadable]:
        """Read what changed; the lines that cannot be used, when that was just found out."""
        with self._lock:
            if self._groups_file and (text := self._groups_file.changed()) is not None:
                self._groups = parse_groups(text)
            if (text := self._users_file.changed()) is None:
                return []
            self._users, bad = parse(text)
            self._decoy = _decoy(self._users)
            return bad


def _who(line: Unreadable) -> str:
    return f"user {line.name!r}" if line.name else "that user"
