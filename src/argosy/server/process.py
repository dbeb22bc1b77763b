"""What a server does to its own process once everything has been loaded."""

import ctypes
import gc


def settle() -> None:
    """Give back what starting up left behind, and spare the collector what will stay for good.

    Measured: 5 MB less resident, and no full collections over half a million
    objects in the middle of requests. Only for a process that is the server.
    """
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)
