"""The snapshots' directory on the disk, and what in it is no longer of use.

<root>/boot            the boot in which doubtful snapshots were last looked for
<root>/ids             the user namespace all of it was made in
<root>/<id>/fs         a snapshot: its layer directory
<root>/<id>/durable    it is on the disk; without it, it is only valid in boot …
<root>/<id>/boot       … of this id
<root>/work/<session>/ one process's workspaces
"""

import os
import secrets
from contextlib import suppress

from argosy.build.files.removal import remove_tree
from argosy.build.rootless.mapping import claim
from argosy.build.sessions import Session, storage_errors
from argosy.build.snapshot.mounts import unmount

MERGED = "root"  # the mount point in a workspace


class Place:
    """A directory of snapshots, and this process's workspaces in it (blocking)."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.boot = _boot_id()
        self._session = Session(os.path.join(root, "work"), _discard)
        self.name = self._session.name
        self.path = self._session.path
        with storage_errors(f"use {root} for snapshots"):
            # Setuid programs of an image must not be there for this machine's other users
            # (CVE-2021-41091). Homes of before are closed too.
            os.chmod(root, 0o700)
            claim(os.path.join(root, "ids"))
            self._sweep_after_boot()

    def close(self) -> None:
        """Leave: nothing of this process stays but snapshots."""
        self._session.close()

    def _sweep_after_boot(self) -> None:
        """After a restart of the machine, forget the snapshots that may be only half on the disk."""
        marker = os.path.join(self.root, "boot")
        if _read(marker) == self.boot:
            return
        for name in os.listdir(self.root):
            path = os.path.join(self.root, name)
            if _is_doubtful(path) and _read(os.path.join(path, "boot")) != self.boot:
                _discard(path)
        write(marker, self.boot)


def _is_doubtful(path: str) -> bool:
    return os.path.isdir(os.path.join(path, "fs")) and not os.path.exists(
        os.path.join(path, "durable")
    )


def _boot_id() -> str:
    return _read("/proc/sys/kernel/random/boot_id") or "unknown"


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def write(path: str, text: str) -> None:
    """A small file, whole or not at all (blocking); not flushed."""
    temporary = f"{path}.{secrets.token_hex(4)}"
    with open(temporary, "w", encoding="ascii") as file:
        file.write(text)
    os.rename(temporary, path)


def _discard(path: str) -> None:
    """Remove a session or snapshot directory, mounts in it first."""
    with suppress(FileNotFoundError):
        for name in os.listdir(path):
            merged = os.path.join(path, name, MERGED)
            if os.path.ismount(merged):
                unmount(merged)
    remove_tree(path)
