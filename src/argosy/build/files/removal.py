"""Removing directories, however they came to be."""

import errno
import os
import secrets
import shutil

_ATTEMPTS = 100  # each takes away all that was there when it began


def remove_tree(path: str) -> None:
    """Remove a directory however deep it is (blocking); nothing to do if it is not there."""
    for _ in range(_ATTEMPTS):
        try:
            _remove(path)
        except FileNotFoundError:
            pass
        except OSError as e:
            if e.errno != errno.ENOTEMPTY:
                raise
        # What was missing, or new, may have been below: a runtime that ends cleans up as well.
        if not os.path.lexists(path):
            return


def _remove(path: str) -> None:
    try:
        shutil.rmtree(path)
    except RecursionError:
        _flatten(path)
        shutil.rmtree(path)


def _flatten(top: str) -> None:
    """Move every directory up to `top`, so that none is deep."""
    number = 0
    pending = [name for name in os.listdir(top) if _is_folder(top, name)]
    while pending:
        folder = os.path.join(top, pending.pop())
        for name in os.listdir(folder):
            if _is_folder(folder, name):
                number += 1
                up = f".deep-{secrets.token_hex(4)}-{number}"
                os.rename(os.path.join(folder, name), os.path.join(top, up))
                pending.append(up)


def _is_folder(top: str, name: str) -> bool:
    path = os.path.join(top, name)
    return os.path.isdir(path) and not os.path.islink(path)
