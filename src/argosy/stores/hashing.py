"""A hash whose state can be carried to another process: an upload goes on where it was.

`hashlib` cannot give its state away. So OpenSSL's own functions are called, in the very
library that hashlib stands on; their state is a block of memory, good for programs of
the same architecture and the same OpenSSL, which `TAG` names. Where that does not work
(another build of Python, FIPS mode, a self-test that fails) the state stays here, and who
goes on elsewhere has to read again what was there: `resume` says None.
"""

import _hashlib
import ctypes
import hashlib
import platform
import sys
from functools import cache
from typing import Any, Final, Protocol

from argosy.model.digest import Digest

_SIZES: Final = {"sha256": 112, "sha512": 216}  # SHA256_CTX, SHA512_CTX of openssl/sha.h
_LENGTHS: Final = {"sha256": 32, "sha512": 64}
_ROOM: Final = 256
_SAMPLE: Final = bytes(range(256)) * 3


class RunningHash(Protocol):
    """The hash of what came so far."""

    @property
    def algorithm(self) -> str:
        """Its name, as digests have it."""
        ...

    def update(self, piece: bytes | memoryview) -> None:
        """Take more, in any thread, one at a time."""
        ...

    def digest(self) -> Digest:
        """Of all that came; more may come."""
        ...

    def state(self) -> bytes:
        """What `resume` goes on from, with the same TAG; empty if that cannot be."""
        ...


class _Carried:
    """By OpenSSL's functions."""

    def __init__(self, algorithm: str, calls: "_Calls", state: bytes = b"") -> None:
        self.algorithm: Final = algorithm
        self._calls = calls
        self._size = _SIZES[algorithm]
        self._memory = ctypes.create_string_buffer(_ROOM)
        if state:
            ctypes.memmove(self._memory, state, self._size)
        elif calls.init(self._memory) != 1:
            raise ValueError(f"OpenSSL has no {algorithm}")

    def update(self, piece: bytes | memoryview) -> None:
        size = len(piece)
        if not isinstance(piece, memoryview):
            self._calls.update(self._memory, piece, size)
        elif piece.readonly:
            self._calls.update(self._memory, bytes(piece), size)
        elif size:  # the GIL is let go of meanwhile, as above
            self._calls.update(self._memory, (ctypes.c_char * size).from_buffer(piece), size)

    def digest(self) -> Digest:
        last = ctypes.create_string_buffer(self._memory.raw, _ROOM)
        out = ctypes.create_string_buffer(_LENGTHS[self.algorithm])
        self._calls.final(out, last)
        return Digest(f"{self.algorithm}:{out.raw.hex()}")

    def state(self) -> bytes:
        return self._memory.raw[: self._size]


class _Bound:
    """By hashlib: its state stays in this process."""

    def __init__(self, algorithm: str) -> None:
        self.algorithm: Final = algorithm
        self._hash = hashlib.new(algorithm)

    def update(self, piece: bytes | memoryview) -> None:
        self._hash.update(piece)

    def digest(self) -> Digest:
        return Digest.from_hash(self._hash)

    def state(self) -> bytes:
        return b""


class _Calls:
    """The functions for one algorithm."""

    def __init__(self, library: ctypes.CDLL, algorithm: str) -> None:
        name = algorithm.upper()
        self.init = self._typed(library, f"{name}_Init", ctypes.c_void_p)
        self.update = self._typed(
            library, f"{name}_Update", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t
        )
        self.final = self._typed(library, f"{name}_Final", ctypes.c_char_p, ctypes.c_void_p)

    @staticmethod
    def _typed(library: ctypes.CDLL, name: str, *types: Any) -> Any:
        function = getattr(library, name)
        function.argtypes, function.restype = types, ctypes.c_int
        return function


@cache
def _calls(algorithm: str) -> _Calls | None:
    """The functions, if they are there and do what hashlib does, also in two halves."""
    if algorithm not in _SIZES or _hashlib.get_fips_mode():
        return None  # these functions go past the module that FIPS mode vouches for
    try:
        found = _Calls(ctypes.CDLL(_hashlib.__file__), algorithm)
        first = _Carried(algorithm, found)
        first.update(_SAMPLE[:100])
        second = _Carried(algorithm, found, first.state())
        second.update(_SAMPLE[100:])
    except (OSError, AttributeError, ValueError):  # linked in, or without them
        return None
    return found if second.digest() == Digest.of(_SAMPLE, algorithm) else None


@cache
def tag() -> str:
    """What has to be the same for a state to be read."""
    try:
        version = ctypes.CDLL(_hashlib.__file__).OpenSSL_version_num
    except (OSError, AttributeError):
        return ""
    version.restype = ctypes.c_ulong
    return f"{platform.machine()}-{sys.byteorder}-{ctypes.sizeof(ctypes.c_void_p)}-{version():x}"


def begin(algorithm: str) -> RunningHash:
    """The hash of nothing yet."""
    calls = _calls(algorithm)
    return _Bound(algorithm) if calls is None else _Carried(algorithm, calls)


def resume(algorithm: str, state: bytes, made_by: str) -> RunningHash | None:
    """The hash that `state` was given by; None if it cannot be read here."""
    calls = _calls(algorithm)
    if calls is None or made_by != tag() or len(state) != _SIZES[algorithm]:
        return None
    return _Carried(algorithm, calls, state)
