"""`mode=delete` of a local output: what the directory has and the result has not goes away."""

import os
import stat

from argosy.build.files.removal import remove_tree
from argosy.build.sessions import storage_errors
from argosy.errors import UsageError


def remove_others(root: str, top: str) -> None:
    """Remove below `top` what is not below `root` or is of another kind there (blocking).

    UsageError for the root of the file system and for any directory that this process
    works in: a wrong word must not empty a home.
    """
    here, above = os.path.realpath(os.getcwd()), os.path.realpath(top)
    if os.path.commonpath([here, above]) == above:
        raise UsageError(
            f"mode=delete would empty {top}, which this build was started in",
            remedy="write to a directory of its own",
        )
    with storage_errors(f"remove files from {top}"):
        _remove(root, top)


def _remove(root: str, top: str) -> None:
    with os.scandir(top) as entries:
        for entry in list(entries):
            wanted = os.path.join(root, entry.name)
            if not os.path.lexists(wanted) or _kind(wanted) != _kind(entry.path):
                _away(entry)
            elif entry.is_dir(follow_symlinks=False):
                _remove(wanted, entry.path)


def _kind(path: str) -> int:
    return stat.S_IFMT(os.lstat(path).st_mode)


def _away(entry: "os.DirEntry[str]") -> None:
    if entry.is_dir(follow_symlinks=False):
        remove_tree(entry.path)
    else:
        os.unlink(entry.path)
