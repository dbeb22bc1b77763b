"""A static busybox as the one layer of a base image: one program, its names, and what programs expect.

No program of the image is run to make it, so any architecture can be made anywhere.
"""

import os
from collections.abc import Iterator

from argosy.build.layers.confine import clean
from argosy.build.layers.header import BLOCK, END, Entry, pack_header
from argosy.build.layers.reader import TarReader
from argosy.errors import BuildError

_PROGRAM = (b"bin/busybox", b"usr/bin/busybox")
_LARGEST = 64 << 20  # bytes of the program
_FIRST_NAMES = (
    b"\0[\0[[\0"  # how busybox's own table of applets begins: sorted, ends with an empty one
)

_USERS = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
_GROUP = "root:x:0:\ntty:x:5:\nstaff:x:50:\nnogroup:x:65534:\n"
_SHADOW = "root:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n"
_FILES = {
    "etc/group": (0o644, _GROUP),
    "etc/nsswitch.conf": (0o644, "passwd: files\ngroup: files\nhosts: files dns\n"),
    "etc/passwd": (0o644, _USERS),
    "etc/shadow": (0o600, _SHADOW),
}
_FOLDERS = {
    **dict.fromkeys(("bin", "dev", "etc", "home", "proc", "sys", "usr", "usr/bin"), 0o755),
    **dict.fromkeys(("usr/sbin", "sbin", "var", "run"), 0o755),
    "root": 0o700,
    "tmp": 0o1777,
    "var/tmp": 0o1777,
}


def busybox_tree(pieces: Iterator[bytes], epoch: int) -> Iterator[bytes]:
    """The tar of the image from the tar of the package busybox-static; every time is `epoch`."""
    program = _program(pieces)
    when = epoch * 1_000_000_000
    entries = [
        Entry(name=f"{path}/".encode(), kind="dir", mode=mode, mtime_ns=when)
        for path, mode in _FOLDERS.items()
    ]
    bodies = {b"bin/busybox": program}
    entries.append(Entry(name=b"bin/busybox", kind="file", mode=0o755, mtime_ns=when))
    for path, (mode, text) in _FILES.items():
        entries.append(Entry(name=path.encode(), kind="file", mode=mode, mtime_ns=when))
        bodies[path.encode()] = text.encode()
    entries += [
        Entry(name=b"bin/" + name, kind="symlink", mode=0o777, target=b"busybox", mtime_ns=when)
        for name in applets(program)
        if name != b"busybox"
    ]
    for entry in sorted(entries, key=lambda e: e.name):
        body = bodies.get(entry.name, b"")
        yield pack_header(entry._replace(size=len(body), stored=len(body)))
        yield body + bytes(-len(body) % BLOCK)
    yield END


def applets(program: bytes) -> list[bytes]:
    """The names a busybox answers to, read from its own table; BuildError if there is none."""
    at = program.find(_FIRST_NAMES) + 1
    end = program.find(b"\0\0", at)
    names = program[at:end].split(b"\0") if at and end > at else []
    if not names or any(not name or b"/" in name or len(name) > 40 for name in names):
        raise BuildError(
            "this busybox cannot be made a base image", why="its table of applets is not readable"
        )
    return names


def _program(pieces: Iterator[bytes]) -> bytes:
    reader = TarReader(pieces)
    for entry in reader:
        if b"/".join(clean(entry.name)) in _PROGRAM and 0 < entry.size <= _LARGEST:
            return b"".join(map(bytes, reader.data()))
    raise BuildError(
        "the package busybox-static has no program in it",
        why=f"none of {', '.join(map(os.fsdecode, _PROGRAM))}",
    )
