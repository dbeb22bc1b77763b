"""The C heap of this process (glibc's; elsewhere nothing is done)."""

import ctypes
from typing import Final

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
_BIG: Final = (
    4 << 20
)  # bytes: buffers of transfers are smaller, the work space of argon2 (19 MiB) is not


def keep_no_big_blocks() -> None:
    """Have big blocks come from the system, and go back to it when they are let go of.

    Otherwise the first one that is freed teaches the allocator to keep such blocks, in each thread
    that ever had one: 20 to 40 MB for as long as the server runs, after a single login.
    """
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_MMAP_THRESHOLD, _BIG)
        mallopt(_M_TRIM_THRESHOLD, 2 * _BIG)


def give_back() -> None:
    """Give the system the memory that was let go of (blocking, some milliseconds)."""
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
