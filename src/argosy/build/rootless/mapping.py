"""Which ids there are in this process's user namespace. Source: user_namespaces(7)."""

import errno
import json
import os
import secrets
from typing import Literal

from argosy.errors import StorageError

_MORE = (
    "give this user a larger range in /etc/subuid and /etc/subgid (argosy doctor says how), or"
    " run as root (sudo)"
)
Kind = Literal["uid", "gid"]
_EVERY = "0 0 4294967295"  # where nothing is mapped


def in_user_namespace() -> bool:
    """Whether root here is somebody else outside."""
    return mapping("uid")[:1] != [_EVERY]


def mapping(kind: Kind) -> list[str]:
    """The ids of this namespace: `INSIDE OUTSIDE COUNT` lines (blocking, but no disk)."""
    try:
        with open(f"/proc/self/{kind}_map", encoding="ascii") as file:
            return [" ".join(line.split()) for line in file]
    except OSError:
        return [_EVERY]


def mapped(kind: Kind) -> int:
    """How many ids there are here: all below it can own files."""
    end = 0
    for line in sorted(mapping(kind), key=lambda row: int(row.split()[0])):
        inside, _, count = map(int, line.split())
        if inside > end:
            break
        end = inside + count
    return end


def blame(error: OSError) -> tuple[str, str]:
    """Why the system refused, and what helps, where a lack of rights is to blame; else nothing."""
    rootless = in_user_namespace()
    if error.errno == errno.EINVAL and rootless:
        return unmapped()
    if error.errno in (errno.EACCES, errno.EPERM):
        whose = "this user, who is not root outside," if rootless else "this user"
        path = f" {os.fsdecode(error.filename)}" if error.filename else " it"
        return (
            f"{error.strerror}: {whose} has no right to{path}",
            "make it readable (chmod), name it in .dockerignore, or run as root (sudo)",
        )
    return "", ""


def unmapped() -> tuple[str, str]:
    """That an id is not there to be given to a file, and what helps."""
    uids, gids = mapped("uid"), mapped("gid")
    why = f"without root only user ids below {uids} and group ids below {gids} can own files"
    return why, _MORE


def claim(path: str) -> None:
    """Note in a file with which ids what lies beside it was made (blocking); StorageError if others.

    Files of other ids would have wrong owners here. More ids than before do no harm.
    """
    ids = [mapping("uid"), mapping("gid")]
    before = _noted(path)
    if before == ids or (before is None and not in_user_namespace()):
        return  # of what root makes nothing is noted
    grown = before is None or all(now[: len(b)] == b for now, b in zip(ids, before, strict=True))
    if not grown:
        raise StorageError(
            f"{os.path.dirname(path)} was made with other user and group ids",
            why=f"{path} does not say what this process has: {'; '.join(ids[0] + ids[1])}",
            remedy="use it as the user who made it, or set ARGOSY_HOME to another directory",
        )
    temporary = f"{path}.{secrets.token_hex(4)}"
    with open(temporary, "w", encoding="ascii") as file:
        json.dump(ids, file)
    os.rename(temporary, path)


def _noted(path: str) -> list[list[str]] | None:
    try:
        with open(path, encoding="ascii") as file:
            uids, gids = json.load(file)
            return [list(uids), list(gids)]
    except (FileNotFoundError, ValueError, TypeError):
        return None
