"""What a server does to its own process once everything has been loaded."""

import gc
import resource
from typing import Final

from argosy import heap

_FILES: Final = 65536  # a transfer holds three, and there may be thousands


def allow_many_files() -> None:
    """Raise the limit of open files as far as this process may, up to what a server can use.

    The usual soft limit of 1024 is there for select(2) alone; at it, clients are
    not accepted and blobs not opened.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def settle() -> None:
    """Give back what starting up left behind, and spare the collector what will stay for good.

    Measured: 5 MB less resident, and no full collections over half a million
    objects in the middle of requests. Only for a process that is the server.
    """
    gc.collect()
    gc.freeze()
    heap.keep_no_big_blocks()
    heap.give_back()
